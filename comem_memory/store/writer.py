"""`Writer`: items become records of a namespace, and their pictures and audio are kept beside them."""

from __future__ import annotations

import copy
import hashlib
import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from comem_memory.content import Audio, map_files
from comem_memory.conversion import Addable, is_one, to_item
from comem_memory.encoder import (
    CHUNK,
    DeferredEncoder,
    EncodedItem,
    MemoryEncoder,
    PreparedItem,
    encode_prepared,
    in_chunks,
    prepare,
)
from comem_memory.errors import DuplicateIdError, EncoderMismatchError, InvalidItemError
from comem_memory.files import image_digest, load_image, read_audio
from comem_memory.passages import PassageRule, in_passages
from comem_memory.progress import progress_bar
from comem_memory.redaction import Redact, redacted, redacted_content, redacted_value
from comem_memory.retrieval import RetrievalKey
from comem_memory.store.codec import Precision, encode_block
from comem_memory.store.contract import (
    CollectionIdentity,
    FileReference,
    MemoryRecord,
    MemoryStore,
    RecordSummary,
    as_part,
    identity_of,
)
from comem_memory.store.deleting import delete_items, remove_expired
from comem_memory.store.filters import Filter, check_namespace
from comem_memory.store.identification import Given, made_ids, stored_ids
from comem_memory.store.merging import merged, merged_metadata
from comem_memory.store.moments import date_of, expiry, to_date
from comem_memory.store.passages import pack_keys
from comem_memory.store.pictures import PictureFolder
from comem_memory.store.portable import count_items, find_exports, read_folder
from comem_memory.types import MESSAGE_NOTE, MemoryItem, Metadata, notes_of, own_metadata, with_notes

_KEPT = ("created_at", "said_at", "expires", "supersedes", "superseded_by")
"""What an update of text or picture leaves as it is."""


