"""Words of a text, marked: those that a search asked for, or those that an item's vectors lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import regex
from nicegui import ui

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_PIECE = regex.compile(rf"{_WORD.pattern}|[^\p{{L}}\p{{M}}\p{{N}}]+")


def words_of(text: str) -> set[str]:
    """The words of a text, whatever their case."""
    return {word.casefold() for word in _WORD.findall(text)}


def cut(text: str, most: int) -> str:
    """A text's beginning, of as many characters at most, and `…` where it goes on."""
    return text if len(text) <= most else f"{text[:most].rstrip()} …"


def pieces(text: str, marked: Callable[[str], bool]) -> list[tuple[str, bool]]:
    """A text in pieces, each with whether it is marked.

    Args:
        text: The text.
        marked: Whether a word, casefolded, is to be marked; what lies between words never is.
    """
    parts = [(part, bool(_WORD.match(part)) and marked(part.casefold())) for part in _PIECE.findall(text)]
    return [("".join(part for part, _ in group), mark) for mark, group in groupby(parts, key=lambda part: part[1])]


def show_text(text: str, marked: Callable[[str], bool], kind: str = "found") -> None:
    """A text on the page, as text.

    Args:
        text: The text.
        marked: As in `pieces`.
        kind: How what is marked looks: `found` or `lost`.
    """
    with ui.element("div").classes("text"):
        for piece, mark in pieces(text, marked):
            label = ui.label(piece)
            if mark:
                label.classes(kind)
