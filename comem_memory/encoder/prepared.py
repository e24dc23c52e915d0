"""Items that are ready to be encoded: checked, with their picture open, hashed, and as the encoder reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from comem_memory.content import Audio, audio_of, map_files, pictures_of
from comem_memory.encoder.deferred import DeferredEncoder
from comem_memory.encoder.memory_encoder import EncoderInputs, MemoryEncoder
from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files import image_digest, load_image, read_audio
from comem_memory.passages import encoded_apart
from comem_memory.types import MemoryItem, superseded_ids

CHUNK = 64
"""Most items that are encoded and stored together; they are on the disk before the next chunk begins."""
MOST_VECTORS = 0xFFFF
"""Of an item, as many as a block's header counts."""
CHUNK_BYTES = 192_000_000
"""Bytes of opened pictures and recordings with which a chunk is full even if it has fewer items."""


Content = tuple[str | Image.Image | Audio, ...]
"""The parts of an item that has several, their pictures opened and their recordings read."""


@dataclass(frozen=True)
class PreparedItem:
    """An item with all that is found out about it before it is encoded.

    Args:
        item: The item as it was given.
        id: The item's own id, or the beginning of `content_hash` if it has none.
        picture: The item's picture, opened, if it has one.
        content_hash: Of `content_hash`.
        inputs: The item as the encoder reads it, or each of its passages.
        content: The parts of an item that has several.
        passages: The passages of an item that has some.
    """

    item: MemoryItem
    id: str
    picture: Image.Image | None
    content_hash: str
    inputs: tuple[EncoderInputs, ...]
    content: Content | None = None
    passages: tuple[str, ...] = ()

    @property
    def supersedes(self) -> tuple[str, ...]:
        """The ids of the other items that it takes the place of."""
        return tuple(id for id in superseded_ids(self.item) if id != self.id)

    @property
    def truncated(self) -> bool:
        """Whether something did not fit and is not in the vectors."""
        return any(one.truncated for one in self.inputs)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Places of the parts of its content that are not in the vectors."""
        return self.inputs[0].left_out

    @property
    def size(self) -> int:
        """Bytes of its pictures and recordings in memory."""
        shown = pictures_of((self.picture,) if self.content is None else self.content)
        heard = sum(len(recording.data) for recording in audio_of(self.content or ()))
        return heard + sum(3 * picture.width * picture.height for picture in shown if picture is not None)


def prepare(item: MemoryItem, encoder: MemoryEncoder | DeferredEncoder, *, truncate: bool) -> PreparedItem:
    """Prepares an item; everything that can be wrong with it is found here, before anything is encoded.

    Args:
        item: The item to prepare.
        encoder: The encoder that will encode it.
        truncate: Whether a text or passage that is too long is cut.

    Raises:
        InvalidItemError: A picture or recording cannot be opened, or the model takes none; or there are more passages
            than an item can have.
        ItemTooLongError: The item, or one of its passages, does not fit the encoder's window and `truncate` is off, or
            its picture alone does not.
    """
    passages = item.passages or ()
    try:
        most = MOST_VECTORS // encoder.encoder_config.qformer.num_query_tokens
        if len(passages) > most:
            raise InvalidItemError(f"It has {len(passages)} passages, and may have {most}. Cut it into several items.")
        picture, content = opened(item.image, item.content)
        inputs = [
            encoder.inputs(text, shown, content=content, truncate=truncate, thin=item.thin)
            for text, shown in encoded_apart(item.text, picture, passages)
        ]
    except InvalidItemError as error:
        name = item.id or (item.text or "")[:40]
        raise type(error)(f"Item {shortened(name)!r}: {error}" if name else str(error)) from error
    hashed = content_hash(item.text, picture, content)
    return PreparedItem(item, item.id or hashed[:32], picture, hashed, tuple(inputs), content, passages)


def opened(image: Any, content: Iterable[Any] | None) -> tuple[Image.Image | None, Content | None]:
    """An item's picture and content, each picture and recording opened once.

    Raises:
        InvalidItemError: A picture or recording cannot be opened.
    """
    known: dict[Any, Any] = {}

    def open_once(given: Any) -> Any:
        name = given if isinstance(given, Path | bytes | Audio) else id(given)
        if name not in known:
            known[name] = read_audio(given) if isinstance(given, Audio) else load_image(given)
        return known[name]

    picture = None if image is None else open_once(image)
    return picture, None if content is None else map_files(content, open_once)


def content_hash(text: str | None, picture: Image.Image | None, content: Content | None = None) -> str:
    """SHA-256 of text, pixels and files of audio, in hexadecimal: items of the same content are told by it."""
    digest = hashlib.sha256((text or "").encode() + b"\0")
    if picture is not None:
        digest.update(image_digest(picture))
    for part in content or ():
        if isinstance(part, str):
            digest.update(b"text" + hashlib.sha256(part.encode()).digest())
        elif isinstance(part, Audio):
            digest.update(b"audio" + hashlib.sha256(part.data).digest())
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
    """Lists of `CHUNK` items, or of fewer where they have as many passages together, or their pictures and recordings
    `CHUNK_BYTES` bytes."""
    chunk: list[PreparedItem] = []
    count = size = 0
    for one in prepared:
        chunk.append(one)
        count += len(one.inputs)
        size += one.size
        if count >= CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, count, size = [], 0, 0
    if chunk:
        yield chunk
