"""Where memory items are kept and found: the contract `MemoryStore`, and `ChromaStore`, which fulfils it."""

from __future__ import annotations

import json
import os
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import chromadb
import numpy as np
from chromadb.api.client import Client
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings as ChromaSettings
from chromadb.errors import InternalError, NotFoundError
from filelock import FileLock, Timeout
from pydantic import ValidationError

from comem_memory.config import EncoderFingerprint, Settings
from comem_memory.errors import (
    DuplicateIdError,
    EncoderMismatchError,
    QueryError,
    StoreInUseError,
    StoreLocationError,
)
from comem_memory.types import RESERVED_PREFIX, Metadata

Filter = dict[str, Any]
"""A condition on metadata, as Chroma writes it: `{"year": {"$gte": 2020}}`, `{"$or": [{"a": 1}, {"b": 2}]}`.

`$ne` and `$nin` also match items without the key; a boolean is not a number."""

COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin")
COMBINATIONS = ("$and", "$or")


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
    """Records in namespaces. Except for `namespaces`, every method sees the one namespace it is given."""

    identity: CollectionIdentity

    @abstractmethod
    def put(self, records: Sequence[MemoryRecord]) -> None:
        """Store records, replacing those with the same namespace and id; on return they are durable.

        When a batch fails, the batches before it are stored; putting everything again is safe.

        Raises:
            DuplicateIdError: two records have the same namespace and id.
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
    def delete(self, *, namespace: str, ids: Sequence[str] | None = None, where: Filter | None = None) -> int:
        """Delete what matches both ids and filter, each unless `None`, and return how many records that were.

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
    def scan(self, *, namespace: str, batch_size: int = 64) -> Iterator[list[MemoryRecord]]:
        """All records, ordered by id, at most `batch_size` of them in memory at a time."""

    @abstractmethod
    def namespaces(self) -> list[str]:
        """The namespaces that hold records, sorted. The one method that looks across them."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files, connections and locks; a second call does nothing."""


FORMAT_VERSION = 1
_MARKER = "comem.json"
_LOCK = "comem.lock"
_IDENTITY = "comem.identity"
_SEPARATOR = "\x1f"  # not printable, so neither namespace nor id contains it
_BATCH = 64
"""Records a request: at H = 8192 in fp32 about 20 MB, below the 40 MB that a Chroma server accepts."""
_IDS_BATCH = 5000
"""Ids a request: SQLite takes 32 766 variables."""
_HNSW = {"space": "ip", "ef_construction": 200, "ef_search": 200}
"""Twice Chroma's effort: recall matters more than the extra milliseconds beside a language model."""

_opening = threading.Lock()  # Chroma's registry of clients and the lock's counter are not thread-safe


