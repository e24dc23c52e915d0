"""Every command that a document shows or mentions can be given: to `comem`, make, pip, pytest and Python."""

import re
import tomllib
from pathlib import Path

import pytest
from helpers.shell import PROGRAM, check_comem, commands, mentioned, shown

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(page for page in PAGES if page.parent.name != "reference"),  # which the command line writes itself
]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def check(words: list[str], *, whole: bool) -> None:
    """
    Raises:
        Exception: The command cannot be given as it stands.
    """
    program, options = Path(words[0]).name, [word for word in words if re.match(r"--[a-z]", word)]
    if program == "make":
        assert words[1:] and set(words[1:]) <= set(TARGETS), "The Makefile has no such target."
    elif program in ("pytest", "python"):
        files = [ROOT / word for word in words[1:] if word.endswith((".py", ".ipynb"))]
        told = "".join(file.read_text(encoding="utf-8") for file in files)
        assert program == "pytest" or not files or all(option in told for option in options), "It has no such option."
        if "-k" in words:
            assert words[words.index("-k") + 1] in told, "-k chooses no test."
    elif program == "pip" and "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).is_file()
    elif "comem" in words and "COMMAND" not in words:  # `accelerate launch ... comem`, too
        check_comem(words[words.index("comem") + 1 :], whole=whole)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_the_commands_of_a_document_can_be_given(document: Path):
    text = document.read_text(encoding="utf-8")
    for words in shown(text):
        check(words, whole=True)
    for words in mentioned(text):
        check(words, whole=False)
    for extras in re.findall(r"(?:comem-memory|[\"'`]\.)\[([\w,-]+)\]", text):
        assert set(extras.split(",")) <= EXTRAS.keys(), "pyproject.toml has no such extra."


@pytest.mark.parametrize(
    "line",
    [
        "comem serve --no-such-option",
        "comem serv",
        "comem add",
        "comem ask a b",
        "comem ask a --mode magic",
        "comem search a -k many",
        "echo a | comem -n ada ad -",
        "MODEL=1 comem --name ada list",
        "make dem",
        "python benchmarks/storage.py --no-such-option",
        "pytest tests/test_codec.py -k no_such_test",
        "pytest tests/test_no_such_file.py",
        "pip install -c constrain.txt comem-memory",
    ],
)
def test_a_command_that_cannot_be_given_is_found(line: str):
    *_, words = commands(line)
    with pytest.raises(Exception, match=r"."):
        check(words, whole=True)


def test_the_guide_shows_every_command():
    guide = (ROOT / "docs" / "guides" / "command-line.md").read_text(encoding="utf-8")
    given = [words[words.index("comem") + 1 :] for words in (*shown(guide), *mentioned(guide)) if "comem" in words]
    assert PROGRAM.commands.keys() <= {check_comem(words, whole=False) for words in given if "COMMAND" not in words}
