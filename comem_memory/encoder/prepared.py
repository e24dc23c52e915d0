"""Items that are ready to be encoded: checked, with their picture open, hashed, and as the encoder reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from comem_memory.content import map_pictures, pictures_of
from comem_memory.encoder.deferred import DeferredEncoder
from comem_memory.encoder.memory_encoder import EncoderInputs, MemoryEncoder
from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files import image_digest, load_image
from comem_memory.types import MemoryItem, superseded_ids

CHUNK = 64
"""Most items that are encoded and stored together; they are on the disk before the next chunk begins."""
CHUNK_PIXELS = 64_000_000
"""Pixels of opened pictures, 3 bytes each, with which a chunk is full even if it has fewer items."""


Content = tuple[str | Image.Image, ...]
"""The parts of an item that has several, their pictures opened."""


@dataclass(frozen=True)
class PreparedItem:
    """An item with all that is found out about it before it is encoded.

    Args:
        item: The item as it was given.
        id: The item's own id, or the beginning of `content_hash` if it has none.
        picture: The item's picture, opened, if it has one.
        content_hash: Of `content_hash`.
        inputs: The item as the encoder reads it.
        content: The parts of an item that has several.
    """

    item: MemoryItem
    id: str
    picture: Image.Image | None
    content_hash: str
    inputs: EncoderInputs
    content: Content | None = None

    @property
    def supersedes(self) -> tuple[str, ...]:
        """The ids of the other items that it takes the place of."""
        return tuple(id for id in superseded_ids(self.item) if id != self.id)

    @property
    def pixels(self) -> int:
        """Of all its pictures."""
        shown = pictures_of((self.picture,) if self.content is None else self.content)
        return sum(picture.width * picture.height for picture in shown if picture is not None)


def prepare(item: MemoryItem, encoder: MemoryEncoder | DeferredEncoder, *, truncate: bool) -> PreparedItem:
    """Prepares an item; everything that can be wrong with it is found here, before anything is encoded.

    Args:
        item: The item to prepare.
        encoder: The encoder that will encode it.
        truncate: Whether a text that is too long is cut.

    Raises:
        InvalidItemError: A picture cannot be opened, or the model takes no pictures.
        ItemTooLongError: The item does not fit the encoder's window and `truncate` is off, or its picture alone does
            not.
    """
    try:
        picture, content = opened(item.image, item.content)
        inputs = encoder.inputs(item.text, picture, content=content, truncate=truncate, thin=item.thin)
    except InvalidItemError as error:
        name = item.id or (item.text or "")[:40]
        raise type(error)(f"Item {shortened(name)!r}: {error}" if name else str(error)) from error
    hashed = content_hash(item.text, picture, content)
    return PreparedItem(item, item.id or hashed[:32], picture, hashed, inputs, content)


def opened(image: Any, content: Iterable[Any] | None) -> tuple[Image.Image | None, Content | None]:
    """An item's picture and content, each picture opened once.

    Raises:
        InvalidItemError: A picture cannot be opened.
    """
    known: dict[Any, Image.Image] = {}

    def open_once(given: Any) -> Image.Image:
        name = given if isinstance(given, Path | bytes) else id(given)
        if name not in known:
            known[name] = load_image(given)
        return known[name]

    picture = None if image is None else open_once(image)
    return picture, None if content is None else map_pictures(content, open_once)


def content_hash(text: str | None, picture: Image.Image | None, content: Content | None = None) -> str:
    """SHA-256 of text and pixels, in hexadecimal: items of the same content are told by it."""
    digest = hashlib.sha256((text or "").encode() + b"\0")
    if picture is not None:
        digest.update(image_digest(picture))
    for part in content or ():
        if isinstance(part, str):
            digest.update(b"text" + hashlib.sha256(part.encode()).digest())
        else:
            digest.update(b"image" + image_digest(part))
    return digest.hexdigest()


def item_hash(item: MemoryItem) -> str:
    """`content_hash` of an item.

    Raises:
        InvalidItemError: A picture cannot be opened.
    """
    return content_hash(item.text, *opened(item.image, item.content))


def in_chunks(prepared: Iterable[PreparedItem]) -> Iterator[list[PreparedItem]]:
    """Lists of `CHUNK` items, or of fewer where their pictures have `CHUNK_PIXELS` pixels together."""
    chunk: list[PreparedItem] = []
    pixels = 0
    for one in prepared:
        chunk.append(one)
        pixels += one.pixels
        if len(chunk) == CHUNK or pixels >= CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk
