"""Commands that move a memory: export, import, reencode, rekey."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from comem_memory.cli.app import AsJson, Where, app, check_there, console, open_memory, print_json
from comem_memory.cli.kept import reach_kept
from comem_memory.errors import counted


@app.command()
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Write a namespace to a portable folder, history included; no model is loaded."""
    with reach_kept(context) as kept:
        written = kept.export(folder, where)
    if as_json:
        print_json({"exported": written})
    else:
        console.print(f"{counted(written, 'item')} written to {folder}.")


@app.command(name="import")
def import_(
    context: typer.Context,
    folders: Annotated[list[Path], typer.Argument(help="Written by comem export or comem add --ray.")],
) -> None:
    """Add the items of portable folders, in any order, again or not; nothing is encoded again."""
    with open_memory(context) as memory:
        console.print(f"{counted(memory.load(folders), 'item')} read from {', '.join(map(str, folders))}.")


@app.command()
def reencode(context: typer.Context) -> None:
    """Encode a memory again that another encoder wrote; an interrupted run resumes."""
    check_there(context)
    with open_memory(context, reencode=True) as memory:
        console.print(f"{counted(memory.count(), 'item')} in namespace {context.obj['namespace']!r}.")


@app.command()
def rekey(context: typer.Context) -> None:
    """Give a memory's items new keys, by default the default one's; an interrupted run resumes.

    Only retrieval keys are made anew, from the kept texts and pictures; nothing is encoded. Made anew with the key that
    the memory has, they hold all of the text of long items that version 0.1.0 stored.
    """
    from comem_memory.cli.places import open_kept  # not for --help: it loads chromadb

    with closing(open_kept(context.obj["persist_directory"], context.obj["chroma_url"])) as store:
        written_with = store.identity.key_name
    with open_memory(context, rekey=True) as memory:
        if memory.key.name == written_with:  # else opening it gave the items this key
            memory.rekey()
        console.print(f"{counted(memory.count(), 'item')} in namespace {context.obj['namespace']!r}.")
