"""A shard: the items that fall into it, encoded into a portable folder of its own.

Which items those are, their order and so their batches depend on the dataset alone; hence a shard has the same bytes
whichever worker makes it, and however many there are.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from PIL import Image

from comem_memory.content import Audio, map_files
from comem_memory.encoder import EncodedItem, MemoryEncoder, PreparedItem, encode_prepared, in_chunks, prepare
from comem_memory.errors import DuplicateIdError, InvalidItemError
from comem_memory.files import atomic_folder, audio_suffix
from comem_memory.opening import load_encoder, open_key
from comem_memory.ray.rows import Row, item_in
from comem_memory.retrieval import RetrievalKey
from comem_memory.store import (
    CollectionIdentity,
    FileReference,
    Given,
    MemoryRecord,
    Precision,
    identity_of,
    ids_of,
    merged,
    packed,
    record_of,
    write_folder,
)
from comem_memory.types import MemoryItem

if TYPE_CHECKING:
    import pyarrow as pa

ERRORS = "errors.jsonl"
"""File beside a shard's own that tells which of its items could not be encoded; there is none without errors."""


def shard_of(identity: str, shards: int) -> int:
    """Into which of so many shards an item falls, by `Row.identity`."""
    return int(identity[:15], 16) % shards


def shard_folder(out: Path, shard: int) -> Path:
    return out / f"shard-{shard:06d}"


@dataclass(frozen=True)
class ShardSettings:
    """What a worker needs to know.

    Args:
        out: The folder of the shards.
        moment: When all the items are created, in the form of `created_at`.
        precision: How vectors are stored.
        truncate: Whether texts that are too long are cut.
        batch_size: Items per forward pass of the encoder.
        model, adapter, key, model_kwargs: As in `ContinuousMemory.from_pretrained`.
    """

    out: Path
    moment: str
    precision: Precision = "int8"
    truncate: bool = False
    batch_size: int = 16
    model: str | None = None
    adapter: str | Path | None = None
    key: RetrievalKey | str | Path | None = None
    model_kwargs: dict[str, Any] = field(default_factory=dict)


class ShardEncoder:
    """Holds the encoder, and writes shards.

    It is loaded with the first shard: of an error in a worker's constructor Ray keeps the text alone.
    """

    def __init__(self, settings: ShardSettings) -> None:
        self.settings = settings

    @cached_property
    def encoder(self) -> MemoryEncoder:
        return load_encoder(self.settings.model, self.settings.adapter, self.settings.model_kwargs)

    @cached_property
    def key(self) -> RetrievalKey:
        return open_key(self.settings.key)

    @cached_property
    def identity(self) -> CollectionIdentity:
        return identity_of(self.encoder, self.key)

    def __call__(self, rows: pa.Table) -> Iterator[dict[str, list[int]]]:
        """Writes the shards that these rows are of, each with its number as `shard`, and gives their sizes."""
        ordered = sorted(rows.to_pylist(), key=itemgetter("shard"))
        for shard, group in groupby(ordered, itemgetter("shard")):
            own = list(group)
            self.write(shard, own)
            yield {"rows": [len(own)]}

    def write(self, shard: int, rows: Sequence[Row]) -> None:
        """Encodes the items of a shard into its folder, which is complete whenever it exists.

        What is wrong with an item is noted in `ERRORS`. A shard that is there stays: Ray gives a block again whose
        worker died, with the shards that it wrote.
        """
        if shard_folder(self.settings.out, shard).exists():
            return
        errors = [row["error"] for row in rows if row["error"]]

        def fill(folder: Path) -> None:
            with TemporaryDirectory() as pictures:
                items = _items([row for row in rows if not row["error"]], Path(pictures), errors)
                write_folder(folder, self.identity, self._records(items, errors))
            if errors:
                lines = (json.dumps({"error": error}, ensure_ascii=False) + "\n" for error in sorted(errors))
                (folder / ERRORS).write_text("".join(lines), encoding="utf-8")

        atomic_folder(shard_folder(self.settings.out, shard), fill)

    def _records(self, items: dict[str, MemoryItem], errors: list[str]) -> Iterator[MemoryRecord]:
        for chunk in in_chunks(self._prepared(items, errors)):
            for one, encoded in zip(*self._encoded(chunk, errors), strict=True):
                try:
                    made = packed(encoded, self.settings.precision)
                except ValueError as error:
                    errors.append(f"Item {one.id!r}: {error}")
                    continue
                image = None if one.item.image is None else str(one.item.image)
                content = map_files(one.item.content or (), _reference)
                yield record_of(one, made, self.settings.moment, image=image, content=content)

    def _prepared(self, items: dict[str, MemoryItem], errors: list[str]) -> Iterator[PreparedItem]:
        for id, item in items.items():
            try:
                yield replace(prepare(item, self.encoder, truncate=self.settings.truncate), id=id)
            except InvalidItemError as error:
                errors.append(str(error))

    def _encoded(self, chunk: list[PreparedItem], errors: list[str]) -> tuple[list[PreparedItem], list[EncodedItem]]:
        """Items with their keys and vectors, without those that the key cannot find."""
        batch_size = self.settings.batch_size
        try:
            return chunk, encode_prepared(chunk, self.encoder, self.key, batch_size=batch_size)
        except InvalidItemError:
            findable = [one for one in chunk if self._is_findable(one, errors)]
            return findable, encode_prepared(findable, self.encoder, self.key, batch_size=batch_size)

    def _is_findable(self, one: PreparedItem, errors: list[str]) -> bool:
        try:
            self.key.item_keys([one.item.text], [one.picture], [one.id])
        except InvalidItemError as error:
            errors.append(str(error))
            return False
        return True


def _items(rows: Sequence[Row], pictures: Path, errors: list[str]) -> dict[str, MemoryItem]:
    """Items by id, those of similar length together; the same item twice is one, which has what either was given."""
    given = [(row, json.loads(row["fields"])) for row in rows]
    given.sort(key=lambda one: (len(one[1].get("text") or ""), one[0]["content_hash"], one[0]["fields"]))
    ids = ids_of([Given(f.get("id"), row["content_hash"], f.get("metadata", {})) for row, f in given], (), {})
    contents: dict[str, str] = {}
    items: dict[str, MemoryItem] = {}
    for id, (row, _) in zip(ids, given, strict=True):
        if contents.setdefault(id, row["content_hash"]) != row["content_hash"]:
            errors.append(str(DuplicateIdError(f"Two items have the id {id!r}. Give each its own id.")))
            continue
        item = _with_files(item_in(row), pictures)
        items[id] = merged(items[id], item) if id in items else item
    return items


def _reference(part: Path | Audio) -> FileReference:
    return FileReference(str(part.source), "audio") if isinstance(part, Audio) else FileReference(str(part))


def _with_files(item: MemoryItem, pictures: Path) -> MemoryItem:
    """The item with files of the pictures and recordings that came without a path, as they were encoded."""

    def kept(part: Any) -> Any:
        data = part.source if isinstance(part, Audio) else part
        if not isinstance(data, bytes):
            return part
        is_audio = isinstance(part, Audio)
        suffix = audio_suffix(data) if is_audio else f".{(Image.open(io.BytesIO(data)).format or 'png').lower()}"
        file = pictures / f"{hashlib.sha256(data).hexdigest()}{suffix}"
        file.write_bytes(data)
        return Audio(file) if is_audio else file

    content = item.content and tuple(kept(part) for part in item.content)
    return item.model_copy(update={"image": kept(item.image), "content": content})
