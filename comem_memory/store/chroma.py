"""`ChromaStore`: memories in Chroma, embedded in this process or on a server."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from comem_memory.errors import QueryError, StoreLocationError
from comem_memory.progress import progress_bar
from comem_memory.store.collection import OpenCollection
from comem_memory.store.connections import Connection, to_process
from comem_memory.store.contract import CollectionIdentity, MemoryRecord, MemoryStore, RecordSummary
from comem_memory.store.directories import (
    check_location,
    copy_directory,
    holds_memory,
    picture_directory,
    to_directory,
    vacuum_directory,
)
from comem_memory.store.filters import Filter, scoped
from comem_memory.store.ids import SEPARATOR, chroma_id
from comem_memory.store.library import Collection, InternalError
from comem_memory.store.migration import ChromaMigration
from comem_memory.store.moments import expiry, next_moment, now
from comem_memory.store.packing import ENOUGH
from comem_memory.store.records import (
    IDS_BATCH,
    SUPERSEDING,
    any_after,
    batches,
    delete_ids,
    ids_holding,
    mark,
    matching_ids,
    newest_ids,
    read,
    read_keys,
    read_summaries,
    unpacked_ids,
    write,
)
from comem_memory.store.servers import ChromaServer
from comem_memory.store.times import CURRENT, alive, expired, expires_at, expiring_after, hidden, superseded
from comem_memory.types import Page

FEW = 1000
"""Records that are compared with a search key one by one."""

SAME = 256
"""Most records of given contents that are read."""

MOST = 2**31 - 2
"""Chroma counts results in 32 bits."""


class ChromaStore(MemoryStore):
    """One Chroma collection per memory: its vectors are the retrieval keys, the rest document and metadata.

    Open it with `embedded`, `server` or `in_memory`. Each takes the identity of encoder and retrieval key in
    use: a new or empty collection takes it on, a filled one must match it. `identity=None` opens an existing
    collection as what it is, to read or migrate it. Methods may be called from several threads.

    Args:
        connection: To a directory or server.
        collection_name: One memory of several there.
        identity: Encoder and retrieval key in use.
        directory: Where the data is kept, if it is in a directory.
    """

    def __init__(
        self,
        connection: Connection,
        collection_name: str,
        identity: CollectionIdentity | None,
        directory: Path | None = None,
    ) -> None:
        self._opened, self._directory = OpenCollection(connection, collection_name, identity), directory
        self._moment = 0

    @classmethod
    def embedded(
        cls, directory: str | Path, *, identity: CollectionIdentity | None, collection_name: str = "comem"
    ) -> ChromaStore:
        """Keep the data in a directory of this machine, which one process at a time may open.

        A directory that cannot be written is opened for reading only, as a temporary copy: what others write later is
        not in it.

        Args:
            directory: Made if missing.
            identity: Encoder and retrieval key in use.
            collection_name: One memory of several in the directory.

        Raises:
            StoreLocationError: The path is a file or foreign directory, a newer library wrote it, or it cannot be
                written and holds no memory that can be read.
            StoreInUseError: Another process has it open.
            ForkedProcessError: This process is a fork of one that opened a memory.
            EncoderMismatchError: The collection was written with another encoder or retrieval key.
        """
        return cls(to_directory(directory), collection_name, identity, Path(directory).resolve())

    check_location = staticmethod(check_location)
    holds_memory = staticmethod(holds_memory)
    picture_directory = staticmethod(picture_directory)
    vacuum = staticmethod(vacuum_directory)

    @classmethod
    def server(
        cls,
        server: str | ChromaServer,
        *,
        identity: CollectionIdentity | None,
        collection_name: str = "comem",
    ) -> ChromaStore:
        """Keep the data in a running Chroma server, shared with other processes.

        Args:
            server: Its URL, `http://host:port` or `https://host`, or also how to open it.
            identity: Encoder and retrieval key in use.
            collection_name: One memory on the server.

        Raises:
            StoreLocationError: Not such a URL, nothing answers there, or the collection is not one of ours.
            StoreAccessError: The server wants another token.
            StoreConnectionError: The server ceased to answer.
            EncoderMismatchError: The collection was written with another encoder or retrieval key.
        """
        opened = ChromaServer(url=server) if isinstance(server, str) else server
        return cls(opened.connect(), collection_name, identity)

    @classmethod
    def in_memory(cls, *, identity: CollectionIdentity) -> ChromaStore:
        """Keep the data in this process, apart from every other store, until it is closed."""
        return cls(to_process(), "comem", identity)

    @property
    def identity(self) -> CollectionIdentity:
        return self._opened.identity

    def use(self, identity: CollectionIdentity) -> None:
        """Uses the collection with this encoder and retrieval key, as if it were opened with them now.

        Raises:
            EncoderMismatchError: The collection was written with others; it stays open as what it is.
        """
        self._opened.use(identity)

    def check_open(self, *, writing: bool = False) -> None:
        self._opened.check_open(writing=writing)

    def put(self, records: Sequence[MemoryRecord]) -> None:
        with self._opened.adding() as collection:
            write(collection, self.identity, records, self._opened.quotas)

    def get(self, ids: Sequence[str], *, namespace: str) -> list[MemoryRecord]:
        asked = [chroma_id(namespace, id) for id in ids]
        with self._opened.access() as collection:
            found = read(collection, asked, namespace)
        return [found[id] for id in asked if id in found]

    def summaries(self, ids: Sequence[str], *, namespace: str) -> list[RecordSummary]:
        asked = [chroma_id(namespace, id) for id in ids]
        with self._opened.access() as collection:
            found = read_summaries(collection, asked, namespace)
        return [found[id] for id in asked if id in found]

    def same_content(
        self, hashes: Sequence[str], *, namespace: str, besides: Container[str] = ()
    ) -> list[RecordSummary]:
        if not hashes:
            return []
        condition: Filter = {"comem.content_hash": {"$in": list(hashes)}}
        with self._opened.access() as collection:
            # First without the namespace as a filter, for which Chroma looks through all of its items.
            same = matching_ids(collection, condition, limit=FEW + 1)
            if len(same) > FEW:
                same = matching_ids(collection, scoped(namespace, None, condition))
            own = sorted(
                chroma_id(namespace, id)
                for owner, _, id in (one.partition(SEPARATOR) for one in same)
                if owner == namespace and id not in besides
            )
            return list(read_summaries(collection, own[:SAME], namespace).values())

    def search(
        self,
        key: np.ndarray,
        *,
        namespace: str,
        k: int,
        where: Filter | None = None,
        among: Sequence[str] | None = None,
    ) -> list[tuple[MemoryRecord, float]]:
        key = self._checked(key, k)
        with self._opened.access() as collection:
            if among is None:
                nearest = _nearest(collection, key, k, namespace, where)
            else:
                ids = [chroma_id(namespace, id) for id in among]
                ids = matching_ids(collection, _findable(namespace, where), ids)
                nearest = _ordered(_compared(collection, ids, key))[:k]
            records = list(read(collection, [id for id, _ in nearest], namespace).values())
        if not records:
            return []
        similarities = _similarities(np.stack([record.key for record in records]), key)
        hits = zip(records, similarities.tolist(), strict=True)
        return sorted(hits, key=lambda hit: (-hit[1], hit[0].id))

    def nearest_similarities(
        self, key: np.ndarray, *, namespace: str, k: int, where: Filter | None = None
    ) -> list[float]:
        key = self._checked(key, k)
        with self._opened.access() as collection:
            nearest = _nearest(collection, key, k, namespace, where, ties=False)
        return [similarity for _, similarity in nearest]

    def holding(self, terms: Sequence[str], *, namespace: str, most: int) -> dict[str, list[str]]:
        with self._opened.access() as collection:
            held = {term: ids_holding(collection, term, namespace, limit=most + 1) for term in terms}
        telling = {term: ids for term, ids in held.items() if 0 < len(ids) <= most}
        return {term: sorted(id.partition(SEPARATOR)[2] for id in ids) for term, ids in telling.items()}

    def _checked(self, key: np.ndarray, k: int) -> np.ndarray:
        if k < 1:
            raise QueryError(f"k is {k}. Ask for at least 1 result.")
        key = np.asarray(key, np.float32)
        if key.shape != (self.identity.key_dimension,) or not np.isfinite(key).all():
            raise QueryError(
                f"The search key has shape {key.shape} or is not finite; the collection's keys have "
                f"{self.identity.key_dimension} numbers. Make it with the RetrievalKey that made them."
            )
        return key

    def delete(self, *, namespace: str, ids: Sequence[str] | None = None, where: Filter | None = None) -> list[str]:
        # Ids begin with their namespace; as a filter, Chroma would look through all of its items for each.
        condition = scoped(namespace, where) if where or ids is None else None
        with self._opened.changing() as collection:
            # Chroma counts ids that it does not hold as deleted, so only those that match are named.
            among = None if ids is None else [chroma_id(namespace, id) for id in ids]
            matching = matching_ids(collection, condition, among)
            delete_ids(collection, matching)
        return [id.partition(SEPARATOR)[2] for id in matching]

    def supersede(self, ids: Sequence[str], *, by: str, namespace: str) -> None:
        with self._opened.adding() as collection:
            mark(collection, matching_ids(collection, among=[chroma_id(namespace, id) for id in ids]), superseded(by))

    def superseding(self, *, namespace: str) -> list[RecordSummary]:
        with self._opened.access() as collection:
            found = matching_ids(collection, scoped(namespace, None, SUPERSEDING))
            return list(read_summaries(collection, sorted(found), namespace).values())

    def postpone(self, ids: Sequence[str], duration: timedelta, *, namespace: str) -> None:
        with self._opened.adding() as collection:
            among = [chroma_id(namespace, id) for id in ids]
            mark(collection, matching_ids(collection, expiring_after(now()), among), expires_at(expiry(duration)))

    def remove_expired(self, limit: int | None = None) -> list[tuple[str, str]]:
        with self._opened.changing() as collection:
            gone = expired(now())
            found = matching_ids(collection, gone, limit=limit)
            for batch in batches(found, IDS_BATCH):
                collection.delete(ids=batch, where=gone)  # what another process stored anew meanwhile stays
            stays = set(matching_ids(collection, among=found))
        pairs = (id.partition(SEPARATOR) for id in found if id not in stays)
        return [(namespace, id) for namespace, _, id in pairs]

    def ids(self, *, namespace: str, where: Filter | None = None, history: bool = False) -> list[str]:
        condition = scoped(namespace, where, alive(now())) if history else _findable(namespace, where)
        with self._opened.access() as collection:
            found = matching_ids(collection, condition)
        return sorted(id.partition(SEPARATOR)[2] for id in found)

    def count(self, *, namespace: str, where: Filter | None = None) -> int:
        with self._opened.access() as collection:
            return len(matching_ids(collection, _findable(namespace, where)))

    def scan(
        self, *, namespace: str, where: Filter | None = None, batch_size: int = 64, history: bool = False
    ) -> Iterator[list[MemoryRecord]]:
        for batch in batches(self.ids(namespace=namespace, where=where, history=history), batch_size):
            yield self.get(batch, namespace=namespace)

    def newest(self, *, namespace: str, limit: int, offset: int = 0, where: Filter | None = None) -> Page[MemoryRecord]:
        with self._opened.access() as collection:
            found = newest_ids(collection, _findable(namespace, where), most=offset + limit)
            return Page(read(collection, found[offset:], namespace).values(), found.total)

    def namespaces(self) -> list[str]:
        with self._opened.access() as collection:
            return sorted({id.partition(SEPARATOR)[0] for id in matching_ids(collection, alive(now()))})

    def next_moment(self) -> int:
        with self._opened.access() as collection:
            self._moment = next_moment(partial(any_after, collection), self._moment)
            return self._moment

    def repack(self, *, progress: bool | None = None) -> int:
        """Writes vectors anew that stand there as earlier versions stored them, in less space; returns of how many.

        A collection of fewer than `packing.ENOUGH` items stays as it is.

        Args:
            progress: Show a bar; by default on a terminal.

        Raises:
            StoreLocationError: The memory is not in a directory: on a server, what other processes write between
                reading and writing would be undone.
        """
        if self._directory is None:
            raise StoreLocationError(
                "This memory is not in a directory, so its records cannot be packed all at once. They are packed when "
                "they are written again. `chroma vacuum --path DIRECTORY` gives a server's free space back to the "
                "disk, while it is stopped."
            )
        rewritten = 0
        with self._opened.access() as collection, progress_bar("packing", progress) as bar:
            if len(matching_ids(collection, limit=2 * ENOUGH)) < ENOUGH:
                return 0
            for ids in unpacked_ids(collection):
                with self._opened.adding():
                    records = list(read(collection, ids).values())
                    write(collection, self.identity, records, self._opened.quotas)
                rewritten += len(records)
                bar.update(len(records))
        return rewritten

    def backup(self, target: str | Path) -> Path:
        """Copies a memory in a directory to a new one, which can be opened; until it is done, writes wait.

        Args:
            target: A new folder.

        Returns:
            The new folder.

        Raises:
            StoreLocationError: The target exists, or the memory is not in a directory.
        """
        if self._directory is None:
            raise StoreLocationError(
                "This memory is not in a directory. Export it, or copy the server's directory while it is stopped."
            )
        with self._opened.changing():
            return copy_directory(self._directory, target)

    def begin_migration(self, identity: CollectionIdentity) -> ChromaMigration:
        return ChromaMigration(self._opened, identity)

    def close(self) -> None:
        self._opened.close()


def _findable(namespace: str, where: Filter | None) -> Filter:
    """Of a namespace's records that match and are neither expired nor superseded."""
    return scoped(namespace, where, CURRENT, alive(now()))


