"""Ctrl-C ends a command with one line that says how to go on, and exit code 130."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

RESUMED = ("add", "convert", "demo", "export-authors", "import", "reencode", "rekey", "report", "synthesize", "vacuum")
"""Commands that keep what they have done, and go on from there."""
FROM_CHECKPOINTS = ("train", "train-projector")
"""Commands that keep what they had done at their last checkpoint, and go on from there."""
BEGUN_AGAIN = ("backup", "evaluate", "export")
"""Commands that leave everything as it was until they are done."""


class Commands(TyperGroup):
    """The commands, each of which can be stopped."""

    def invoke(self, ctx: Any) -> Any:
        piped = "-" in ctx.args  # which the invocation takes away
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if how := _how_to_go_on(ctx.invoked_subcommand, piped):
                sys.stderr.write(f"\nstopped: {how}.\n")
            raise typer.Exit(130) from None


def _how_to_go_on(command: str, piped: bool) -> str | None:
    if command in RESUMED and piped:
        return "what is done is kept, and the same command goes on if it is given the same input again"
    if command in RESUMED:
        return "what is done is kept, and the same command goes on from there"
    if command in FROM_CHECKPOINTS:
        return "what was done up to the last checkpoint is kept, and the same command goes on from there"
    if command in BEGUN_AGAIN:
        return "nothing was changed; the same command begins again"
    return None