class ChromaStore(MemoryStore):
    """One Chroma collection per memory: its vectors are the retrieval keys, the rest document and metadata.

    Open it with `embedded`, `server` or `in_memory`. Each takes the identity of encoder and retrieval key in
    use: a new or empty collection takes it on, a filled one must match it. `identity=None` opens an existing
    collection as what it is, to read or migrate it. Methods may be called from several threads.
    """

    def __init__(
        self,
        client: Client,
        collection_name: str,
        identity: CollectionIdentity | None,
        release: Callable[[], None],
    ) -> None:
        self._client, self._release = client, release
        self._name = collection_name
        self._writing = threading.RLock()
        _finish_replacement(client, collection_name)
        self._collection, self.identity = _open_collection(client, collection_name, identity)

    @classmethod
    def embedded(
        cls, directory: str | Path, *, identity: CollectionIdentity | None, collection_name: str = "comem"
    ) -> ChromaStore:
        """Keep the data in a directory of this machine, which one process at a time may open.

        Raises:
            StoreLocationError: the path is a file or foreign directory, or a newer library wrote it.
            StoreInUseError: another process has it open.
            EncoderMismatchError: the collection was written with another encoder or retrieval key.
        """
        path = cls.check_location(directory)
        path.mkdir(parents=True, exist_ok=True)
        # A singleton counts the openings of one process. The soft fallback would outlive a killed process.
        lock = FileLock(
            path / _LOCK, timeout=0, thread_local=False, is_singleton=True, fallback_to_soft=False
        )
        with _opening:
            try:
                lock.acquire()
            except Timeout as error:
                raise StoreInUseError(
                    f"Another process has the memory in {path} open. To share it, close it there, start "
                    f"`chroma run --path {path / 'chroma'}`, and open the memory with that server's URL."
                ) from error
            try:
                _write_marker(path)
                client = cast(Client, chromadb.PersistentClient(path / "chroma", settings=_settings()))
            except BaseException:
                lock.release()
                raise

        def release() -> None:
            with _opening:
                client.close()
                lock.release()

        return cls._opened(client, collection_name, identity, release)

    @staticmethod
    def check_location(directory: str | Path) -> Path:
        """The absolute path of a directory that `embedded` would open or create; writes nothing.

        Raises:
            StoreLocationError: the path is a file or foreign directory, or a newer library wrote it.
        """
        path = Path(directory).resolve()
        marker = path / _MARKER
        if path.exists() and not path.is_dir():
            raise StoreLocationError(f"{path} is a file. Pass a directory, or the path of one to be created.")
        if marker.exists():
            try:
                version = int(json.loads(marker.read_text())["format_version"])
            except (ValueError, KeyError, TypeError) as error:
                raise StoreLocationError(f"{marker} is damaged. Restore it from a backup.") from error
            if version > FORMAT_VERSION:
                raise StoreLocationError(
                    f"{path} has format version {version}, and this library reads up to {FORMAT_VERSION}. "
                    "Upgrade with: pip install --upgrade comem-memory"
                )
        elif path.exists() and any(not entry.name.startswith((_LOCK, _MARKER)) for entry in path.iterdir()):
            raise StoreLocationError(
                f"{path} holds files but no memory ({_MARKER} is missing). Pass an empty or new directory."
            )
        return path

    @classmethod
    def server(
        cls,
        url: str,
        *,
        identity: CollectionIdentity | None,
        collection_name: str = "comem",
        headers: dict[str, str] | None = None,
    ) -> ChromaStore:
        """Keep the data in a running Chroma server, shared with other processes.

        Args:
            url: `http://host:port` or `https://host`.
            identity: encoder and retrieval key in use.
            collection_name: one memory on the server.
            headers: sent with each request, for instance an authorization.

        Raises:
            StoreLocationError: not such a URL, nothing answers there, or the collection is not one of ours.
            EncoderMismatchError: the collection was written with another encoder or retrieval key.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StoreLocationError(
                f"{url!r} is not the URL of a server. Pass one like 'http://localhost:8000'."
            )
        ssl = parts.scheme == "https"
        try:
            port = parts.port or (443 if ssl else 8000)
            client = cast(Client, chromadb.HttpClient(parts.hostname, port, ssl, headers, _settings()))
        except ValueError as error:
            raise StoreLocationError(
                f"No Chroma server answers at {url} ({error}). Start one with `chroma run`, or check the URL."
            ) from error
        return cls._opened(client, collection_name, identity, client.close)

    @classmethod
    def in_memory(cls, *, identity: CollectionIdentity) -> ChromaStore:
        """Keep the data in this process, apart from every other store, until it is closed."""
        name = f"comem-{uuid.uuid4().hex}"
        with _opening:
            client = cast(Client, chromadb.EphemeralClient(settings=_settings()))

        def release() -> None:
            with _opening:
                client.delete_collection(name)
                client.close()

        return cls._opened(client, name, identity, release)

    @classmethod
    def _opened(
        cls, client: Client, name: str, identity: CollectionIdentity | None, release: Callable[[], None]
    ) -> ChromaStore:
        try:
            return cls(client, name, identity, release)
        except BaseException:
            release()
            raise

    def put(self, records: Sequence[MemoryRecord]) -> None:
        with self._writing:
            self._check_still_ours()
            _write(self._collection, self.identity, records)

    def get(self, ids: Sequence[str], *, namespace: str) -> list[MemoryRecord]:
        found = _read(self._collection, [_chroma_id(namespace, id) for id in ids], namespace)
        return list(found.values())

    def content_hashes(self, ids: Sequence[str], *, namespace: str) -> dict[str, str]:
        return {
            record.id: record.content_hash
            for batch in _batches(ids, _BATCH)
            for record in self.get(batch, namespace=namespace)
        }

    def search(
        self, key: np.ndarray, *, namespace: str, k: int, where: Filter | None = None
    ) -> list[tuple[MemoryRecord, float]]:
        if k < 1:
            raise QueryError(f"k is {k}. Ask for at least 1 result.")
        key = np.asarray(key, np.float32)
        if key.shape != (self.identity.key_dimension,) or not np.isfinite(key).all():
            raise QueryError(
                f"The search key has shape {key.shape} or is not finite; the collection's keys have "
                f"{self.identity.key_dimension} numbers. Make it with the RetrievalKey that made them."
            )
        nearest = self._nearest(key, k, _filter(namespace, where))
        records = list(_read(self._collection, nearest, namespace).values())
        if not records:
            return []
        similarities = _similarities(np.stack([record.key for record in records]), key)
        hits = zip(records, similarities.tolist(), strict=True)
        return sorted(hits, key=lambda hit: (-hit[1], hit[0].id))

    def _nearest(self, key: np.ndarray, k: int, where: Filter) -> list[str]:
        """Chroma ids of the k nearest; reads no keys or blocks of others unless the index falls short."""
        n = k + 1  # one more shows whether a tie crosses the cut, which the order of ids must then decide
        while True:
            try:
                answer = self._collection.query(
                    query_embeddings=[key], n_results=n, where=where, include=["distances"]
                )
                ids, distances = answer["ids"][0], cast(list[list[float]], answer["distances"])[0]
            except InternalError:  # how some versions of Chroma say that the index found fewer than n
                ids, distances = [], []
            if len(ids) < n:
                matching = _ids(self._collection, where)
                if len(ids) < len(matching):  # the graph search does not reach every record a filter leaves
                    ids, distances = matching, self._exact_distances(matching, key)
            elif distances[k - 1] == distances[-1]:
                n *= 4
                continue
            return [id for _, id in sorted(zip(distances, ids, strict=True))[:k]]

    def _exact_distances(self, ids: list[str], key: np.ndarray) -> list[float]:
        distances = dict.fromkeys(ids, np.inf)  # what is deleted meanwhile comes last
        for batch in _batches(ids, 1000):
            answer = self._collection.get(ids=batch, include=["embeddings"])
            keys = np.asarray(answer["embeddings"], np.float32).reshape(-1, key.size)
            distances.update(zip(answer["ids"], -_similarities(keys, key), strict=True))
        return list(distances.values())

    def delete(self, *, namespace: str, ids: Sequence[str] | None = None, where: Filter | None = None) -> int:
        condition = _filter(namespace, where)
        with self._writing:
            # Chroma counts ids that it does not hold as deleted, so only those that match are named.
            among = None if ids is None else [_chroma_id(namespace, id) for id in ids]
            matching = _ids(self._collection, condition, among)
            _delete(self._collection, matching)
        return len(matching)

    def count(self, *, namespace: str, where: Filter | None = None) -> int:
        return len(_ids(self._collection, _filter(namespace, where)))

    def scan(self, *, namespace: str, batch_size: int = 64) -> Iterator[list[MemoryRecord]]:
        for batch in _batches(sorted(_ids(self._collection, _filter(namespace, None))), batch_size):
            yield list(_read(self._collection, batch, namespace).values())

    def namespaces(self) -> list[str]:
        return sorted({id.partition(_SEPARATOR)[0] for id in _ids(self._collection)})

    def close(self) -> None:
        self._release()
        self._release = lambda: None

    def begin_migration(self, identity: CollectionIdentity) -> Migration:
        """Start, or resume, writing every namespace's items anew with another encoder or retrieval key.

        An unfinished migration to a third identity is dropped. Until `Migration.commit` this store stays in
        use; what is added, changed or deleted meanwhile is taken along.
        """
        _finish_replacement(self._client, self._name)
        staging = _find(self._client, self._name + _STAGING)
        if staging is not None and not _identity_of(staging).matches(identity):
            self._client.delete_collection(self._name + _STAGING)
            staging = None
        return Migration(self, staging or _create(self._client, self._name + _STAGING, identity), identity)

    def _replace(self, identity: CollectionIdentity) -> None:
        """Put the staging collection in this one's place. The first rename decides; opening does the rest."""
        self._collection.modify(name=self._name + _REPLACED)
        _finish_replacement(self._client, self._name)
        self._collection, self.identity = _open_collection(self._client, self._name, identity)

    def _check_still_ours(self) -> None:
        current = _find(self._client, self._name)
        if current is None or current.id != self._collection.id:  # a new identity comes with a new collection
            raise EncoderMismatchError(
                f"Collection {self._name!r} belonged to {self.identity} when it was opened, and was replaced "
                "since. Open it again with the encoder it now belongs to."
            )