# The nearest records: Chroma ids with their similarities, best first, and of equal ones those with the first ids


def _nearest(
    collection: Collection, key: np.ndarray, k: int, namespace: str, where: Filter | None, *, ties: bool = True
) -> list[tuple[str, float]]:
    """The k nearest in a namespace that match a filter.

    Without `ties` any of those that are equally near may stand last, which spares looking for all of them.
    """
    condition = _findable(namespace, where)
    if not where and (found := _nearest_of_all(collection, key, k, chroma_id(namespace, ""), ties)):
        return found
    return _nearest_matching(collection, key, k, condition, ties)


def _nearest_of_all(
    collection: Collection, key: np.ndarray, k: int, prefix: str, ties: bool
) -> list[tuple[str, float]]:
    """A namespace's k nearest, if they are among the nearest of all namespaces; empty if they may not be.

    Saves the filter in a namespace that holds much of the collection, where it costs the most: Chroma looks
    through all that it matches.
    """
    found = _query(collection, key, 4 * (k + 1), None)
    own = _ordered((id, similarity) for id, similarity in found if id.startswith(prefix))
    if len(own) > k:
        away = set(matching_ids(collection, hidden(now()), [id for id, _ in own]))
        own = [(id, similarity) for id, similarity in own if id not in away]
    if len(own) <= k or (ties and own[k - 1][1] == found[-1][1]):  # others, or others as near, may lie beyond
        return []
    return own[:k]


