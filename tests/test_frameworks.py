"""Each example of docs/integrations/index.md prints what stands below it."""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.integrations import langchain, llama_index
from comem_memory.testing import tiny_memory

PAGE = (Path(__file__).parents[1] / "docs" / "integrations" / "index.md").read_text(encoding="utf-8")
EXAMPLES = {
    section.partition("\n")[0]: section.partition("```python\n")[2].partition("```")[0]
    for section in PAGE.split("\n## ")[1:]
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("frameworks")) as memory:
        yield memory


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_stands_below_it(name: str, shared: ContinuousMemory):
    code = EXAMPLES[name]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {"memory": shared.namespace(name), "MemoryItem": MemoryItem})
    assert printed.getvalue().splitlines() == re.findall(r"^# (.*)$", code, re.MULTILINE)


@pytest.mark.parametrize("framework", [langchain, llama_index], ids=["langchain", "llama_index"])
def test_every_class_has_an_example(framework: Any):
    shown = " ".join(EXAMPLES.values())
    without = ["last_turn", "memory_block"] if framework is langchain else []  # functions, in docstrings of classes
    assert [name for name in framework.__all__ if not re.search(rf"\b{name}\(", shown)] == without
