"""`ChromaStore`: memories in Chroma, embedded in this process or on a server, and their migration."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import chromadb
import httpx
import numpy as np
from chromadb.api.client import Client
from chromadb.api.models.Collection import Collection
from chromadb.config import Settings as ChromaSettings
from chromadb.errors import InternalError, InvalidArgumentError, NotFoundError
from filelock import FileLock, Timeout
from pydantic import ValidationError

from comem_memory.errors import (
    EncoderMismatchError,
    InvalidItemError,
    QueryError,
    StoreClosedError,
    StoreConnectionError,
    StoreInUseError,
    StoreLocationError,
)
from comem_memory.files.atomic import atomic_write
from comem_memory.store.contract import CollectionIdentity, MemoryRecord, MemoryStore
from comem_memory.store.filters import Filter, scoped
from comem_memory.store.records import (
    BATCH,
    SEPARATOR,
    batches,
    chroma_id,
    delete_ids,
    matching_ids,
    read,
    read_keys,
    write,
)

FORMAT_VERSION = 1
_MARKER = "comem.json"
_LOCK = "comem.lock"
_IDENTITY = "comem.identity"
_HNSW = {"space": "ip", "ef_construction": 200, "ef_search": 200}
"""Twice Chroma's effort: recall matters more than the extra milliseconds beside a language model."""

FEW = 1000
"""Records that are compared with a search key one by one."""

MOST = 2**31 - 2
"""Chroma counts results in 32 bits."""

