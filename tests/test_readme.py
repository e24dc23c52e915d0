"""Each Python example of the README prints what stands below it, with the embedded model, one after the other."""

import ast
import asyncio
import contextlib
import inspect
import io
import re
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL)


def run(code: str, names: dict[str, Any]) -> str:
    """What it prints; `await` stands at the top, as in a notebook."""
    compiled = compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if inspect.iscoroutine(waiting := eval(compiled, names)):
            asyncio.run(waiting)
    return printed.getvalue()


def test_every_example_prints_what_stands_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert [run(code, names) for code, _ in EXAMPLES] == [printed for _, printed in EXAMPLES]


def test_every_python_example_has_its_output():
    assert len(EXAMPLES) == README.count("```python") == 3


def test_it_can_be_read_at_once_and_has_two_commands_to_set_up():
    assert len(README.splitlines()) <= 120
    assert re.findall(r"^make \w+$", README, re.MULTILINE) == ["make demo", "make test"]
