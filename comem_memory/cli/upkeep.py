"""Commands that look after what a memory is kept in: vacuum, backup."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comem_memory.cli.app import app, console
from comem_memory.errors import StoreLocationError

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
    store.vacuum(directory)
    console.print(f"{rewritten} items stored anew in {directory}.")


@app.command()
def backup(context: typer.Context, folder: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Copy the directory of a memory to a new folder, which can be opened as it is with --directory."""
    with closing(_open_store(context)) as store:
        console.print(f"Copied to {store.backup(folder)}.")


def _open_store(context: typer.Context) -> ChromaStore:
    """The store that is there, without its model."""
    from comem_memory.opening import open_store  # not for --help: it loads torch

    directory, server = context.obj["persist_directory"], context.obj["chroma_url"]
    if server is None and not directory.is_dir():  # which opening would make
        raise StoreLocationError(f"There is no memory in {directory}. Pass the directory of one: comem --directory.")
    return open_store(directory, server, "comem", None)
