"""The pictures of messages and saved runs: what is one, and its bytes where it is carried as base64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from comem_memory.content import decoded

KINDS = ("image", "image_url", "input_image")
"""Types of content blocks that are pictures, in the forms of LangChain and of providers."""


def from_data_url(url: str) -> bytes:
    """The bytes of a `data:` URL.

    Raises:
        ValueError: It holds no data, or its base64 is damaged.
    """
    about, comma, data = url.partition(",")
    if not comma:
        raise ValueError(f"An image block's data: URL has no comma: {url[:40]!r}. Write data:image/png;base64,...")
    content = unquote_to_bytes(data)
    return decoded(content) if ";base64" in about.lower() else content


def is_picture(block: Mapping[str, Any], kinds: tuple[str, ...] = KINDS) -> bool:
    """Whether a content block of a message is a picture: by its type, or as Google's `media` by its MIME type."""
    return block.get("type") in kinds or str(block.get("mime_type", "")).startswith("image/")


def named_in(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a block has its picture: itself in LangChain's form, else Anthropic's `source` or OpenAI's `image_url`."""
    named = next((block[name] for name in ("source", "image_url") if block.get(name)), block)
    return {"url": named} if isinstance(named, str) else named


def carried(named: Mapping[str, Any], url: str) -> bytes | None:
    """A picture's bytes; `None` where they are not in the message.

    Args:
        named: What `named_in` gives.
        url: The place that it names, if any.

    Raises:
        ValueError: They are damaged.
    """
    if data := named.get("base64") or named.get("data"):
        return decoded(data)
    return from_data_url(url) if url.startswith("data:") else None
