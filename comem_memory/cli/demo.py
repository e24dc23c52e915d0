"""`comem demo`: a memory to look at, in a minute."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from comem_memory.cli.app import NAMESPACE, app, console, open_memory

REOPENED = {
    "-d": "persist_directory",
    "-n": "namespace",
    "--model": "model",
    "--adapter": "adapter",
    "--key": "key",
    "--answering-url": "answering_url",
}
"""Options that open the demo's memory again, and the settings that they stand for."""


@app.command()
def demo(
    context: typer.Context,
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Where the demo's memory is kept.")] = Path(
        "comem-demo"
    ),
    countries: Annotated[
        bool, typer.Option("--countries", help="Store 1,220 notes about countries instead, some minutes without a GPU.")
    ] = False,
) -> None:
    """Store private facts and pictures, and show the answers of none, text, memory and both side by side."""
    settings: dict[str, object] = {"persist_directory": directory, "chroma_url": None}
    if countries:
        from comem_memory.cli.countries_demo import run

        if context.meta[NAMESPACE] is None:
            settings["namespace"] = "countries"  # apart from the private facts
    else:
        from comem_memory.cli.demonstration import run
    console.print("Loading the model; its public weights are fetched and put together the first time ...")
    with open_memory(context, **settings) as memory:
        run(memory, console)
    opened = {option: (context.obj | settings)[name] for option, name in REOPENED.items()}
    opened["-n"] = None if opened["-n"] == "default" else opened["-n"]
    where = shlex.join(word for option, value in opened.items() if value is not None for word in (option, str(value)))
    question = "What is the capital of Latvia?" if countries else "Who leads the Lantern project?"
    console.print(
        f"The memory is in {directory}; running this again encodes nothing again. Try next:\n"
        f'  comem {where} ask "{question}"\n'
        f"  comem {where} add my-notes.jsonl    # a fact a line; then ask about yours\n"
        f"  comem {where} ui    # look at what it holds, in the browser\n"
        "  notebooks/ and docs/ of the project: agents, pictures, servers, your own model"
    )