class Migration:
    """Items on their way to another encoder, in a staging collection beside the old one.

    A process that ends anywhere leaves the old collection or the complete new one; `begin_migration` resumes.

    Example:
        >>> migration = store.begin_migration(identity)            # doctest: +SKIP
        >>> for records in migration.pending(batch_size=8):        # doctest: +SKIP
        ...     migration.put([encode_again(record) for record in records])
        >>> migration.commit()                                     # doctest: +SKIP
    """

    def __init__(self, store: ChromaStore, staging: Collection, identity: CollectionIdentity) -> None:
        self._store, self._staging, self.identity = store, staging, identity

    @property
    def total(self) -> int:
        """Items to migrate, in all namespaces."""
        return self._store._collection.count()

    @property
    def done(self) -> int:
        """Items migrated so far, in all namespaces."""
        return self._staging.count()

    def pending(self, batch_size: int) -> Iterator[list[MemoryRecord]]:
        """Batches of old records, of all namespaces, that are not in staging or have changed since."""
        for ids in _batches(sorted(_ids(self._store._collection)), batch_size):
            staged = _read(self._staging, ids)
            old = _read(self._store._collection, ids)
            todo = [r for id, r in old.items() if id not in staged or _content(staged[id]) != _content(r)]
            if todo:
                yield todo

    def put(self, records: Sequence[MemoryRecord]) -> None:
        """Store records with new key, block and `truncated`, the rest as `pending` gave it; then durable."""
        _write(self._staging, self.identity, records)

    def commit(self) -> None:
        """Put the new collection in the old one's place, without items that were deleted meanwhile.

        Other processes that share the server must not write during these seconds, and have to open it again.

        Raises:
            EncoderMismatchError: some items are not migrated yet; nothing has changed.
        """
        with self._store._writing:
            if left := sum(len(records) for records in self.pending(_BATCH)):
                raise EncoderMismatchError(
                    f"{left} of {self.total} items are still encoded with {self._store.identity}. "
                    "Encode what pending() gives and put() it, then commit again."
                )
            _delete(self._staging, sorted(set(_ids(self._staging)) - set(_ids(self._store._collection))))
            self._store._replace(self.identity)