_CLOSED = "This memory was closed. Open it again to use it."

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
        self._closed = False
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
        lock = FileLock(path / _LOCK, timeout=0, thread_local=False, is_singleton=True, fallback_to_soft=False)
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
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise StoreLocationError(f"{url!r} is not the URL of a server. Pass one like 'http://localhost:8000'.")
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
        with self._writing, self._access():
            current = _find(self._client, self._name)
            if current is None or current.id != self._collection.id:  # a new identity comes with a new collection
                raise NotFoundError
            write(self._collection, self.identity, records)

    def get(self, ids: Sequence[str], *, namespace: str) -> list[MemoryRecord]:
        with self._access():
            return list(read(self._collection, [chroma_id(namespace, id) for id in ids], namespace).values())

    def content_hashes(self, ids: Sequence[str], *, namespace: str) -> dict[str, str]:
        return {
            record.id: record.content_hash
            for batch in batches(ids, BATCH)
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
        condition, prefix = scoped(namespace, where), chroma_id(namespace, "")
        with self._access():
            nearest = (None if where else self._nearest_of_all(key, k, prefix)) or self._nearest(key, k, condition)
            records = list(read(self._collection, nearest, namespace).values())
        if not records:
            return []
        similarities = _similarities(np.stack([record.key for record in records]), key)
        hits = zip(records, similarities.tolist(), strict=True)
        return sorted(hits, key=lambda hit: (-hit[1], hit[0].id))

    def _nearest_of_all(self, key: np.ndarray, k: int, prefix: str) -> list[str] | None:
        """Chroma ids of a namespace's k nearest, if they are among the nearest of all namespaces.

        Saves the filter in a namespace that holds much of the collection, where it costs the most: Chroma looks
        through all that it matches.
        """
        ids, distances = self._query(key, 4 * (k + 1), None)
        own = sorted((distance, id) for distance, id in zip(distances, ids, strict=True) if id.startswith(prefix))
        if len(own) <= k or own[k - 1][0] == distances[-1]:  # others, or others as near, may lie beyond
            return None
        return [id for _, id in own[:k]]

    def _nearest(self, key: np.ndarray, k: int, where: Filter) -> list[str]:
        """Chroma ids of the k nearest; reads no keys or blocks of others unless they are few or the index falls short.

        For few the index would walk through all the others.
        """
        few = matching_ids(self._collection, where, limit=FEW + 1)
        if len(few) <= FEW:
            return [id for _, id in sorted(zip(self._exact_distances(few, key), few, strict=True))[:k]]
        n = k + 1  # one more shows whether a tie crosses the cut, which the order of ids must then decide
        while True:
            ids, distances = self._query(key, n, where)
            if len(ids) < n:
                matching = matching_ids(self._collection, where)
                if len(ids) < len(matching):  # the graph search does not reach every record a filter leaves
                    ids, distances = matching, self._exact_distances(matching, key)
            elif distances[k - 1] == distances[-1]:
                n *= 4
                continue
            return [id for _, id in sorted(zip(distances, ids, strict=True))[:k]]

    def _query(self, key: np.ndarray, n: int, where: Filter | None) -> tuple[list[str], list[float]]:
        """Chroma ids of the n nearest that the index finds, with their distances, nearest first."""
        try:
            answer = self._collection.query(
                query_embeddings=[key], n_results=min(n, MOST), where=where, include=["distances"]
            )
        except InternalError:  # how some versions of Chroma say that the index found fewer than n
            return [], []
        return answer["ids"][0], cast(list[list[float]], answer["distances"])[0]

    def _exact_distances(self, ids: list[str], key: np.ndarray) -> list[float]:
        distances = dict.fromkeys(ids, np.inf)  # what is deleted meanwhile comes last
        if keys := read_keys(self._collection, ids):
            distances.update(zip(keys, -_similarities(np.stack(list(keys.values())), key), strict=True))
        return list(distances.values())

    def delete(self, *, namespace: str, ids: Sequence[str] | None = None, where: Filter | None = None) -> list[str]:
        # Ids begin with their namespace; as a filter, Chroma would look through all of its items for each.
        condition = scoped(namespace, where) if where or ids is None else None
        with self._writing, self._access():
            # Chroma counts ids that it does not hold as deleted, so only those that match are named.
            among = None if ids is None else [chroma_id(namespace, id) for id in ids]
            matching = matching_ids(self._collection, condition, among)
            delete_ids(self._collection, matching)
        return [id.partition(SEPARATOR)[2] for id in matching]

    def ids(self, *, namespace: str, where: Filter | None = None) -> list[str]:
        with self._access():
            found = matching_ids(self._collection, scoped(namespace, where))
        return sorted(id.partition(SEPARATOR)[2] for id in found)

    def count(self, *, namespace: str, where: Filter | None = None) -> int:
        with self._access():
            return len(matching_ids(self._collection, scoped(namespace, where)))

    def scan(
        self, *, namespace: str, where: Filter | None = None, batch_size: int = 64
    ) -> Iterator[list[MemoryRecord]]:
        for batch in batches(self.ids(namespace=namespace, where=where), batch_size):
            yield self.get(batch, namespace=namespace)

    def namespaces(self) -> list[str]:
        with self._access():
            return sorted({id.partition(SEPARATOR)[0] for id in matching_ids(self._collection)})

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._release()

    def begin_migration(self, identity: CollectionIdentity) -> Migration:
        """Start, or resume, writing every namespace's items anew with another encoder or retrieval key.

        An unfinished migration to a third identity is dropped. Until `Migration.commit` this store stays in
        use; what is added, changed or deleted meanwhile is taken along.
        """
        with self._access():
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

    @contextmanager
    def _access(self) -> Iterator[None]:
        """What Chroma raises once the collection cannot be used any more, as errors that say why."""
        try:
            if self._closed:
                raise StoreClosedError(_CLOSED)
            yield
        except Exception as error:
            if self._closed:
                raise StoreClosedError(_CLOSED) from error
            if isinstance(error, NotFoundError):
                raise EncoderMismatchError(
                    f"Collection {self._name!r} belonged to {self.identity} when it was opened, and was replaced "
                    "since. Open it again with the encoder it now belongs to."
                ) from error
            if isinstance(error, httpx.TransportError):
                raise StoreConnectionError(
                    f"The Chroma server does not answer: {error}. Try again when it does; what was stored is there."
                ) from error
            if "payload too large" in str(error).lower():  # a bare Exception
                raise InvalidItemError(
                    "An item with its metadata is larger than the Chroma server accepts, by default 40 MB. Shorten it "
                    "(a message in a history keeps its pictures), or set the server's max_payload_size_bytes."
                ) from error
            raise


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
        with self._store._access():
            return self._store._collection.count()

    @property
    def done(self) -> int:
        """Items migrated so far, in all namespaces."""
        with self._store._access():
            return self._staging.count()

    def pending(self, batch_size: int) -> Iterator[list[MemoryRecord]]:
        """Batches of old records, of all namespaces, that are not in staging or have changed since."""
        with self._store._access():
            found = sorted(matching_ids(self._store._collection))
        for ids in batches(found, batch_size):
            with self._store._access():
                staged = read(self._staging, ids)
                old = read(self._store._collection, ids)
            todo = [r for id, r in old.items() if id not in staged or _content(staged[id]) != _content(r)]
            if todo:
                yield todo

    def put(self, records: Sequence[MemoryRecord]) -> None:
        """Store records with new key, block and `truncated`, the rest as `pending` gave it; then durable."""
        with self._store._access():
            write(self._staging, self.identity, records)

    def commit(self) -> None:
        """Put the new collection in the old one's place, without items that were deleted meanwhile.

        Other processes that share the server must not write during these seconds, and have to open it again.

        Raises:
            EncoderMismatchError: some items are not migrated yet; nothing has changed.
        """
        with self._store._writing, self._store._access():
            if left := sum(len(records) for records in self.pending(BATCH)):
                raise EncoderMismatchError(
                    f"{left} of {self.total} items are still encoded with {self._store.identity}. "
                    "Encode what pending() gives and put() it, then commit again."
                )
            delete_ids(
                self._staging, sorted(set(matching_ids(self._staging)) - set(matching_ids(self._store._collection)))
            )
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
    current, successor = _find(client, name), _find(client, name + _STAGING)
    if successor is not None:
        if current is not None:  # made by someone who opened the memory between the two renames
            client.delete_collection(name)
        successor.modify(name=name)
    elif current is None:
        replaced.modify(name=name)
        return
    client.delete_collection(name + _REPLACED)


def _find(client: Client, name: str) -> Collection | None:
    try:
        return client.get_collection(name, embedding_function=None)
    except NotFoundError:
        return None


def _create(client: Client, name: str, identity: CollectionIdentity) -> Collection:
    try:
        return client.get_or_create_collection(
            name,
            configuration={"hnsw": cast(Any, _HNSW)},
            metadata={_IDENTITY: identity.model_dump_json()},
            embedding_function=None,
        )
    except InvalidArgumentError as error:
        raise StoreLocationError(f"{name!r} cannot be a collection_name: {error}") from error


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
            "Open it with the encoder and retrieval key that wrote it, or migrate its items with reencode() "
            "(from_pretrained does so with reencode=True)."
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


def _similarities(keys: np.ndarray, key: np.ndarray) -> np.ndarray:
    """(n, D), (D,) -> (n,) inner products; each row alone, so that equal keys get equal scores."""
    return np.asarray((keys.astype(np.float64) * key).sum(axis=1))


# Places


def _settings() -> ChromaSettings:
    return ChromaSettings(anonymized_telemetry=False)


def _write_marker(path: Path) -> None:
    """Whole or not at all, so that a crash leaves a directory that can still be opened."""
    if not (path / _MARKER).exists():
        content = json.dumps({"format_version": FORMAT_VERSION, "library": "comem-memory"})
        atomic_write(path / _MARKER, content, durable=True)
