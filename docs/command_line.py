"""Writes docs/reference/command-line.md from the commands themselves: `python docs/command_line.py`."""

import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from comem_memory.cli.app import app

PAGE = Path(__file__).parent / "reference" / "command-line.md"
HEAD = """# Commands and options

Written by `python docs/command_line.py`, from what `comem COMMAND --help` says. \
[The guide](../guides/command-line.md) has examples, exit codes and environment variables.

"""


def page() -> str:
    """What the page says."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="comem")
    told = get_docs_for_click(obj=command, ctx=context, name="comem")
    return HEAD + re.sub(r"^#", "##", told, flags=re.MULTILINE).strip() + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
