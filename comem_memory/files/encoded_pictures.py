"""The bytes of pictures that messages and saved runs carry as base64."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes


def decoded(data: str | bytes) -> bytes:
    """The bytes of base64, in lines or not, in the standard or the URL-safe alphabet.

    Raises:
        ValueError: It is damaged.
    """
    try:
        packed = b"".join((data.encode("ascii") if isinstance(data, str) else bytes(data)).split())
        packed = packed.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"An image block's base64 is damaged: {error}. Encode the picture's bytes again.") from error


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
