"""`comem config`: which settings are in force, and where each comes from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import typer
from rich.table import Column, Table

from comem_memory.cli.app import URL, AsJson, app, console, print_json

HIDDEN = "(hidden)"
SECRETS = ("server_token", "answering_token")
UNSET = {"model": "comem-mini", "key": "multilingual-e5-small", "namespace": "default", "reranker": None}
"""What is in force where nothing is set: `mini.NAME`, `opening.DEFAULT_KEY`, which would load torch."""


@app.command()
def config(context: typer.Context, as_json: AsJson = False) -> None:
    """Show each setting in force, its value and where it comes from; secrets are hidden, nothing is opened."""
    from comem_memory.files import cache_directory  # not for --help: it loads Pillow and httpx
    from comem_memory.server.announcement import FILE, find_server

    options = context.parent
    assert options is not None  # a command's is the program's own
    found: dict[str, tuple[Any, str]] = {}
    for parameter in options.command.params:
        name = parameter.name
        if name in (None, "version") or name not in options.params:
            continue
        value = options.params[name]
        shown = (HIDDEN if name in SECRETS else _shown(value)) if value else None
        found[name] = (shown, _source(options.get_parameter_source(name), parameter.envvar))
    token = os.environ.get("COMEM_TOKEN")
    found["token"] = (HIDDEN, "COMEM_TOKEN") if token else (None, "default")
    directory = context.obj["persist_directory"]
    if context.meta[URL] is None and context.obj["chroma_url"] is None:
        owner = find_server(directory)
        if owner is not None:
            found["url"], found["token"] = (owner.url, str(directory / FILE)), (HIDDEN, str(directory / FILE))
    served = found["url"][0] is not None
    for name, value in UNSET.items():
        if found[name][0] is None and not (name == "model" and found["adapter"][0] is not None):
            found[name] = ("the server's" if served else value, found[name][1])
    found["cache"] = (str(cache_directory()), "COMEM_CACHE" if os.environ.get("COMEM_CACHE") else "default")
    if as_json:
        print_json({name: {"value": value, "source": source} for name, (value, source) in found.items()})
        return
    table = Table("setting", Column("value", overflow="fold"), "from")
    for name, (value, source) in found.items():
        table.add_row(name, "" if value is None else str(value), source)
    console.print(table)


def _shown(value: Any) -> Any:
    """A value without secrets: headers by their names, URLs without passwords."""
    if isinstance(value, list | tuple):
        return [f"{one.partition(':')[0]}:{HIDDEN}" for one in value]
    if isinstance(value, Path | str):
        return re.sub(r"//[^/@]*@", f"//{HIDDEN}@", str(value))
    return value


def _source(source: Any, variable: Any) -> str:
    """Where a value comes from, of click's sources: the command line, an environment variable, or nowhere."""
    return {"COMMANDLINE": "option", "ENVIRONMENT": str(variable)}.get(source.name, "default")
