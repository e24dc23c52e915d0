"""`comem add --ray`: from files to shards to the memory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from comem_memory.cli.app import console, open_memory, print_json
from comem_memory.errors import counted


def add_with_ray(context: typer.Context, source: str, shards: Path, as_json: bool, **settings: Any) -> None:
    """Encodes a source into shards as `comem_memory.ray.encode` does, and loads them."""
    from comem_memory.opening import key_of  # not for --help: they load torch
    from comem_memory.ray import encode

    with open_memory(context) as memory:  # first: it says what is wrong with the memory
        encoded = encode(
            source,
            shards,
            model=context.obj["model"],
            adapter=context.obj["adapter"],
            key=context.obj["key"] or key_of(memory.store),
            **settings,
        )
        memory.load(shards)
        count = memory.count()
    if as_json:
        print_json({**asdict(encoded), "count": count})
        return
    console.print(
        f"{counted(encoded.items, 'item')} in {shards}, {counted(encoded.duplicates, 'duplicate')} left out, "
        f"{counted(encoded.errors, 'error')}; "
        f"{count} in namespace {context.obj['namespace']!r}."
    )
    if encoded.errors:
        console.print(f"What could not be encoded: {shards}/*/errors.jsonl")
