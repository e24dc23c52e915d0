"""Long texts in Chroma's metadata: in parts where a value may have only so many bytes.

A text under `comem.block` that is too long stands under `comem.block`, `comem.block.1`, ..., and how many these are
under `comem.block.parts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def split(name: str, text: str, most: int | None) -> dict[str, Any]:
    """A text as metadata.

    Args:
        name: Its key.
        text: The text.
        most: Bytes that a value may have in UTF-8; `None` for any number.
    """
    encoded = text.encode()
    if most is None or len(encoded) <= most:
        return {name: text}
    parts: list[str] = []
    while encoded:
        part = encoded[:most].decode(errors="ignore")  # a character that is cut goes to the next
        parts.append(part)
        encoded = encoded[len(part.encode()) :]
    return {_part(name, n): part for n, part in enumerate(parts)} | {count_of(name): len(parts)}


def joined(name: str, stored: Mapping[str, Any]) -> str | None:
    """The text that was split; `None` if there is none or a part of it is missing."""
    parts = [stored.get(_part(name, n)) for n in range(stored.get(count_of(name)) or 1)]
    return None if None in parts else "".join(map(str, parts))


def count_of(name: str) -> str:
    """The key that says how many parts a text has."""
    return f"{name}.parts"


def _part(name: str, n: int) -> str:
    return f"{name}.{n}" if n else name
