"""The contract of a memory store: what is kept of an item, and what a store can do with it, migrations included."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from comem_memory.config import EncoderFingerprint, Settings
from comem_memory.content import Audio, texts_of, with_texts
from comem_memory.errors import ItemNotFoundError
from comem_memory.store.filters import Filter
from comem_memory.types import Metadata, Page

if TYPE_CHECKING:
    from comem_memory.encoder import DeferredEncoder, MemoryEncoder
    from comem_memory.retrieval import RetrievalKey


class FileReference(NamedTuple):
    """A stored file: a picture, or a recording among the texts and pictures of an item's content."""

    reference: str
    kind: Literal["image", "audio"] = "image"


def as_part(file: FileReference) -> Path | Audio:
    """A file, referred to by its path, as `MemoryItem` takes it."""
    return Audio(Path(file.reference)) if file.kind == "audio" else Path(file.reference)


@dataclass(frozen=True, kw_only=True)
class RecordSummary:
    """What is stored of one item besides its key, its vectors and its text: enough to compare.

    Args:
        id: Unique within the namespace, without control characters.
        namespace: The tenant, user or agent it belongs to.
        image: Reference to the stored image.
        metadata: The item's own metadata, and what adapters note under `comem.chat.`.
        created_at: ISO 8601, UTC; of two records the later has the greater text.
        content_hash: Hash of texts, images and recordings.
        truncated: The end of the text, or what `left_out` names, is not in the vectors.
        updated_at: When it was changed last, in the form of `created_at`, which it is by default.
        said_at: When it was said, ISO 8601, in the timezone it was given in.
        expires: From when on it is not returned, ISO 8601, UTC.
        supersedes: Ids of the items that it took the place of.
        superseded_by: Id of the item that took its place; `None` for a current item.
        content: Texts and references to stored images and recordings in their order, of an item that has several.
        left_out: Places in `content` of what is not in the vectors.
        passages: The texts that were encoded, each by itself, of an item that has passages.
    """

    id: str
    namespace: str
    image: str | None = None
    metadata: Metadata = field(default_factory=dict)
    created_at: str = ""
    content_hash: str = ""
    truncated: bool = False
    updated_at: str = ""
    said_at: str | None = None
    expires: str | None = None
    supersedes: tuple[str, ...] = ()
    superseded_by: str | None = None
    content: tuple[str | FileReference, ...] = ()
    left_out: tuple[int, ...] = ()
    passages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.updated_at:
            object.__setattr__(self, "updated_at", self.created_at)

    @property
    def files(self) -> list[FileReference]:
        """All its stored images and recordings, each once."""
        found = [] if self.image is None else [FileReference(self.image)]
        return list(dict.fromkeys([*found, *(part for part in self.content if not isinstance(part, str))]))


@dataclass(frozen=True, kw_only=True)
class MemoryRecord(RecordSummary):
    """All that is stored of one item.

    Args:
        key: (D,) float32, the retrieval key that searches compare with.
        block: The memory embeddings as `codec.encode_block` packs them, those of all passages one after the other.
        text: The item's text; an empty one comes back as `None`.
        passage_keys: What tells its passages apart, as `passages.pack_keys` packs it; empty for an item without.
    """

    key: np.ndarray = field(repr=False, compare=False)
    block: str = field(repr=False)
    text: str | None = None
    passage_keys: str = field(default="", repr=False)

    @property
    def full_text(self) -> str:
        """Its text, and the texts of its content if they do not stand in it."""
        return with_texts(self.text, texts_of(self.content))


class CollectionIdentity(Settings):
    """Who wrote a collection: blocks of another encoder, and keys of other embedders, do not belong in it."""

    encoder: EncoderFingerprint
    key_name: str
    """`RetrievalKey.name`: embedders and weights."""
    key_dimension: int
    """Numbers in a retrieval key."""

    def matches(self, other: CollectionIdentity) -> bool:
        """Equal up to the name or path that the same base model was loaded from."""
        return (self.encoder.digest, self.key_name, self.key_dimension) == (
            other.encoder.digest,
            other.key_name,
            other.key_dimension,
        )

    def remedy(self, used: CollectionIdentity) -> str:
        """What to do when a collection of this identity is opened with another one."""
        if self.encoder.digest == used.encoder.digest:
            return (
                "Open it with the retrieval key that wrote it (key=..., `comem --key`), or give its items new keys, "
                "with nothing encoded again: rekey() (from_pretrained does so with rekey=True), `comem rekey`."
            )
        return (
            "Open it with the encoder and retrieval key that wrote it, or migrate its items with reencode() "
            "(from_pretrained does so with reencode=True), `comem reencode`."
        )

    def __str__(self) -> str:
        return f"{self.encoder}, key {self.key_name}"


def identity_of(encoder: MemoryEncoder | DeferredEncoder, key: RetrievalKey) -> CollectionIdentity:
    """What a collection is written with; reads every weight of the adapter once."""
    return CollectionIdentity(encoder=encoder.fingerprint, key_name=key.name, key_dimension=key.dimension)


