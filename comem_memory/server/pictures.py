"""Pictures in requests, looked at before they are decoded, and the files of items that are stored."""

from __future__ import annotations

import io
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from comem_memory.content import Audio, pictures_of
from comem_memory.errors import InvalidItemError, ItemNotFoundError, LimitError
from comem_memory.server.settings import ServerSettings
from comem_memory.server.wire import Content, Item, content_of
from comem_memory.types import MemoryHit, MemoryItem


def checked(picture: bytes | None, limits: ServerSettings) -> bytes | None:
    """An encoded picture, if there is one, whose file and pixels are within the limits.

    Raises:
        LimitError: It is too large.
        InvalidItemError: It is no picture.
    """
    if picture is not None:
        _pixels(picture, limits)
    return picture


def checked_content(
    content: Content | None, image: bytes | None, limits: ServerSettings
) -> list[str | bytes | Audio] | None:
    """Content as `MemoryItem` takes it, within the limits.

    Args:
        content: The content.
        image: The picture that the item is found by, if it is none of the content's.
        limits: How many parts, and how large they may be.

    Raises:
        LimitError: It has too many parts, or a picture or all together are too large.
        InvalidItemError: A picture is none.
    """
    parts = None if content is None else content_of(content)
    check_sizes(parts or (), image, limits)
    return parts


def check_sizes(parts: Sequence[Any], image: Any, limits: ServerSettings) -> None:
    """
    Args:
        parts: Texts, pictures and recordings of an item, encoded or opened.
        image: The picture that it is found by, if it is none of these.
        limits: How many, and how large they may be.

    Raises:
        LimitError: There are too many parts, or a picture or all together are too large.
        InvalidItemError: A picture is none.
    """
    if len(parts) > limits.max_parts:
        raise LimitError(f"An item has {len(parts)} parts, more than {limits.max_parts}. Split it into several items.")
    pictures = pictures_of(parts) + ([] if image is None else [image])
    pixels = sum(_pixels(picture, limits) for picture in pictures)
    if pixels > limits.max_item_pixels:
        raise LimitError(
            f"The pictures of an item have {pixels} pixels, more than {limits.max_item_pixels}. Scale them down, or "
            "split it into several items."
        )


def _pixels(picture: bytes | Image.Image, limits: ServerSettings) -> int:
    """The pixels of a picture that is within the limits.

    Raises:
        LimitError: It is too large.
        InvalidItemError: It is no picture.
    """
    width, height = picture.size if isinstance(picture, Image.Image) else _size(picture, limits)
    if width * height > limits.max_picture_pixels:
        raise LimitError(
            f"A picture has {width} x {height} pixels, more than {limits.max_picture_pixels}. Scale it down."
        )
    return width * height


def _size(picture: bytes, limits: ServerSettings) -> tuple[int, int]:
    if len(picture) > limits.max_picture_bytes:
        raise LimitError(f"A picture has {len(picture)} bytes, more than {limits.max_picture_bytes}. Scale it down.")
    try:
        with Image.open(io.BytesIO(picture)) as opened:
            return opened.size
    except Image.DecompressionBombError as error:
        raise LimitError(f"{error} Scale the picture down.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, RuntimeError) as error:
        raise InvalidItemError("A picture cannot be read. Send the base64 of a PNG or JPEG file.") from error


def items_of(items: list[Item], limits: ServerSettings) -> list[MemoryItem]:
    """Items of a request, within the limits.

    Raises:
        LimitError: Too many, or a picture is too large.
        InvalidItemError: One of them cannot be stored.
    """
    if len(items) > limits.max_items:
        raise LimitError(f"{len(items)} items are more than {limits.max_items} in one request. Send them in parts.")
    for item in items:
        checked_content(item.content, item.image, limits)
    return [item.item() for item in items]


def picture_file(hit: MemoryHit, part: int | None) -> Path:
    """The file of an item's picture.

    Args:
        hit: The item.
        part: A place in its content; `None` is the picture that it is found by.

    Raises:
        ItemNotFoundError: There is no picture.
    """
    if part is None:
        found: str | Path | Audio | None = None if hit.image is None else Path(hit.image)
    else:
        found = dict(enumerate(hit.content or ())).get(part)
    if not isinstance(found, Path) or not found.is_file():
        raise ItemNotFoundError(f"Item {hit.id!r} has no picture{'' if part is None else f' at {part}'}.")
    return found


def audio_file(hit: MemoryHit, part: int) -> Path:
    """The file of a recording at a place in an item's content.

    Raises:
        ItemNotFoundError: There is no recording.
    """
    found = dict(enumerate(hit.content or ())).get(part)
    if not isinstance(found, Audio) or not isinstance(found.source, Path) or not found.source.is_file():
        raise ItemNotFoundError(f"Item {hit.id!r} has no audio at {part}.")
    return found.source


def audio_type(file: Path) -> str:
    """The media type of a recording's file, with which a browser plays it or does nothing with it."""
    found, _ = mimetypes.guess_type(file.name)
    return found if found and found.startswith(("audio/", "video/")) else "application/octet-stream"
