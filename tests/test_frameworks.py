"""Each example of the pages about integrations prints what stands below it; so do those of other pages."""

import ast
import contextlib
import importlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.integrations import langchain, llama_index
from comem_memory.testing import tiny_memory

DOCS = Path(__file__).parents[1] / "docs"
TUTORIALS = ("start/first-memory.md", "guides/pictures.md", "concepts/modes.md")
"""Their sections go on from each other; those of the other pages have a memory each."""
PAGES = (*TUTORIALS, "integrations/index.md", "integrations/langchain.md", "integrations/llama-index.md")


def examples(page: str) -> Iterator[tuple[str, str]]:
    """The blocks of a section, or of a tutorial, in one. What does not run here is fenced as `py`."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for section in [text] if page in TUTORIALS else text.split("\n## "):
        if blocks := re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            yield f"{page} {section.partition(chr(10))[0]}", "\n".join(blocks)


EXAMPLES = dict(example for page in PAGES for example in examples(page))


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


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_python_on_a_page_compiles_and_imports_what_there_is(page: Path):
    for block in re.findall(r"^```py(?:thon)?\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        tree = compile(block, page.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        for node in imports:
            if node.module and node.module.startswith("comem_memory"):
                module = importlib.import_module(node.module)
                assert [one.name for one in node.names if not hasattr(module, one.name)] == [], node.module


@pytest.mark.parametrize("framework", [langchain, llama_index], ids=["langchain", "llama_index"])
def test_every_class_has_an_example(framework: Any):
    shown = " ".join(EXAMPLES.values())
    without = ["last_turn", "memory_block"] if framework is langchain else []  # functions, in docstrings of classes
    assert [name for name in framework.__all__ if not re.search(rf"\b{name}\(", shown)] == without
