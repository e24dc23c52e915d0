"""What the documents name is there: files, tests, and the pages and headings that they link to."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *PAGES,
    *sorted((ROOT / "comem_memory" / "data").glob("*/README.md")),
]


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def whole(document: Path) -> str:
    """The text with what it includes of other files."""
    text = document.read_text(encoding="utf-8")
    return re.sub(r'^--8<-- "(.+)"$', lambda named: (ROOT / named[1]).read_text("utf-8"), text, flags=re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Those of the headings, as the site and forges make them."""
    prose = re.sub(r"^```.*?^```$", "", whole(document), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_what_a_document_names_is_there(document: Path):
    text = whole(document)
    folders = (ROOT, ROOT / "comem_memory", ROOT / "tests")
    for code in re.findall(r"`([^`\n]+)`", text):
        for named, test in re.findall(r"(?<!\S)([\w./-]+\.(?:py|ipynb|md|toml))(?:::(\w+))?", code):
            found = next((path for folder in folders if (path := folder / named).is_file()), None)
            assert found is not None, f"{named} is no file"
            assert not test or f"def {test}(" in found.read_text(encoding="utf-8"), f"{named} has no {test}"
    for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        target = document.parent / link if link else document
        assert target.exists(), f"{link} is linked to and not there"
        assert not anchor or anchor in anchors(target), f"{target.name} has no heading #{anchor}"


@pytest.mark.parametrize("folder", ["comem_memory", "integrations", "benchmarks", "notebooks"])
def test_the_pages_that_code_names_are_there(folder: str):
    sources = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".ipynb")]
    named = {(path, page) for path in sources for page in re.findall(r"docs/[\w./-]*\.md", path.read_text("utf-8"))}
    assert {(path, page) for path, page in named if not (ROOT / page).is_file()} == set()


def test_the_reference_has_every_method_of_a_memory():
    sources = [(ROOT / "comem_memory" / file).read_text(encoding="utf-8") for file in ("items.py", "memory.py")]
    methods = {method for source in sources for method in re.findall(r"^    def ([a-z]\w*)", source, re.MULTILINE)}
    shown = re.findall(r"^        - (\w+)$", (DOCS / "reference" / "memory.md").read_text("utf-8"), re.MULTILINE)
    for_adapters = {"encoder", "lay_out", "next_moment", "prepare", "prompt", "search_turn", "source"}
    assert (methods - set(shown), set(shown) - methods) == (for_adapters, set())


@pytest.mark.parametrize("folder", ["comem_memory", "integrations"])
def test_sections_of_docstrings_can_be_told_from_their_text(folder: str):
    """A line break that an escape makes, in a docstring that is not raw, ends its indentation."""
    parsed = [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in (ROOT / folder).rglob("*.py")]
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    described = [(path, node) for path, tree in parsed for node in ast.walk(tree) if isinstance(node, kinds)]
    indented = re.compile(r"^ +(Args|Returns|Raises|Examples):$", re.MULTILINE)
    assert [(path, node.name) for path, node in described if indented.search(ast.get_docstring(node) or "")] == []


def listed(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [value] if isinstance(value, str) else listed(value)


def test_the_sites_navigation_has_every_page_once():
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(listed(nav)) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_begins_with_its_title_and_links_stay_in_the_site(page: Path):
    text = whole(page)
    assert re.match(r"# \S.*\n\n\S", text)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).resolve().is_relative_to(DOCS)] == []
