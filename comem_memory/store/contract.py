"""The contract of a memory store: what is kept of an item, and what a store can do with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from comem_memory.config import EncoderFingerprint, Settings
from comem_memory.store.filters import Filter
from comem_memory.types import Metadata


@dataclass(frozen=True)
class MemoryRecord:
    """What is stored of one item.

    Args:
        id: unique within the namespace, printable.
        namespace: the tenant, user or agent it belongs to.
        key: (D,) float32, the retrieval key that searches compare with.
        block: the memory embeddings as `codec.encode_block` packs them.
        text: the item's text; an empty one comes back as `None`.
        image: reference to the stored image.
        metadata: the item's own metadata.
        created_at: ISO 8601, UTC.
        content_hash: hash of text and image.
        truncated: the end of the text is not in the block.
    """

    id: str
    namespace: str
    key: np.ndarray = field(repr=False, compare=False)
    block: str = field(repr=False)
    text: str | None = None
    image: str | None = None
    metadata: Metadata = field(default_factory=dict)
    created_at: str = ""
    content_hash: str = ""
    truncated: bool = False


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

    def __str__(self) -> str:
        return f"{self.encoder}, key {self.key_name}"


class MemoryStore(ABC):
    """Records in namespaces. Except for `namespaces`, every method sees the one namespace it is given.

    Raises:
        StoreClosedError: a method is called after `close`.
        StoreConnectionError: the server that keeps the records does not answer.
    """

    identity: CollectionIdentity

    @abstractmethod
    def put(self, records: Sequence[MemoryRecord]) -> None:
        """Store records, replacing those with the same namespace and id; on return they are durable.

        When a batch fails, the batches before it are stored; putting everything again is safe.

        Raises:
            DuplicateIdError: two records have the same namespace and id.
            InvalidItemError: a record is larger than the server takes.
            EncoderMismatchError: a key does not have the collection's dimension, or the collection belongs to
                another encoder since it was opened.
        """

    @abstractmethod
    def get(self, ids: Sequence[str], *, namespace: str) -> list[MemoryRecord]:
        """The records with these ids, in this order; ids that are not stored are left out."""

    @abstractmethod
    def content_hashes(self, ids: Sequence[str], *, namespace: str) -> dict[str, str]:
        """`content_hash` by id, for those that are stored."""

    @abstractmethod
    def search(
        self, key: np.ndarray, *, namespace: str, k: int, where: Filter | None = None
    ) -> list[tuple[MemoryRecord, float]]:
        """The k records nearest to a key with their similarity, best first, equal ones by id.

        Args:
            key: (D,) float32.
            namespace: the only one that is searched.
            k: at most so many records; fewer only when the namespace and filter hold fewer.
            where: condition on the items' metadata.

        Returns:
            records and inner products of their keys with `key`; negative ones count too.

        Raises:
            QueryError: k below 1, a key of another dimension, or a filter that cannot be understood.
        """

    @abstractmethod
    def delete(self, *, namespace: str, ids: Sequence[str] | None = None, where: Filter | None = None) -> list[str]:
        """Delete what matches both ids and filter, each unless `None`, and return the ids that were deleted.

        Raises:
            QueryError: a filter that cannot be understood.
        """

    @abstractmethod
    def ids(self, *, namespace: str, where: Filter | None = None) -> list[str]:
        """The ids of what matches, sorted; nothing else is read.

        Raises:
            QueryError: a filter that cannot be understood.
        """

    @abstractmethod
    def count(self, *, namespace: str, where: Filter | None = None) -> int:
        """How many records match.

        Raises:
            QueryError: a filter that cannot be understood.
        """

    @abstractmethod
    def scan(
        self, *, namespace: str, where: Filter | None = None, batch_size: int = 64
    ) -> Iterator[list[MemoryRecord]]:
        """Records, all or those that match a filter, ordered by id, at most `batch_size` in memory at a time."""

    @abstractmethod
    def namespaces(self) -> list[str]:
        """The namespaces that hold records, sorted. The one method that looks across them."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files, connections and locks; a second call does nothing."""