class Writer:
    """Prepares, encodes and stores the items of one namespace; `ContinuousMemory` describes each method.

    An item is encoded without a lock, so that others can write meanwhile, and stored under one that all writers of
    `for_namespace` share, so that its record and its picture change together.

    Args:
        encoder: Makes the vectors.
        key: Makes the retrieval keys.
        store: Keeps both.
        pictures: Keeps what was added without a path.
        namespace: Whose items these are.
        precision: How vectors are stored.
        redact: Takes out of every text what must not be stored.
    """

    def __init__(
        self,
        encoder: MemoryEncoder | DeferredEncoder,
        key: RetrievalKey,
        store: MemoryStore,
        pictures: PictureFolder,
        *,
        namespace: str,
        precision: Precision,
        redact: Redact | None = None,
    ) -> None:
        self.encoder, self.key, self.store, self.pictures = encoder, key, store, pictures
        self.namespace, self.precision = check_namespace(namespace), precision
        self.redact = redact
        self._lock = threading.RLock()

    def for_namespace(self, namespace: str, precision: Precision | None = None) -> Writer:
        """A writer of another namespace, and if given in another precision."""
        other = copy.copy(self)
        other.namespace, other.precision = check_namespace(namespace), precision or self.precision
        other.identity = self.identity  # computed once for all
        return other

    @cached_property
    def identity(self) -> CollectionIdentity:
        """What is written with this encoder and key."""
        return identity_of(self.encoder, self.key)

    def check_encoder(self) -> None:
        """
        Raises:
            EncoderMismatchError: Another encoder or retrieval key wrote the store.
            StoreClosedError, ForkedProcessError, StoreLocationError: The store cannot be used any more.
        """
        self.store.check_open()
        if not self.store.identity.matches(self.identity):
            raise EncoderMismatchError(
                f"This collection was written with {self.store.identity}, but this memory uses {self.identity}. "
                f"{self.store.identity.remedy(self.identity)}"
            )

    # -- what is written ----------------------------------------------------------------------------------------

    def add(
        self,
        items: Addable | Iterable[Addable],
        *,
        truncate: bool,
        passages: PassageRule | None,
        batch_size: int,
        progress: bool | None,
    ) -> list[str]:
        self.store.check_open(writing=True)
        given: Iterable[Any] = [items] if is_one(items) else items  # type: ignore[assignment]
        seen: dict[str, str] = {}
        ids: list[str] = []
        total = len(given) if isinstance(given, Sequence) else None
        with progress_bar("encoding", progress, total=total) as bar:
            clean = (in_passages(redacted(to_item(one), self.redact), passages) for one in given)
            for chunk in in_chunks(prepare(one, self.encoder, truncate=truncate) for one in clean):
                told = [Given(one.item.id, one.content_hash, one.item.metadata) for one in chunk]
                named_as = stored_ids(told, self.store, self.namespace, seen)
                named = [replace(one, id=id) for one, id in zip(chunk, named_as, strict=True)]
                for one in named:
                    if seen.setdefault(one.id, one.content_hash) != one.content_hash:
                        raise DuplicateIdError(f"Two items of this call have the id {one.id!r}. Give each its own id.")
                self._store(named, batch_size, bar.update)
                ids += [one.id for one in named]
                bar.update(len(ids) - bar.n)  # what needed no encoding
        return ids

    def update(
        self,
        id: str,
        *,
        text: str | None,
        image: Any,
        content: Any,
        metadata: Metadata | None,
        thin: bool | None,
        truncate: bool,
        passages: PassageRule | None,
    ) -> None:
        self.store.check_open(writing=True)
        self.check_encoder()
        text, metadata = redacted_value(text, self.redact), redacted_value(metadata, self.redact)
        content = redacted_content(content, self.redact)
        while True:
            [old] = self.store.require([id], namespace=self.namespace)
            given = {"text": text, "image": image, "content": content}
            unchanged = all(value is None for value in (*given.values(), passages))
            if old.content and content is None and not unchanged:
                raise InvalidItemError(
                    f"Item {id!r} has content of {len(old.content)} parts, which text and image do not replace. Pass "
                    "content=... too: the new one, or that of get()."
                )
            kept = self._stored_content(old) if content is None else {}
            if text not in (None, old.text) or passages is not None:
                kept.pop("passages", None)
            item = MemoryItem(
                id=id,
                **kept | {name: value for name, value in given.items() if value is not None},
                metadata=own_metadata(old.metadata) if metadata is None else metadata,
                thin=bool(old.left_out) if thin is None else thin,
            )
            notes = notes_of(old.metadata)
            if item.text != old.text:
                notes.pop(MESSAGE_NOTE, None)  # it says the old text
            item = in_passages(with_notes(item, notes), passages or ("sentence" if old.passages else None))
            one = None if unchanged else prepare(item, self.encoder, truncate=truncate)
            is_same = one is None or (one.content_hash, one.passages) == (old.content_hash, old.passages)
            changed = [] if one is None or is_same else [one]
            made = self._encode(changed, batch_size=1)
            with self._lock:
                if self.store.require([id], namespace=self.namespace) != [old]:
                    continue  # another thread wrote it while this one encoded
                updated_at = to_date(self.store.next_moment())
                if made:
                    record = self._record(changed[0], made[0], updated_at)
                    self._put([replace(record, **{name: getattr(old, name) for name in _KEPT})])
                    return
                new = replace(old, metadata=item.metadata, updated_at=updated_at)
                if one is not None and self._are_gone(old.files):
                    new = replace(new, **self._keep_files(one))
                self._put([new])
                return

    def delete(self, *, ids: Sequence[str] | None = None, where: Filter | None = None) -> int:
        """Deletes what matches both, each unless `None`, with the pictures; returns how many items."""
        self.store.check_open(writing=True)  # before the lock, which in a child of a fork nobody may release
        with self._lock:
            return delete_items(self.store, self.pictures, namespace=self.namespace, ids=ids, where=where)

    def reencode(self, *, batch_size: int, progress: bool | None) -> int:
        migration = self.store.begin_migration(self.identity)
        encoded = 0
        with progress_bar("re-encoding", progress, total=migration.total, initial=migration.done) as bar:
            for old in migration.pending(CHUNK):
                items = (MemoryItem(id=record.id, **self._stored_content(record)) for record in old)
                left = iter(old)
                for chunk in in_chunks(prepare(item, self.encoder, truncate=True) for item in items):
                    made = zip(chunk, self._encode(chunk, batch_size, bar.update), left)  # noqa: B905 - left goes on
                    migration.put([replace(o, **new, truncated=p.truncated, left_out=p.left_out) for p, new, o in made])
                encoded += len(old)
        migration.commit()
        return encoded

    def rekey(self, *, progress: bool | None) -> int:
        stored = self.store.identity
        if stored.encoder.digest != self.identity.encoder.digest:
            raise EncoderMismatchError(
                f"This collection was written with {stored}, but this memory uses {self.identity}. New keys alone do "
                f"not help. {stored.remedy(self.identity)}"
            )
        migration = self.store.begin_migration(self.identity)
        rekeyed = 0
        with progress_bar("re-keying", progress, total=migration.total, initial=migration.done) as bar:
            for old in migration.pending(CHUNK):
                texts, pictures = [one.text for one in old], [self._picture(one) for one in old]
                keys = self.key.item_keys(texts, pictures, [one.id for one in old])
                of_passages = [pack_keys(self.key.passage_keys(one.passages)) for one in old]
                new = zip(old, keys, of_passages, strict=True)
                migration.put([replace(one, key=key, passage_keys=passages) for one, key, passages in new])
                rekeyed += len(old)
                bar.update(len(old))
        migration.commit()
        return rekeyed

    def _stored_content(self, record: MemoryRecord) -> dict[str, Any]:
        """Text, image, content and passages of a record, as fields of an item."""
        image, content = self.pictures.find(record.image), self.pictures.content(record)
        return {"text": record.text, "image": image, "content": content, "passages": record.passages}

    def _picture(self, record: MemoryRecord) -> Image.Image | None:
        path = self.pictures.find(record.image)
        try:
            return None if path is None else load_image(path)
        except InvalidItemError as error:
            raise InvalidItemError(f"Item {record.id!r}: {error}") from error

    def load(self, folders: str | Path | Iterable[str | Path], *, progress: bool | None) -> int:
        self.store.check_open(writing=True)
        self.check_encoder()
        exports = find_exports(folders)
        total = sum(count_items(export, self.store.identity) for export in exports)  # of all, before any is stored
        taken = {
            id: (new.id, new.created_at)
            for new in self.store.superseding(namespace=self.namespace)
            for id in new.supersedes
        }
        with progress_bar("loading", progress, total=total) as bar:
            for export in exports:
                records = read_folder(export, self.store.identity)
                while chunk := list(itertools.islice(records, CHUNK)):
                    with self._lock:
                        self._adopt(chunk, taken)
                    bar.update(len(chunk))
        return total

    # -- from an item to its record -----------------------------------------------------------------------------

    def _store(self, chunk: Sequence[PreparedItem], batch_size: int, on_batch: Callable[[int], object]) -> None:
        """Stores items; those whose content is stored are looked at again once others are encoded."""
        self.check_encoder()
        superseded = self._superseded(chunk)
        by_id: dict[str, PreparedItem] = {}
        for one in chunk:
            same = by_id.get(one.id)
            by_id[one.id] = one if same is None else replace(one, item=merged(same.item, one.item))
        prepared = list(by_id.values())
        while prepared:
            with self._lock:
                summaries = self.store.summaries([one.id for one in prepared], namespace=self.namespace)
                stored = {summary.id: summary for summary in summaries}
                hashes = {id: summary.content_hash for id, summary in stored.items()}
                known = [one for one in prepared if hashes.get(one.id) == one.content_hash]
                if len(known) == len(prepared):
                    self._refresh(known, stored, stay=superseded)
                    break
            unchanged = {one.id for one in known}
            changed = [one for one in prepared if one.id not in unchanged]
            made = self._encode(changed, batch_size, on_batch)
            with self._lock:
                self._put_new(changed, made, stored)
            prepared = known
        with self._lock:  # only now: what is superseded is found until that which takes its place is stored
            for old in self.store.summaries(list(superseded), namespace=self.namespace):
                if old.superseded_by != superseded[old.id]:
                    self.store.supersede([old.id], by=superseded[old.id], namespace=self.namespace)
            remove_expired(self.store, self.pictures, CHUNK)

    def _superseded(self, chunk: Sequence[PreparedItem]) -> dict[str, str]:
        """Which items are superseded, and by which, once those of a chunk are stored, one after the other.

        Raises:
            ItemNotFoundError: One is neither stored nor stands before in the chunk.
        """
        superseded: dict[str, str] = {}
        before, stored = set[str](), set[str]()
        for one in chunk:
            superseded.pop(one.id, None)  # is current again
            before.add(one.id)
            stored |= set(one.supersedes) - before
            superseded |= dict.fromkeys(one.supersedes, one.id)
        self.store.require(sorted(stored), namespace=self.namespace)
        return superseded

    def _encode(
        self, prepared: Sequence[PreparedItem], batch_size: int, on_batch: Callable[[int], object] | None = None
    ) -> list[Packed]:
        """Keys and block of each item."""
        if not prepared:
            return []
        encoded = encode_prepared(prepared, self.encoder, self.key, batch_size=batch_size, on_batch=on_batch)
        return [packed(one, self.precision) for one in encoded]

    def _record(self, one: PreparedItem, made: Packed, moment: str, supersedes: tuple[str, ...] = ()) -> MemoryRecord:
        record = record_of(one, made, moment, **self._keep_files(one))
        return replace(record, namespace=self.namespace, supersedes=supersedes)

    def _adopt(self, chunk: Sequence[MemoryRecord], taken: dict[str, tuple[str, str]]) -> None:
        """Stores records of another memory, of which those stay away that are stored and no older here.

        Args:
            chunk: The records.
            taken: By id of a superseded item, which item took its place, and when; those of the chunk are added.
        """
        chunk = [replace(r, supersedes=tuple(id for id in r.supersedes if id != r.id)) for r in chunk]
        own = {record.id for record in chunk if record.supersedes or record.superseded_by or record.id in taken}
        given = [Given(record.id, record.content_hash, record.metadata) for record in chunk]
        given = [one._replace(id=None) if one.id in made_ids(one) and one.id not in own else one for one in given]
        named_as = stored_ids(given, self.store, self.namespace)
        records: dict[str, MemoryRecord] = {}
        for id, record in zip(named_as, chunk, strict=True):
            if id not in records or records[id].updated_at <= record.updated_at:  # the newest of those of one id
                records[id] = replace(record, id=id)
        for record in records.values():
            if record.superseded_by is not None:
                taken.setdefault(record.id, (record.superseded_by, record.updated_at))
            taken |= dict.fromkeys(record.supersedes, (record.id, record.created_at))

        def superseded_by(record: RecordSummary) -> str | None:
            by, moment = taken.get(record.id, (None, ""))
            return by if record.superseded_by is None and record.updated_at <= moment else record.superseded_by

        named = [*records, *(id for record in records.values() for id in record.supersedes)]
        stored = {old.id: old for old in self.store.summaries(named, namespace=self.namespace)}
        new = [r for r in records.values() if r.id not in stored or stored[r.id].updated_at < r.updated_at]
        self._put([replace(self._adopted(record), superseded_by=superseded_by(record)) for record in new])
        for id in stored.keys() - {record.id for record in new}:
            if (by := superseded_by(stored[id])) is not None and by != stored[id].superseded_by:
                self.store.supersede([id], by=by, namespace=self.namespace)

    def _adopted(self, record: MemoryRecord) -> MemoryRecord:
        """A record of another memory as one of this namespace, its files kept where this memory keeps them."""
        if self.pictures.folder is None:
            return replace(record, namespace=self.namespace)

        def copied(file: FileReference) -> FileReference:
            part = as_part(file)
            name = _named(read_audio(part) if isinstance(part, Audio) else load_image(part))  # no picture: not taken
            name = name if record.content else record.content_hash[:32]
            path = Path(file.reference)
            return file._replace(reference=self.pictures.copy(path, namespace=self.namespace, id=record.id, name=name))

        copies = {file: copied(file) for file in record.files}
        content = map_files(record.content, copies.__getitem__)
        image = None if record.image is None else copies[FileReference(record.image)].reference
        return replace(record, namespace=self.namespace, image=image, content=content)

    def _keep_files(self, one: PreparedItem) -> dict[str, Any]:
        """The image and content of an item's record, its pictures and recordings kept."""

        def keep(part: Image.Image | Audio, given: Any) -> FileReference:
            source = given.source if isinstance(given, Audio) else given
            path = source if isinstance(source, Path) else None
            name = one.content_hash[:32] if one.content is None else _named(part)
            kept = self.pictures.keep(part, path, namespace=self.namespace, id=one.id, name=name)
            return FileReference(kept, "audio" if isinstance(part, Audio) else "image")

        parts = zip(one.content or (), one.item.content or (), strict=True)
        return {
            "image": None if one.picture is None else keep(one.picture, one.item.image).reference,
            "content": tuple(part if isinstance(part, str) else keep(part, given) for part, given in parts),
        }

    # -- under the lock -----------------------------------------------------------------------------------------

    def _refresh(
        self,
        prepared: Sequence[PreparedItem],
        stored: Mapping[str, RecordSummary],
        stay: Collection[str],
    ) -> None:
        """Of items whose content is stored, replaces metadata and times by others, and pictures whose files are gone.

        Those that are superseded are current again, except for those that are to `stay` so.
        """
        new: dict[str, dict[str, Any]] = {}
        for one in prepared:
            old = stored[one.id]
            gone = self._are_gone(old.files)
            fields = {
                **(self._keep_files(one) if gone else {"image": old.image, "content": old.content}),
                "metadata": merged_metadata(old.metadata, one.item.metadata),
                "supersedes": tuple(dict.fromkeys(old.supersedes + one.supersedes)),
                "superseded_by": old.superseded_by if one.id in stay else None,
                **_given_times(one.item),
            }
            if any(getattr(old, name) != value for name, value in fields.items()):
                new[one.id] = fields
        if not new:
            return
        for moment, changed in enumerate(new.values(), self.store.next_moment()):
            changed["updated_at"] = to_date(moment)
        whole = self.store.get(list(new), namespace=self.namespace)
        # Another process may have stored other content between the two reads; then that is the newer.
        same = [old for old in whole if old.content_hash == stored[old.id].content_hash]
        self._put([replace(old, **new[old.id]) for old in same])

    def _are_gone(self, files: Iterable[FileReference]) -> bool:
        """Whether any of these files is gone."""
        return not all(Path(self.pictures.find(file.reference)).is_file() for file in files)

    def _put_new(
        self,
        prepared: Sequence[PreparedItem],
        made: Sequence[Packed],
        stored: Mapping[str, RecordSummary],
    ) -> None:
        """Stores items with their keys and blocks, each as created after the one before."""
        if prepared:
            records = []
            for moment, (one, new) in enumerate(zip(prepared, made, strict=True), self.store.next_moment()):
                earlier = stored[one.id].supersedes if one.id in stored else ()
                links = tuple(dict.fromkeys(earlier + one.supersedes))
                records.append(self._record(one, new, to_date(moment), links))
            self._put(records)

    def _put(self, records: Sequence[MemoryRecord]) -> None:
        """Stores records; only then goes what was kept of the files they replace."""
        if not records:
            return  # a server is not asked for nothing
        self.check_encoder()  # another thread may have migrated the collection meanwhile
        self.store.put(records)
        for record in records:
            self.pictures.drop(namespace=record.namespace, id=record.id, except_for=record.files)


