"""Ctrl-C ends a command with one line that says how to go on, and exit code 130."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

RESUMED = (
    *("add", "convert", "demo", "export-authors", "import", "reencode", "rekey", "report", "synthesize"),
    *("train", "train-projector", "vacuum"),
)
"""Commands that keep what they have done, and go on from there."""
BEGUN_AGAIN = ("backup", "evaluate", "export")
"""Commands that leave everything as it was until they are done."""


class Commands(TyperGroup):
    """The commands, each of which can be stopped."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if ctx.invoked_subcommand in RESUMED:
                sys.stderr.write("\nstopped: what is done is kept, and the same command goes on from there.\n")
            elif ctx.invoked_subcommand in BEGUN_AGAIN:
                sys.stderr.write("\nstopped: nothing was changed; the same command begins again.\n")
            raise typer.Exit(130) from None
