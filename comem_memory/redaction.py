"""Secrets in what is stored: a function of the user's takes them out of every text before anything is made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from comem_memory.content import Part, content_parts, joined_texts
from comem_memory.errors import InvalidItemError
from comem_memory.types import CHAT_PREFIX, MemoryItem, Metadata, notes_of, own_metadata, with_notes

Redact = Callable[[str], str]
"""From a text to the same text without what must not be stored. Its own result it should leave as it is."""

_NAMES = {CHAT_PREFIX + name for name in ("by", "message_id", "ref_doc_id", "role", "session_id", "transcript", "turn")}
"""Notes of adapters that name something, by which it is found again."""

_BETWEEN_QUOTES = re.compile(r'(?:[^"\\]|\\.)+', re.DOTALL)
"""What stands between two quotes that no backslash precedes: the inside of any JSON string, wherever it begins."""


def redacted(item: MemoryItem, redact: Redact | None) -> MemoryItem:
    """The item with its texts as `redact` gives them: its text, its content's, and those in its metadata and notes.

    Ids, names of metadata and paths of pictures stay, and pictures are not looked at.

    Raises:
        InvalidItemError: `redact` gave no text, or left nothing of an item without a picture.
        Exception: Whatever `redact` raises.
    """
    if redact is None:
        return item
    metadata = redacted_metadata(item.metadata, redact)
    content = redacted_content(item.content, redact) or None
    is_of_content = item.content is not None and item.text == joined_texts(item.content)
    text = None if item.text is None or is_of_content else redacted_text(item.text, redact)
    if item.image is None and content is None and not (text or "").strip():
        raise InvalidItemError("Nothing is left of an item's text by redact. Do not add it.")
    passages = tuple(redacted_text(one, redact) for one in item.passages) if item.passages and text else None
    changed = {"text": text, "content": content, "metadata": own_metadata(metadata), "passages": passages}
    return with_notes(MemoryItem(**dict(item) | changed), notes_of(metadata))


def redacted_metadata(metadata: Metadata, redact: Redact) -> Metadata:
    """Metadata and notes with their texts as `redact` gives them; messages that notes hold as JSON stay JSON."""
    return {name: _entry(name, value, redact) for name, value in metadata.items()}


def redacted_content(content: Any, redact: Redact | None) -> tuple[Part, ...] | None:
    """Content, as `MemoryItem` takes it, with its texts as `redact` gives them, without those of which nothing is left.

    Raises:
        InvalidItemError: It is no content, or `redact` gave no text.
        Exception: Whatever `redact` raises.
    """
    if content is None or redact is None:
        return content
    parts = (redacted_text(one, redact) if isinstance(one, str) else one for one in content_parts(content))
    return tuple(one for one in parts if not isinstance(one, str) or one.strip())


def redacted_text(text: str, redact: Redact) -> str:
    """The text as `redact` gives it, and then each part of it that JSON escaped, as an agent's calls of tools are.

    Raises:
        InvalidItemError: `redact` gave no text.
        Exception: Whatever `redact` raises.
    """
    found = redact(text)
    if not isinstance(found, str):
        raise InvalidItemError(f"redact gave a {type(found).__name__}. It must return the text that may be stored.")
    if "\\" not in found:
        return found
    return _BETWEEN_QUOTES.sub(lambda part: _redacted_escapes(part[0], redact), found)


def _redacted_escapes(part: str, redact: Redact) -> str:
    """The inside of a JSON string, in which a secret is not found as long as it is escaped; as it is if it is none."""
    if "\\" not in part:
        return part
    try:
        said = json.loads(f'"{part}"', strict=False)
    except ValueError:
        return part
    left = redacted_text(said, redact)  # which may be JSON again
    return part if left == said else json.dumps(left, ensure_ascii=part.isascii())[1:-1]


def redacted_value(value: Any, redact: Redact | None) -> Any:
    """A text, or lists and dictionaries with all texts in them redacted; names in dictionaries stay."""
    if redact is None:
        return value
    if isinstance(value, str):
        return redacted_text(value, redact)
    if isinstance(value, list):
        return [redacted_value(one, redact) for one in value]
    if isinstance(value, dict):
        return {name: redacted_value(one, redact) for name, one in value.items()}
    return value


def _entry(name: str, value: Any, redact: Redact) -> Any:
    if name in _NAMES:
        return value
    if name.startswith(CHAT_PREFIX) and isinstance(value, str):
        try:
            held = json.loads(value)  # in JSON a secret would be missed where its characters are escaped
        except ValueError:
            held = None
        if isinstance(held, dict | list):
            return json.dumps(redacted_value(held, redact), ensure_ascii=False)
    return redacted_value(value, redact)
