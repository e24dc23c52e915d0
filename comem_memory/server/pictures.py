"""Pictures in requests, looked at before they are decoded."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from comem_memory.errors import InvalidItemError, LimitError
from comem_memory.server.settings import ServerSettings
from comem_memory.server.wire import Item
from comem_memory.types import MemoryItem


def checked(picture: bytes | None, limits: ServerSettings) -> bytes | None:
    """An encoded picture whose file and pixels are within the limits.

    Raises:
        LimitError: It is too large.
        InvalidItemError: It is no picture.
    """
    if picture is None:
        return None
    if len(picture) > limits.max_picture_bytes:
        raise LimitError(f"A picture has {len(picture)} bytes, more than {limits.max_picture_bytes}. Scale it down.")
    try:
        with Image.open(io.BytesIO(picture)) as opened:
            width, height = opened.size
    except Image.DecompressionBombError as error:
        raise LimitError(f"{error} Scale the picture down.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, RuntimeError) as error:
        raise InvalidItemError("A picture cannot be read. Send the base64 of a PNG or JPEG file.") from error
    if width * height > limits.max_picture_pixels:
        raise LimitError(
            f"A picture has {width} x {height} pixels, more than {limits.max_picture_pixels}. Scale it down."
        )
    return picture


def items_of(items: list[Item], limits: ServerSettings) -> list[MemoryItem]:
    """Items of a request, within the limits.

    Raises:
        LimitError: Too many, or a picture is too large.
        InvalidItemError: One of them cannot be stored.
    """
    if len(items) > limits.max_items:
        raise LimitError(f"{len(items)} items are more than {limits.max_items} in one request. Send them in parts.")
    for item in items:
        checked(item.image, limits)
    return [item.item() for item in items]
