"""`import comem_memory` costs nothing: measured in fresh processes."""

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import comem_memory


def measured(statement: str) -> tuple[float, set[str]]:
    """Seconds that a statement takes in a new process, and the top-level modules that are loaded after it."""
    script = f"""
import json, sys, time
start = time.perf_counter()
{statement}
print(json.dumps([time.perf_counter() - start, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, set(modules)


AGENT_FRAMEWORKS = {"langchain", "langchain_core", "langgraph", "llama_index"}


def test_the_import_is_quick_and_loads_no_agent_framework():
    torch_seconds, _ = measured("import torch")
    seconds, modules = measured("import comem_memory")
    assert not modules & (AGENT_FRAMEWORKS | {"torch", "transformers", "chromadb", "pydantic"})
    assert seconds < torch_seconds + 1


def test_items_and_errors_need_no_model():
    _, modules = measured("from comem_memory import MemoryItem, ComemError; MemoryItem(text='a')")
    assert not modules & (AGENT_FRAMEWORKS | {"torch", "transformers", "chromadb"})


def test_the_memory_itself_loads_no_agent_framework():
    _, modules = measured("from comem_memory import ContinuousMemory")
    assert not modules & AGENT_FRAMEWORKS
    assert "torch" in modules


def test_help_needs_no_model():
    _, modules = measured("import comem_memory.cli")
    assert not modules & (AGENT_FRAMEWORKS | {"torch", "transformers", "chromadb"})


def test_files_need_no_model():
    _, modules = measured("from comem_memory.files import *")
    assert not modules & (AGENT_FRAMEWORKS | {"torch", "transformers", "chromadb"})


def test_the_version_is_the_same_wherever_it_is_written_and_needs_no_model():
    root = Path(__file__).parents[1]
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert comem_memory.__version__ == version
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (root / "CHANGELOG.md").read_text()
    _, modules = measured("from comem_memory import __version__")
    assert not modules & (AGENT_FRAMEWORKS | {"torch", "transformers", "chromadb", "pydantic"})


def test_the_help_of_a_training_needs_no_model():
    told = 'import sys; from comem_memory.cli.app import app; sys.argv = ["comem", "train", "--help"]\n'
    _, modules = measured(f"{told}app(standalone_mode=False)")
    assert not modules & (AGENT_FRAMEWORKS | {"torch", "transformers", "chromadb", "faker"})


def test_recipes_and_corpora_need_neither_model_nor_faker():
    names = (
        "from comem_memory.synthesis import CorpusSample, read_corpus; from comem_memory.training import TrainingRecipe"
    )
    _, modules = measured(f"{names}; TrainingRecipe()")
    assert not modules & (AGENT_FRAMEWORKS | {"torch", "transformers", "chromadb", "faker"})


@pytest.mark.parametrize("room", ["synthesis", "training"])
def test_every_name_of_a_room_is_there(room: str):
    pytest.importorskip("faker", reason="both need the `train` extra")
    module = import_module(f"comem_memory.{room}")
    assert sorted(module.__all__) == module.__all__
    assert all(getattr(module, name) for name in module.__all__)
    assert not hasattr(module, "Nothing")


def test_every_public_name_is_there():
    assert sorted(comem_memory.__all__) == comem_memory.__all__
    for name in comem_memory.__all__:
        found: Any = getattr(comem_memory, name)
        assert found.__name__ == name
        assert found.__doc__
    assert not hasattr(comem_memory, "Nothing")
