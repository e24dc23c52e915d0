"""Commands that documents show, as words; and whether the command line would take them."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer

from comem_memory.cli.app import app

PROGRAM: Any = typer.main.get_command(app)
"""The command line, whose commands do nothing but say their names."""
PROGRAM.callback = lambda **_: None
for _name, _command in PROGRAM.commands.items():
    _command.callback = lambda _name=_name, **_: _name
for _option in PROGRAM.params:
    if _option.name in ("install_completion", "show_completion"):
        _option.callback = None


def shown(text: str) -> Iterator[list[str]]:
    """The commands of a text's blocks, those fenced as `sh` and what stands after `$ ` in those fenced as `console`."""
    for line, _ in sessions(text):
        yield from commands(line)


def sessions(text: str, kinds: str = "sh|console") -> Iterator[tuple[str, str]]:
    """The lines of the same blocks that are typed, each with what the block shows as printed by it."""
    for kind, block in re.findall(rf"^```({kinds})\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        prompt = "$ " if kind == "console" else ""
        typed = printed = ""
        for line in block.splitlines(keepends=True):
            if _goes_on(typed):
                typed = typed.removesuffix("\\\n") + line
            elif line.startswith(prompt):
                if typed:
                    yield typed, printed
                typed, printed = line.removeprefix(prompt), ""
            else:
                printed += line
        assert not _goes_on(typed), f"a command has no end: {typed}"
        yield typed, printed


def _goes_on(typed: str) -> bool:
    """Whether its last line ends with a backslash, or within a quotation."""
    try:
        list(commands(typed))
    except ValueError:
        return True
    return typed.endswith("\\\n")


def mentioned(text: str) -> Iterator[list[str]]:
    """The commands within the sentences of a text."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"\bN\b", "1", prose)):  # any number
        if re.match(r"(comem|make|pip|pytest|python) \S", code) or " comem " in code:
            yield from commands(code)


def commands(line: str) -> Iterator[list[str]]:
    """Those of a line, each in its words, without comments, redirections and variables that are set for it.

    Raises:
        ValueError: A quotation is not closed.
    """
    words = shlex.shlex(line.replace("$(which comem)", "comem"), posix=True, punctuation_chars=";|&")
    words.whitespace_split = True
    command: list[str] = []
    for word in [*words, ";"]:
        if not word or not set(word) <= set(";|&"):
            if command or not re.match(r"[A-Z_]+=", word):
                command.append(word)
        elif command:
            yield command
            command = []


def check_comem(words: list[str], *, whole: bool) -> str | None:
    """Asks the command line about the words after `comem`, runs nothing, and returns the command's name.

    Args:
        words: Options of all commands, the command, and its own.
        whole: All that the command needs must be there; else arguments and values may be left out, as in a sentence.

    Raises:
        Exception: typer's own error for what is wrong: an unknown command or option, a value that is none.
    """
    try:
        return PROGRAM.main(words, "comem", standalone_mode=False)
    except Exception as error:
        left_out = type(error).__name__ in ("MissingParameter", "BadOptionUsage") or str(error) == "Missing command."
        if whole or not left_out:
            raise
    return next((word for word in words if word in PROGRAM.commands), None)
