"""Items ready to be encoded: checked, opened, hashed and laid out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from PIL import Image

from comem_memory.encoder.memory_encoder import EncoderInputs, MemoryEncoder
from comem_memory.errors import InvalidItemError
from comem_memory.files.images import image_digest, load_image
from comem_memory.types import MemoryItem

CHUNK = 64
"""Items that are encoded and stored at a time; each chunk is durable before the next one begins."""
CHUNK_PIXELS = 64_000_000
"""Fewer items make a chunk when their opened pictures have more pixels together, 3 bytes each."""


@dataclass(frozen=True)
class PreparedItem:
    """An item with all that is found out about it before it is encoded.

    Args:
        item: as it was given.
        id: its own, or one that follows from the content.
        picture: opened.
        content_hash: SHA-256 of text and pixels.
        inputs: of the encoder.
    """

    item: MemoryItem
    id: str
    picture: Image.Image | None
    content_hash: str
    inputs: EncoderInputs


def prepare(item: MemoryItem, encoder: MemoryEncoder, *, truncate: bool) -> PreparedItem:
    """Everything that can be wrong with an item is found here, before anything is encoded.

    Raises:
        InvalidItemError: it is no MemoryItem, its picture cannot be opened, or the model takes none.
        ItemTooLongError: its text exceeds the encoder's window, and not `truncate`.
    """
    if not isinstance(item, MemoryItem):
        raise InvalidItemError(f"{item!r:.80} is no MemoryItem. Pass MemoryItem(text=..., image=...).")
    try:
        picture = None if item.image is None else load_image(item.image)
        inputs = encoder.inputs(item.text, picture, truncate=truncate)
    except InvalidItemError as error:
        name = item.id or (item.text or "")[:40]
        raise type(error)(f"Item {name!r}: {error}" if name else str(error)) from error
    digest = hashlib.sha256((item.text or "").encode() + b"\0")
    if picture is not None:
        digest.update(image_digest(picture))
    content_hash = digest.hexdigest()
    return PreparedItem(item, item.id or content_hash[:32], picture, content_hash, inputs)


def in_chunks(prepared: Iterable[PreparedItem]) -> Iterator[list[PreparedItem]]:
    """Lists of up to `CHUNK` items, of fewer where their pictures are large."""
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
