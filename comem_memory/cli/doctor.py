"""`comem doctor`: what a model and a store need, and whether this machine has it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from comem_memory.cli.app import AsJson, app, console, print_json


@app.command()
def doctor(
    context: typer.Context,
    items: Annotated[int, typer.Option(min=1, help="Items in the store.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Say what a model and a store need, and whether this machine has it; the model's weights are not loaded."""
    from comem_memory.cli.plan import devices, make_plan, tables
    from comem_memory.opening import find_model, open_key

    name, location = find_model(context.obj["model"])
    key = open_key(context.obj["key"])
    plan = make_plan(location, items=items, key_dimension=key.dimension, name=name)
    if as_json:
        print_json(asdict(plan))
    else:
        for table in tables(plan, devices()):
            console.print(table)
