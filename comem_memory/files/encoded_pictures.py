"""The bytes of pictures that messages and saved runs carry as base64."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from comem_memory.content import decoded


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