class Packed(TypedDict):
    """What an item became, as fields of its record."""

    key: np.ndarray
    block: str
    passage_keys: str


def packed(encoded: EncodedItem, precision: Precision) -> Packed:
    """
    Raises:
        ValueError: As in `encode_block`.
    """
    block, passage_keys = encode_block(encoded.vectors, precision), pack_keys(encoded.passage_keys)
    return Packed(key=encoded.key, block=block, passage_keys=passage_keys)


def record_of(
    one: PreparedItem,
    made: Packed,
    moment: str,
    *,
    image: str | None,
    content: tuple[str | FileReference, ...],
) -> MemoryRecord:
    """The record of a new item, of no namespace yet.

    Args:
        one: The item.
        made: Its keys and vectors.
        moment: When it is created, in the form of `created_at`.
        image: The reference to its picture.
        content: Its content, with references to the files.
    """
    return MemoryRecord(
        id=one.id,
        namespace="",
        **made,
        text=one.item.text,
        image=image,
        metadata=one.item.metadata,
        created_at=moment,
        content_hash=one.content_hash,
        content=content,
        updated_at=moment,
        supersedes=one.supersedes,
        truncated=one.truncated,
        left_out=one.left_out,
        passages=one.passages,
        **_given_times(one.item),
    )


def _named(part: Image.Image | Audio) -> str:
    """The name of a file after what is in it."""
    digest = hashlib.sha256(part.data).digest() if isinstance(part, Audio) else image_digest(part)
    return digest.hex()[:32]


def _given_times(item: MemoryItem) -> dict[str, str | None]:
    """The times that an item is given with, `None` included, as a record has them."""
    times = {
        "said_at": None if item.said_at is None else date_of(item.said_at),
        "expires": None if item.expires is None else expiry(item.expires),
    }
    return {name: time for name, time in times.items() if name in item.model_fields_set}
