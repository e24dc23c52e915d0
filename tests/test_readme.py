"""The examples of the README, and of the first page about agents, do what they say with the embedded model."""

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers.saved import save_tiny
from helpers.shell import shown
from typer.testing import CliRunner

from comem_memory import opening
from comem_memory.cli.app import app
from comem_memory.testing import tiny_key

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = list(shown(README))
PAGES = {"README.md": 3, "docs/start/agents.md": 2}
"""How many Python examples each has."""


def examples(page: str) -> list[tuple[str, str]]:
    """The Python of a page, and what stands below as its output."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", text, re.DOTALL)
    assert len(found) == text.count("```py") == PAGES[page]
    return found


def printed_by(code: str, names: dict[str, Any]) -> str:
    """What it prints; `await` stands at the top, as in a notebook."""
    compiled = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if inspect.iscoroutine(waiting := eval(compiled, names)):
            asyncio.run(waiting)
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_every_example_prints_what_stands_below_it(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert [printed_by(code, names) for code, _ in examples(page)] == [printed for _, printed in examples(page)]


def test_every_command_is_checked():
    """Those of pip by tests/test_shell_commands.py."""
    assert {words[0] for words in COMMANDS} == {"comem", "make", "pip"}


def test_the_commands_for_a_model_of_your_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In their order, with a tiny model of the same family, which is trained for one step and not compiled."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "default_key", tiny_key)
    base, _ = save_tiny(tmp_path / "tiny", "qwen2_5_vl")
    Path("notes.jsonl").write_text('{"text": "The blue door opens with the brass key."}\n')
    few = (
        "--steps",
        "1",
        "--warm-start-steps",
        "1",
        "--prompt-steps",
        "1",
        "--max-facts",
        "1",
        "--gradient-checkpointing",
    )
    said = {}
    for words in (words for words in COMMANDS if words[0] == "comem"):
        [command] = {"train", "add", "ask"} & set(words)
        given = [str(base) if word == "Qwen/Qwen2.5-VL-7B-Instruct" else word for word in words[1:]]
        assert str(base) in given
        done = CliRunner().invoke(app, [*given, *(few if command == "train" else ())], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        said[command] = done.stdout
    assert list(said) == ["train", "add", "ask"]
    assert "Saved to my-adapter." in said["train"]
    assert "1 item given, 1 in namespace 'default'." in said["add"]
    assert said["ask"].strip()


@pytest.mark.parametrize(("target", "command"), [("demo", "bin/comem demo"), ("test", "bin/pytest")])
def test_make_runs_what_the_readme_says(target: str, command: str):
    by_itself = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    planned = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, env=by_itself, capture_output=True, text=True, check=True
    )
    assert planned.stdout.splitlines()[-1].endswith(command)


def test_it_can_be_read_at_once_and_has_two_commands_to_set_up():
    assert len(README.splitlines()) <= 120
    assert [words for words in COMMANDS if words[0] == "make"] == [["make", "demo"], ["make", "test"]]