def _content(record: MemoryRecord) -> tuple[Any, ...]:
    """What a migration leaves as it is; where it differs, the item was written again meanwhile."""
    return record.text, record.image, record.metadata, record.created_at, record.content_hash


# Collections: a migration goes  base, staging -> replaced, staging -> replaced, base -> base

_STAGING = "-migrating"
_REPLACED = "-replaced"


def _finish_replacement(client: Client, name: str) -> None:
    """Do the steps that a commit was kept from doing. `replaced` exists only from its first step on."""
    replaced = _find(client, name + _REPLACED)
    if replaced is None:
        return
    if _find(client, name) is None:
        successor = _find(client, name + _STAGING)
        (successor or replaced).modify(name=name)
        if successor is None:
            return
    client.delete_collection(name + _REPLACED)


def _find(client: Client, name: str) -> Collection | None:
    try:
        return client.get_collection(name, embedding_function=None)
    except NotFoundError:
        return None


def _create(client: Client, name: str, identity: CollectionIdentity) -> Collection:
    return client.get_or_create_collection(
        name,
        configuration={"hnsw": cast(Any, _HNSW)},
        metadata={_IDENTITY: identity.model_dump_json()},
        embedding_function=None,
    )


def _open_collection(
    client: Client, name: str, identity: CollectionIdentity | None
) -> tuple[Collection, CollectionIdentity]:
    collection = _find(client, name)
    if collection is None:
        if identity is None:
            raise StoreLocationError(
                f"There is no collection {name!r} here. Pass the identity of encoder and key to create it."
            )
        collection = _create(client, name, identity)
    stored = _identity_of(collection)
    if identity is None or stored.matches(identity):
        return collection, stored
    if collection.count():
        raise EncoderMismatchError(
            f"Collection {name!r} was written with {stored}, but this memory uses {identity}. "
            "Open it with the encoder and retrieval key that wrote it, or migrate its items with reencode()."
        )
    client.delete_collection(name)  # not changed: Chroma remembers the dimension of vectors that were deleted
    return _create(client, name, identity), identity


