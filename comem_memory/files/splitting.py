"""Long texts in pieces: by the headings of Markdown, or by size."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from comem_memory.config import Split

SIZE = 1000
"""Characters of a piece."""


def check_splitter(split: Split | None, size: int | None) -> None:
    """For before other work is done.

    Raises:
        ModuleNotFoundError: What splits by size is needed and not installed: `pip install 'comem-memory[split]'`.
    """
    if split == "size" or (split is not None and size is not None):
        import_module("langchain_text_splitters")


def pieces(text: str, split: Split, size: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """The pieces of a text, each with the headings that it stands under, outermost first.

    Args:
        text: The text.
        split: At each heading, as CommonMark has them, which stays at the head of its piece; or by size, where a
            paragraph, a line or a word ends.
        size: Most characters of a piece; of the pieces under headings, those alone that are longer are split by it, and
            none unless it is given.

    Raises:
        ModuleNotFoundError: As in `check_splitter`.
    """
    for section, headings in _sections(text) if split == "heading" else [(text, [])]:
        parts = [section] if split == "heading" and size is None else _of_size(section, size or SIZE)
        for part in parts:
            if part.strip():
                yield part.strip(), headings


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """What stands before the first heading, and under each, verbatim; one with nothing under it goes with the next."""
    from markdown_it import MarkdownIt  # LangChain's splitter for Markdown takes the indentation from lines

    lines = text.replace("\r\n", "\n").split("\n")  # as Markdown counts them
    tokens = MarkdownIt("commonmark").parse("\n".join(lines))
    headings = [at for at, token in enumerate(tokens) if token.type == "heading_open" and token.level == 0]
    found = [(tokens[at].map or [0, 0], int(tokens[at].tag[1:]), tokens[at + 1].content) for at in headings]
    under: dict[int, str] = {}
    start = body = 0
    for (line, end), level, title in [*found, ([len(lines), len(lines)], 0, "")]:
        if line == len(lines) or any(map(str.strip, lines[body:line])):
            yield "\n".join(lines[start:line]), list(under.values())
            start = line
        under = {above: name for above, name in under.items() if above < level} | {level: title}
        body = end


def _of_size(text: str, size: int) -> list[str]:
    from langchain_text_splitters import RecursiveCharacterTextSplitter  # an extra: not everyone splits

    return RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=0).split_text(text)