def _nearest_matching(
    collection: Collection, key: np.ndarray, k: int, where: Filter, ties: bool
) -> list[tuple[str, float]]:
    """The k nearest that match; reads no keys of others unless they are few or the index falls short.

    For few the index would walk through all the others.
    """
    few = matching_ids(collection, where, limit=FEW + 1)
    if len(few) <= FEW:
        return _ordered(_compared(collection, few, key))[:k]
    n = k + 1  # one more shows whether a tie crosses the cut, which the order of ids must then decide
    while True:
        found = _query(collection, key, n, where)
        if len(found) < n:
            matching = matching_ids(collection, where)
            if len(found) < len(matching):  # the graph search does not reach every record a filter leaves
                found = _compared(collection, matching, key)
        elif ties and found[k - 1][1] == found[-1][1]:
            n *= 4
            continue
        return _ordered(found)[:k]


def _query(collection: Collection, key: np.ndarray, n: int, where: Filter | None) -> list[tuple[str, float]]:
    """The n nearest that the index finds."""
    try:
        answer = collection.query(query_embeddings=[key], n_results=min(n, MOST), where=where, include=["distances"])
    except InternalError:  # how some versions of Chroma say that the index found fewer than n
        return []
    distances = cast(list[list[float]], answer["distances"])[0]
    return [(id, 1 - distance) for id, distance in zip(answer["ids"][0], distances, strict=True)]


def _compared(collection: Collection, ids: list[str], key: np.ndarray) -> list[tuple[str, float]]:
    """These records, their keys read one by one; what is deleted meanwhile is left out."""
    keys = read_keys(collection, ids)
    if not keys:
        return []
    return list(zip(keys, _similarities(np.stack(list(keys.values())), key).tolist(), strict=True))


def _ordered(found: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _similarities(keys: np.ndarray, key: np.ndarray) -> np.ndarray:
    """(n, D), (D,) -> (n,) inner products; each row alone, so that equal keys get equal scores."""
    return np.asarray((keys.astype(np.float64) * key).sum(axis=1))