def _identity_of(collection: Collection) -> CollectionIdentity:
    try:
        return CollectionIdentity.model_validate_json(str((collection.metadata or {}).get(_IDENTITY)))
    except ValidationError as error:
        raise StoreLocationError(
            f"Collection {collection.name!r} does not say in a known form which encoder wrote it. "
            "Pass another collection_name, or upgrade comem-memory if a newer version wrote it."
        ) from error


# Records

_T = TypeVar("_T")


def _batches(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _chroma_id(namespace: str, id: str) -> str:
    return f"{_check_namespace(namespace)}{_SEPARATOR}{id}"


def _check_namespace(namespace: str) -> str:
    if not namespace or not namespace.isprintable():
        raise QueryError(
            f"Namespace {namespace!r} is empty or not printable. Pass a name, such as a user id."
        )
    return namespace


def _ids(
    collection: Collection, where: Filter | None = None, among: Sequence[str] | None = None
) -> list[str]:
    """Chroma ids that match, nothing else being read; of all namespaces unless the filter names one."""
    if among is None:
        return list(collection.get(where=where, include=[])["ids"])
    found: list[str] = []
    for batch in _batches(list(dict.fromkeys(among)), _IDS_BATCH):
        found += collection.get(ids=batch, where=where, include=[])["ids"]
    return found


def _read(
    collection: Collection, ids: Sequence[str], namespace: str | None = None
) -> dict[str, MemoryRecord]:
    """Records by Chroma id, in the order asked; `namespace=None` is for migrations, which take them all."""
    where = None if namespace is None else _filter(namespace, None)
    found: dict[str, MemoryRecord] = {}
    for batch in _batches(list(dict.fromkeys(ids)), _BATCH):
        answer = cast(
            dict[str, Any],
            collection.get(ids=batch, where=where, include=["embeddings", "documents", "metadatas"]),
        )
        columns = (answer["ids"], answer["embeddings"], answer["documents"], answer["metadatas"])
        found.update({id: _record(*rest) for id, *rest in zip(*columns, strict=True)})
    return {id: found[id] for id in ids if id in found}


def _record(key: Any, document: str | None, stored: dict[str, Any]) -> MemoryRecord:
    return MemoryRecord(
        id=stored["comem.id"],
        namespace=stored["comem.namespace"],
        key=np.asarray(key, np.float32),
        block=stored["comem.block"],
        text=document or None,
        image=stored.get("comem.image"),
        metadata={name: value for name, value in stored.items() if not name.startswith(RESERVED_PREFIX)},
        created_at=stored["comem.created_at"],
        content_hash=stored["comem.content_hash"],
        truncated=stored["comem.truncated"],
    )


def _stored_metadata(record: MemoryRecord, identity: CollectionIdentity) -> dict[str, Any]:
    stored = {
        **record.metadata,
        "comem.id": record.id,
        "comem.namespace": record.namespace,
        "comem.block": record.block,
        "comem.created_at": record.created_at,
        "comem.content_hash": record.content_hash,
        "comem.truncated": record.truncated,
        "comem.encoder": identity.encoder.digest,
    }
    return stored if record.image is None else stored | {"comem.image": record.image}


def _write(collection: Collection, identity: CollectionIdentity, records: Sequence[MemoryRecord]) -> None:
    by_id = {_chroma_id(record.namespace, record.id): record for record in records}
    if len(by_id) < len(records):
        raise DuplicateIdError(
            f"{len(records)} records have only {len(by_id)} different ids. Store each id once a call."
        )
    for record in records:
        if np.shape(record.key) != (identity.key_dimension,):
            raise EncoderMismatchError(
                f"The key of item {record.id!r} has shape {np.shape(record.key)}; this collection's have "
                f"{identity.key_dimension} numbers. Make it with its RetrievalKey, {identity.key_name}."
            )
    for batch in _batches(list(by_id.items()), _BATCH):
        ids = [id for id, _ in batch]
        before = collection.get(ids=ids, include=["metadatas"])
        # An upsert merges metadata, so what the new record does not have is removed by setting it to None.
        cleared: dict[str, dict[str, Any]] = {
            id: dict.fromkeys(stored or {})
            for id, stored in zip(before["ids"], before["metadatas"] or [], strict=True)
        }
        collection.upsert(
            ids=ids,
            embeddings=np.stack([np.asarray(record.key, np.float32) for _, record in batch]),
            documents=[record.text or "" for _, record in batch],
            metadatas=[cleared.get(id, {}) | _stored_metadata(record, identity) for id, record in batch],
        )


def _delete(collection: Collection, ids: Sequence[str]) -> None:
    for batch in _batches(ids, _IDS_BATCH):
        collection.delete(ids=batch)


def _similarities(keys: np.ndarray, key: np.ndarray) -> np.ndarray:
    """(n, D), (D,) -> (n,) inner products; each row alone, so that equal keys get equal scores."""
    return np.asarray((keys.astype(np.float64) * key).sum(axis=1))


# Filters


def _filter(namespace: str, where: Filter | None) -> Filter:
    """The namespace and the conditions of the user's filter, in the form that Chroma takes."""
    return _all([{"comem.namespace": {"$eq": _check_namespace(namespace)}}, *_conditions(where or {})])


def _all(conditions: list[Filter]) -> Filter:
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _conditions(where: Filter) -> list[Filter]:
    """One-key conditions that must all hold; a plain `{"a": 1, "b": 2}` means both."""
    if not isinstance(where, dict):
        raise _unknown(where)
    conditions: list[Filter] = []
    for name, value in where.items():
        if name in COMBINATIONS:
            if not isinstance(value, list) or not value or not all(value):
                raise _unknown({name: value})
            parts = [_all(_conditions(part)) for part in value]
            conditions.append(parts[0] if len(parts) == 1 else {name: parts})
        elif not isinstance(name, str) or name.startswith(("$", "#", RESERVED_PREFIX)):
            raise _unknown({name: value})
        elif isinstance(value, dict) and value:
            conditions += [{name: _comparison(operator, operand)} for operator, operand in value.items()]
        else:
            conditions.append({name: _comparison("$eq", value)})
    return conditions


def _comparison(operator: str, operand: Any) -> Filter:
    numbers = isinstance(operand, int | float) and not isinstance(operand, bool)
    one_kind = isinstance(operand, list) and len({type(value) for value in operand}) == 1
    valid = {
        "$eq": isinstance(operand, str | int | float),
        "$in": one_kind and isinstance(operand[0], str | int | float),
        "$gt": numbers,
    }
    same_rule = {"$ne": "$eq", "$nin": "$in", "$gte": "$gt", "$lt": "$gt", "$lte": "$gt"}
    if not valid.get(same_rule.get(operator, operator), False):
        raise _unknown({operator: operand})
    return {operator: operand}


def _unknown(part: Any) -> QueryError:
    return QueryError(
        f"The filter cannot be understood at {part!r}. Compare a metadata key (not {RESERVED_PREFIX}...) by "
        f"{', '.join(COMPARISONS)} with a text, number or boolean (lists: not empty, of one type), "
        f"and combine conditions by {' or '.join(COMBINATIONS)} over a list that is not empty."
    )


# Places


def _settings() -> ChromaSettings:
    return ChromaSettings(anonymized_telemetry=False)


def _write_marker(path: Path) -> None:
    """Whole or not at all, so that a crash leaves a directory that can still be opened."""
    if not (path / _MARKER).exists():
        partial = path / f"{_MARKER}.partial"
        with partial.open("w") as file:
            json.dump({"format_version": FORMAT_VERSION, "library": "comem-memory"}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path / _MARKER)
