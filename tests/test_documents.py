"""What the documents name is there: files, tests, and the pages that they link to."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "comem_memory" / "data").glob("*/README.md")),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path):
    text = document.read_text(encoding="utf-8")
    folders = (ROOT, ROOT / "comem_memory", ROOT / "tests")
    for code in re.findall(r"`([^`\n]+)`", text):
        for named, test in re.findall(r"(?<!\S)([\w./-]+\.(?:py|ipynb|md|toml))(?:::(\w+))?", code):
            found = next((path for folder in folders if (path := folder / named).is_file()), None)
            assert found is not None, f"{named} is no file"
            assert not test or f"def {test}(" in found.read_text(encoding="utf-8"), f"{named} has no {test}"
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (document.parent / link).exists(), f"{link} is linked to and not there"


@pytest.mark.parametrize("folder", ["comem_memory", "integrations", "benchmarks", "notebooks"])
def test_the_pages_that_code_names_are_there(folder: str):
    sources = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".ipynb")]
    named = {(path, page) for path in sources for page in re.findall(r"docs/[\w./-]*\.md", path.read_text("utf-8"))}
    assert {(path, page) for path, page in named if not (ROOT / page).is_file()} == set()
