"""`comem ui` and `comem serve --ui`: a page in the browser that shows a memory.

NiceGUI rather than Gradio: it mounts into our FastAPI app, brings its fonts and scripts along and asks no other host
for any, and takes 29 MB; Gradio needs pandas, asks for fonts and sends statistics unless told otherwise.
"""

from comem_memory.ui.guard import LOGIN, PATH
from comem_memory.ui.mounting import mount
from comem_memory.ui.sessions import Sessions

__all__ = ["LOGIN", "PATH", "Sessions", "mount"]