class MemoryStore(ABC):
    """Records in namespaces. Except for `namespaces`, `remove_expired` and migrations, every method sees the one
    namespace it is given.

    No method that reads returns records that have expired. Superseded ones are returned where they are asked for: by
    id, by content, and with `history`.

    Raises:
        StoreClosedError: A method is called after `close`.
        ForkedProcessError: This process is a child of the one that opened the store.
        StoreLocationError: The directory that keeps the records was removed or replaced since.
        StoreReadOnlyError: A method would write, and the store is open for reading only.
        StoreConnectionError: The server that keeps the records does not answer.
    """

    @property
    @abstractmethod
    def identity(self) -> CollectionIdentity:
        """Who wrote what it holds; another one once a migration is committed."""

    @abstractmethod
    def check_open(self, *, writing: bool = False) -> None:
        """Raises what every method raises that reads, or with `writing` that writes; for before other work is done."""

    @abstractmethod
    def put(self, records: Sequence[MemoryRecord]) -> None:
        """Store records, replacing those with the same namespace and id; on return they are durable.

        When a batch fails, the batches before it are stored; putting everything again is safe.

        Raises:
            DuplicateIdError: Two records have the same namespace and id.
            InvalidItemError: A record is larger than the server takes.
            EncoderMismatchError: A key does not have the collection's dimension, or the collection belongs to
                another encoder since it was opened.
        """

    @abstractmethod
    def get(self, ids: Sequence[str], *, namespace: str) -> list[MemoryRecord]:
        """The records with these ids, in the order and as often as asked; ids that are not stored are left out."""

    def require(self, ids: Sequence[str], *, namespace: str) -> list[MemoryRecord]:
        """The records with these ids, in the order and as often as asked, all of which must be there.

        Raises:
            ItemNotFoundError: An id is not stored in this namespace.
        """
        found = {record.id: record for record in self.get(ids, namespace=namespace)}
        if missing := [id for id in ids if id not in found]:
            raise ItemNotFoundError(
                f"Namespace {namespace!r} holds no item {missing[0]!r}"
                f"{f' and {len(missing) - 1} more of those asked' if missing[1:] else ''}. Check the id and namespace."
            )
        return [found[id] for id in ids]

    def history(self, id: str, *, namespace: str) -> list[MemoryRecord]:
        """A record with all that it superseded and that superseded it, directly or not, oldest first.

        Raises:
            ItemNotFoundError: The id is not stored in this namespace.
        """
        found = dict(zip([id], self.require([id], namespace=namespace), strict=True))
        asked = {id}
        while linked := {other for record in found.values() for other in _links(record)} - asked:
            asked |= linked
            found |= {record.id: record for record in self.get(sorted(linked), namespace=namespace)}

        def age(record: MemoryRecord) -> int:
            """How many records came after it, each in the place of the one before."""
            newer = {record.id}
            while (next := found.get(record.superseded_by or "")) is not None and next.id not in newer:
                newer.add(next.id)
                record = next
            return len(newer)

        return sorted(found.values(), key=lambda record: (-age(record), record.created_at, record.id))

    @abstractmethod
    def summaries(self, ids: Sequence[str], *, namespace: str) -> list[RecordSummary]:
        """As `get`, but without keys, vectors and texts."""

    @abstractmethod
    def same_content(
        self, hashes: Sequence[str], *, namespace: str, besides: Container[str] = ()
    ) -> list[RecordSummary]:
        """What is stored with one of these content hashes, superseded records too, ordered by id; of many the first.

        Args:
            hashes: Content hashes.
            namespace: The only namespace that is looked at.
            besides: Ids of records that are left out.
        """

    @abstractmethod
    def search(
        self,
        key: np.ndarray,
        *,
        namespace: str,
        k: int,
        where: Filter | None = None,
        among: Sequence[str] | None = None,
    ) -> list[tuple[MemoryRecord, float]]:
        """The k records nearest to a key with their similarities, best first, equal ones by id.

        Args:
            key: (D,) float32.
            namespace: The only namespace that is searched.
            k: How many records; fewer come only when the namespace and filter hold fewer.
            where: A condition on the items' metadata.
            among: Ids of a few records that alone are compared, one by one; those not stored are left out.

        Returns:
            Records and inner products of their keys with `key`; negative ones count too.

        Raises:
            QueryError: `k` is below 1, a key of another dimension, or a filter that cannot be understood.
        """

    @abstractmethod
    def nearest_similarities(
        self, key: np.ndarray, *, namespace: str, k: int, where: Filter | None = None
    ) -> list[float]:
        """The similarities of `search` alone, up to float32 rounding; no record is read.

        Raises:
            QueryError: As in `search`.
        """

    @abstractmethod
    def holding(self, terms: Sequence[str], *, namespace: str, most: int) -> dict[str, list[str]]:
        """Ids of the current records whose texts hold a term, by term (`retrieval.terms`); nothing else is read.

        A term that none of them holds is left out, and so is one that more than `most` do.
        """

    @abstractmethod
    def delete(self, *, namespace: str, ids: Sequence[str] | None = None, where: Filter | None = None) -> list[str]:
        """Delete what matches both ids and filter, each unless `None`, and return the ids that were deleted.

        Superseded records are deleted too, and expired ones that are still there.

        Raises:
            QueryError: A filter that cannot be understood.
        """

    @abstractmethod
    def supersede(self, ids: Sequence[str], *, by: str, namespace: str) -> None:
        """Mark records as superseded by the item with the id `by`; ids that are not stored are left out."""

    @abstractmethod
    def superseding(self, *, namespace: str) -> list[RecordSummary]:
        """The records that took the place of others, ordered by id, without those that earlier versions stored."""

    @abstractmethod
    def postpone(self, ids: Sequence[str], duration: timedelta, *, namespace: str) -> None:
        """Have records expire when a duration from now has passed, those alone that are to expire and have not yet."""

    @abstractmethod
    def remove_expired(self, limit: int | None = None) -> list[tuple[str, str]]:
        """Delete records of all namespaces that have expired, at most `limit`.

        Returns:
            Namespace and id of each.
        """

    @abstractmethod
    def ids(self, *, namespace: str, where: Filter | None = None, history: bool = False) -> list[str]:
        """The ids of what matches, sorted, with `history` those of superseded records too; nothing else is read.

        Raises:
            QueryError: A filter that cannot be understood.
        """

    @abstractmethod
    def count(self, *, namespace: str, where: Filter | None = None) -> int:
        """How many records match.

        Raises:
            QueryError: A filter that cannot be understood.
        """

    @abstractmethod
    def scan(
        self, *, namespace: str, where: Filter | None = None, batch_size: int = 64, history: bool = False
    ) -> Iterator[list[MemoryRecord]]:
        """Records, all or those that match a filter, ordered by id, at most `batch_size` in memory at a time.

        With `history` superseded ones too.
        """

    @abstractmethod
    def newest(self, *, namespace: str, limit: int, offset: int = 0, where: Filter | None = None) -> Page[MemoryRecord]:
        """Records, all or those that match a filter, newest first, equally new ones by id downwards; and how many.

        Args:
            namespace: The only namespace that is looked at.
            limit: How many records at most.
            offset: How many newer ones are passed over.
            where: A condition on the items' metadata.

        Raises:
            QueryError: A filter that cannot be understood.
        """

    @abstractmethod
    def namespaces(self) -> list[str]:
        """The namespaces that hold records, sorted. The one method that looks across them."""

    @abstractmethod
    def next_moment(self) -> int:
        """When something that is stored now is created, in microseconds since 1970, UTC.

        Later than all that is stored, in any namespace, even if the system's clock was put back since.
        """

    @abstractmethod
    def begin_migration(self, identity: CollectionIdentity) -> Migration:
        """Start, or resume, writing every namespace's items anew with another encoder or retrieval key.

        An unfinished migration to a third identity is dropped. Until `Migration.commit` this store stays in
        use; what is added, changed or deleted meanwhile is taken along.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files, connections and locks; a second call does nothing."""


