"""Passages of a long text: each gets vectors of its own, with what the text is about in front."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from comem_memory.errors import InvalidItemError, shortened
from comem_memory.sentences import sentences
from comem_memory.types import MemoryItem

PassageRule = Literal["sentence"] | Callable[[str], Iterable[str]]
"""How a text is cut: a passage a sentence, or a function from the text to its passages."""
P = TypeVar("P")
SHORT = 80
"""Most characters of what stands in front of each passage: a longer beginning would take the vectors of the rest."""

_MARK = re.compile(r"\s*(?:#{1,6}|[-*+•]|\d+[.)])\s+")
"""Of a heading or an entry of a list."""
_BLOCKS = re.compile(rf"\n\s*\n|\n(?={_MARK.pattern})")
"""Between paragraphs, and before headings and entries of a list."""


def in_passages(item: MemoryItem, rule: PassageRule | None) -> MemoryItem:
    """An item with the passages of its text.

    In front of each stands what the text is about: the `title` of the metadata or else, from the second on, the first
    passage; neither if it has more than `SHORT` characters.

    Args:
        item: The item; one that has passages or content stays as it is, and so does one whose text is a single passage.
        rule: How its text is cut; `None` leaves it whole.

    Raises:
        InvalidItemError: There is no such rule, or it gave no texts.
    """
    if rule is not None and rule != "sentence" and not callable(rule):
        raise InvalidItemError(
            f"passages is {shortened(repr(rule))}. Pass 'sentence', or a function from a text to its passages."
        )
    if rule is None or item.passages or item.content is not None or not item.text:
        return item
    cut: list[Any] = list((of_sentences if rule == "sentence" else rule)(item.text))
    if not all(isinstance(one, str) for one in cut):
        raise InvalidItemError(f"passages gave {shortened(repr(cut))}. Have it give a list of texts.")
    found = [one.strip() for one in cut if one.strip()]
    if len(found) < 2:
        return item
    title = item.metadata.get("title")
    if isinstance(title, str) and title.strip():
        found = [_behind(title.strip(), one) for one in found]
    else:
        found = [found[0], *(_behind(found[0], one) for one in found[1:])]
    return item.model_copy(update={"passages": tuple(found)})


def encoded_apart(text: str | None, picture: P | None, passages: Sequence[str]) -> list[tuple[str | None, P | None]]:
    """What gets vectors of its own: text and picture together, or each passage, the first with the picture."""
    return [(one, None if place else picture) for place, one in enumerate(passages or [text])]


def _behind(front: str, passage: str) -> str:
    if len(front) > SHORT or passage.startswith(front):
        return passage
    return f"{front} {passage}" if unicodedata.category(front[-1]) == "Po" else f"{front}: {passage}"


def of_sentences(text: str) -> Iterator[str]:
    """The sentences of a text whose lines may be broken anywhere; headings and entries of lists are some too."""
    for block in _BLOCKS.split(text):
        mark = _MARK.match(block)
        said = block[mark.end() :] if mark else block
        heading, _, rest = said.partition("\n") if mark and "#" in mark[0] else ("", "", said)
        yield heading
        yield from sentences(" ".join(rest.split()))
