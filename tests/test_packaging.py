"""What is imported is declared as a dependency, and every package is listed."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from comem_memory.cli.extras import how_to_install

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("comem_memory", "integrations")
EXTRAS = {
    "comem_memory/chat": ("langchain", "llama-index", "server"),
    "comem_memory/evaluation/agents.py": ("langchain",),
    "comem_memory/server": ("server",),
    "comem_memory/server/tracing.py": ("tracing",),
    "comem_memory/synthesis": ("train",),
    "comem_memory/ui": ("ui",),
    "integrations/langchain": ("langchain",),
    "integrations/llama_index": ("llama-index",),
}
"""Modules that need an optional dependency as soon as they are imported, with the extras that must each bring it; the
longest path counts."""


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


CORE = names(PYPROJECT["project"]["dependencies"])
DECLARED: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]


def brought(extra: str) -> set[str]:
    """The distributions that an extra brings, by other extras of ours too."""
    ours = [one for one in DECLARED[extra] if one.startswith("comem-memory[")]
    others = [other for one in ours for other in one[len("comem-memory[") : -1].split(",")]
    return names(DECLARED[extra]).union(*(brought(other) for other in others))


OPTIONAL = {extra: brought(extra) for extra in DECLARED}


def imports(node: ast.AST, *, now: bool = True) -> Iterator[tuple[str, bool]]:
    """Top-level names that a module imports, and whether it does so as soon as it is imported itself."""
    for child in ast.iter_child_nodes(node):
        found = (
            [alias.name for alias in child.names]
            if isinstance(child, ast.Import)
            else [str(child.module)]
            if isinstance(child, ast.ImportFrom) and not child.level
            else []
        )
        yield from ((name.partition(".")[0], now) for name in found)
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        )
        yield from imports(child, now=now and not later)


def third_party() -> Iterator[tuple[str, str, bool]]:
    """Every module, the distributions of what it imports, and whether that is imported with the module."""
    distributions = packages_distributions()
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for name, now in set(imports(ast.parse(file.read_text(encoding="utf-8")))):
                if name not in sys.stdlib_module_names and name not in PACKAGES:
                    providers = distributions.get(name, [name])
                    # Of a namespace that several share, the one of its name is meant, or those that are declared.
                    named = [one for one in providers if normal(one) == name]
                    declared = [one for one in providers if normal(one) in CORE.union(*OPTIONAL.values())]
                    for distribution in named or declared or providers:
                        yield file.relative_to(ROOT).as_posix(), normal(distribution), now


def test_what_a_module_needs_to_be_imported_is_declared():
    undeclared = set()
    for module, distribution, now in third_party():
        if now and distribution not in CORE:
            paths = [path for path in EXTRAS if module.startswith(path)]
            extras = EXTRAS[max(paths, key=len)] if paths else ()
            if not extras or not all(distribution in OPTIONAL[extra] for extra in extras):
                undeclared.add((module, distribution))
    assert not undeclared


def test_what_is_imported_later_is_declared_in_some_extra():
    anywhere = CORE.union(*OPTIONAL.values())
    assert {
        (module, distribution) for module, distribution, _ in third_party() if distribution not in anywhere
    } == set()


def test_every_declared_dependency_has_the_version_it_was_tested_with():
    files = [file for file in ROOT.glob("constraints*.txt") if file.name != "constraints-lowest.txt"]
    pinned = {name for file in files for name in names(file.read_text(encoding="utf-8").splitlines()[1:])}
    assert CORE.union(*OPTIONAL.values()) - {"comem-memory"} <= pinned


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("fastapi", "server"),
        ("faker", "train"),
        ("llama_index", "llama-index"),
        ("langgraph", "langchain"),
        ("matplotlib.pyplot", "notebooks"),
        ("opentelemetry.instrumentation", "tracing"),
        ("ray", "ray"),
        ("langchain_text_splitters", "split"),
        ("pypdfium2", "pdf"),
    ],
)
def test_what_is_missing_is_told_with_its_extra(module: str, extra: str):
    assert how_to_install(module) == f"pip install 'comem-memory[{extra}]'"


@pytest.mark.parametrize(
    "module",
    ["PIL", "yaml", "google.protobuf", "langchain_openai", "comem_memory.chat", "nltk", "pyarrow", "bitsandbytes"],
)
def test_no_package_is_made_up_for_a_module_that_no_extra_brings(module: str):
    assert how_to_install(module) is None


def test_every_package_is_listed():
    folders = {file.parent.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert all((ROOT / folder / "__init__.py").is_file() for folder in folders)
    found = {".".join(folder.parts) for folder in folders}
    listed = PYPROJECT["tool"]["setuptools"]["packages"]
    placed = PYPROJECT["tool"]["setuptools"]["package-dir"]["comem_memory.integrations"]
    assert len(set(listed)) == len(listed)
    assert {name.replace("comem_memory.integrations", placed) for name in listed} == found