def _links(record: RecordSummary) -> set[str]:
    return {*record.supersedes, *filter(None, [record.superseded_by])}


class Migration(ABC):
    """Items of a store on their way to another encoder or retrieval key, kept apart until they are complete.

    A process that ends anywhere leaves the old store or the complete new one; `begin_migration` resumes.

    Examples:
        >>> migration = store.begin_migration(identity)            # doctest: +SKIP
        >>> for records in migration.pending(batch_size=8):        # doctest: +SKIP
        ...     migration.put([encode_again(record) for record in records])
        >>> migration.commit()                                     # doctest: +SKIP
    """

    identity: CollectionIdentity
    """What the items are written with anew."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Items to migrate, in all namespaces."""

    @property
    @abstractmethod
    def done(self) -> int:
        """Items migrated so far, in all namespaces."""

    @abstractmethod
    def pending(self, batch_size: int) -> Iterator[list[MemoryRecord]]:
        """Batches of old records, of all namespaces, that are not migrated or have changed since."""

    @abstractmethod
    def put(self, records: Sequence[MemoryRecord]) -> None:
        """Store records with new keys, block and `truncated`, the rest as `pending` gave it; then durable.

        Raises:
            DuplicateIdError, InvalidItemError, EncoderMismatchError: As in `MemoryStore.put`.
        """

    @abstractmethod
    def commit(self) -> None:
        """Put the new items in the old ones' place, without those that were deleted meanwhile.

        Other processes that share the store must not write during these seconds, and have to open it again.

        Raises:
            EncoderMismatchError: Some items are not migrated yet; nothing has changed.
        """
