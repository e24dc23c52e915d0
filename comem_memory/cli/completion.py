"""What shells complete of what a memory holds."""

from __future__ import annotations

from contextlib import suppress

import typer

from comem_memory.cli.kept import reach_kept


def item_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The ids that begin so, in the memory that the options before the command name; no model is loaded."""
    line = context.parent
    if line is None or line.command.callback is None:
        return []
    with suppress(Exception):  # no memory, or in use: whoever presses Tab wants no error
        line.invoke(line.command.callback, **line.params)
        context.obj = line.obj
        with reach_kept(context) as kept:
            return [id for id in kept.ids() if id.startswith(incomplete)]
    return []
