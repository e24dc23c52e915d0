"""A temporary folder that belongs to the process that made it."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
import weakref
from pathlib import Path


class TemporaryFolder:
    """A folder that exists until `remove`, or until this object is garbage or its process ends, with a warning.

    A child of a fork leaves it to its parent; `tempfile.TemporaryDirectory` would remove it when the child ends.

    Args:
        prefix: What its name begins with.
    """

    def __init__(self, prefix: str) -> None:
        self.path, self._process = Path(tempfile.mkdtemp(prefix=prefix)), os.getpid()
        self._forgotten = weakref.finalize(self, _remove_forgotten, self.path, self._process)

    def remove(self) -> None:
        """Removes the folder with all it holds; a second call does nothing."""
        if self._forgotten.detach() and os.getpid() == self._process:
            shutil.rmtree(self.path, ignore_errors=True)


def _remove_forgotten(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
        warnings.warn(f"{folder} is removed, since what it belongs to was not closed.", ResourceWarning, stacklevel=2)
