"""Commands that look after what a memory is kept in: vacuum, backup."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comem_memory.cli.app import app, console
from comem_memory.errors import counted
from comem_memory.progress import working

if TYPE_CHECKING:
    from comem_memory.store import ChromaStore


@app.command()
def vacuum(context: typer.Context) -> None:
    """Store what earlier versions wrote in less space, and give free space back to the disk.

    For directories alone. On a Chroma server records are packed when they are written again, and `chroma vacuum --path
    DIRECTORY` gives free space back there, while it is stopped.
    """
    with closing(_open_store(context)) as store:
        rewritten = store.repack()
    directory = context.obj["persist_directory"]
    with working("giving free space back"):
        store.vacuum(directory)
    console.print(f"{counted(rewritten, 'item')} stored anew in {directory}.")


@app.command()
def backup(context: typer.Context, folder: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Copy the directory of a memory to a new folder, which can be opened as it is with --directory."""
    with closing(_open_store(context)) as store:
        console.print(f"Copied to {store.backup(folder)}.")


def _open_store(context: typer.Context) -> ChromaStore:
    from comem_memory.cli.places import open_kept  # not for --help: it loads chromadb

    return open_kept(context.obj["persist_directory"], context.obj["chroma_url"])
