"""Items that are ready to be encoded: checked, with their picture open, hashed, and as the encoder reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from PIL import Image

from comem_memory.encoder.deferred import DeferredEncoder
from comem_memory.encoder.memory_encoder import EncoderInputs, MemoryEncoder
from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files import image_digest, load_image
from comem_memory.types import MemoryItem, superseded_ids

CHUNK = 64
"""Most items that are encoded and stored together; they are on the disk before the next chunk begins."""
CHUNK_PIXELS = 64_000_000
"""Pixels of opened pictures, 3 bytes each, with which a chunk is full even if it has fewer items."""


@dataclass(frozen=True)
class PreparedItem:
    """An item with all that is found out about it before it is encoded.

    Args:
        item: The item as it was given.
        id: The item's own id, or the beginning of `content_hash` if it has none.
        picture: The item's picture, opened, if it has one.
        content_hash: Of `content_hash`.
        inputs: The item as the encoder reads it.
    """

    item: MemoryItem
    id: str
    picture: Image.Image | None
    content_hash: str
    inputs: EncoderInputs

    @property
    def supersedes(self) -> tuple[str, ...]:
        """The ids of the other items that it takes the place of."""
        return tuple(id for id in superseded_ids(self.item) if id != self.id)


def prepare(item: MemoryItem, encoder: MemoryEncoder | DeferredEncoder, *, truncate: bool) -> PreparedItem:
    """Prepares an item; everything that can be wrong with it is found here, before anything is encoded.

    Args:
        item: The item to prepare.
        encoder: The encoder that will encode it.
        truncate: Whether a text that is too long is cut.

    Raises:
        InvalidItemError: Its picture cannot be opened, or the model takes no pictures.
        ItemTooLongError: The item does not fit the encoder's window and `truncate` is off, or its picture alone does
            not.
    """
    try:
        picture = None if item.image is None else load_image(item.image)
        inputs = encoder.inputs(item.text, picture, truncate=truncate)
    except InvalidItemError as error:
        name = item.id or (item.text or "")[:40]
        raise type(error)(f"Item {shortened(name)!r}: {error}" if name else str(error)) from error
    content = content_hash(item.text, picture)
    return PreparedItem(item, item.id or content[:32], picture, content, inputs)


def content_hash(text: str | None, picture: Image.Image | None) -> str:
    """SHA-256 of text and pixels, in hexadecimal: items of the same content are told by it."""
    digest = hashlib.sha256((text or "").encode() + b"\0")
    if picture is not None:
        digest.update(image_digest(picture))
    return digest.hexdigest()


def item_hash(item: MemoryItem) -> str:
    """`content_hash` of an item.

    Raises:
        InvalidItemError: Its picture cannot be opened.
    """
    return content_hash(item.text, None if item.image is None else load_image(item.image))


def in_chunks(prepared: Iterable[PreparedItem]) -> Iterator[list[PreparedItem]]:
    """Lists of `CHUNK` items, or of fewer where their pictures have `CHUNK_PIXELS` pixels together."""
    chunk: list[PreparedItem] = []
    pixels = 0
    for one in prepared:
        chunk.append(one)
        pixels += 0 if one.picture is None else one.picture.width * one.picture.height
        if len(chunk) == CHUNK or pixels >= CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk
