"""Commands that look after what a memory is kept in: vacuum, backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comem_memory.cli.app import app, console


@app.command()
def vacuum(context: typer.Context) -> None:
    """Store what earlier versions wrote in less space, and give free space back to the disk.

    On a Chroma server only the first; `chroma vacuum --path DIRECTORY` does the second there, while it is stopped.
    """
    from comem_memory.opening import open_store  # not for --help: it loads torch
    from comem_memory.store import ChromaStore

    directory, server = context.obj["persist_directory"], context.obj["chroma_url"]
    store = open_store(directory, server, "comem", None)
    rewritten = store.repack()
    store.close()
    if server is None:
        ChromaStore.vacuum(directory)
    console.print(f"{rewritten} items stored anew in {server or directory}.")


@app.command()
def backup(context: typer.Context, folder: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Copy the directory of a memory to a new folder, which can be opened as it is with --directory."""
    from comem_memory.opening import open_store  # not for --help: it loads torch

    store = open_store(context.obj["persist_directory"], context.obj["chroma_url"], "comem", None)
    console.print(f"Copied to {store.backup(folder)}.")
    store.close()
