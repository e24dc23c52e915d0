"""The Chroma collection of a memory: whose it is, what its errors mean, and how another one takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
from pydantic import ValidationError

from comem_memory.errors import (
    EncoderMismatchError,
    InvalidItemError,
    StoreClosedError,
    StoreConnectionError,
    StoreLocationError,
    StoreReadOnlyError,
)
from comem_memory.store.connections import Connection
from comem_memory.store.contract import CollectionIdentity
from comem_memory.store.library import Client, Collection, InvalidArgumentError, NotFoundError
from comem_memory.store.parts import joined, split
from comem_memory.store.quotas import QuotaCollection, Quotas
from comem_memory.store.records import matching_ids

_IDENTITY = "comem.identity"
_HNSW = {"space": "ip", "ef_construction": 200, "ef_search": 200}
"""Twice Chroma's effort: recall matters more than the extra milliseconds beside a language model."""
_CLOSED = "This memory was closed. Open it again to use it."

# A replacement goes  base, staging -> replaced, staging -> replaced, base -> base
_STAGING = "-migrating"
_REPLACED = "-replaced"


class OpenCollection:
    """The collection that a store reads and writes; a complete `staging` collection may take its place.

    Args:
        connection: To Chroma; closed with this, or when the collection cannot be opened.
        name: One memory of several there.
        identity: The encoder and retrieval key in use; `None` opens an existing collection as what it is.

    Raises:
        StoreLocationError: There is no such collection and no identity, it is not one of ours, or it cannot have this
            name.
        EncoderMismatchError: The collection was written with another encoder or retrieval key.
    """

    def __init__(self, connection: Connection, name: str, identity: CollectionIdentity | None) -> None:
        self._connection, self._client, self.name = connection, connection.client, name
        self.quotas = connection.quotas
        self._writing = connection.writing
        self._closed = False
        try:
            with self._explained():
                _finish_replacement(self._client, name)
                self._collection, self.identity = self._open(identity)
        except BaseException:
            connection.close()
            raise

    def use(self, identity: CollectionIdentity) -> None:
        """Takes the collection as one of this identity; one that is empty becomes it.

        Raises:
            EncoderMismatchError: The collection was written with another encoder or retrieval key.
        """
        with self.access():
            self._collection, self.identity = self._open(identity)

    def check_open(self, *, writing: bool = False) -> None:
        """
        Raises:
            StoreClosedError: The store was closed.
            ForkedProcessError: This process is a child of the one that opened it.
            StoreLocationError: Its directory was removed or replaced.
            StoreReadOnlyError: It is open for reading only, and `writing`.
        """
        if self._closed:
            raise StoreClosedError(_CLOSED)
        self._connection.check()
        if writing and self._connection.read_only:
            raise StoreReadOnlyError(
                "The directory of this memory cannot be written, so it is open for reading only: search, get and "
                "answer work, and export() writes elsewhere. Copy the directory to where it can be written, and open "
                "the copy."
            )

    @contextmanager
    def access(self) -> Iterator[Collection]:
        """The collection; what Chroma raises once it cannot be used any more becomes an error that says why.

        Raises:
            StoreClosedError: The store was closed, before or meanwhile.
            ForkedProcessError, StoreLocationError: As in `check_open`, before or meanwhile.
            EncoderMismatchError: Another process replaced the collection.
            StoreConnectionError: The server does not answer.
            InvalidItemError: What is written is larger than the server accepts.
        """
        with self._explained():
            self.check_open()
            yield self.bounded(self._collection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self._closed:
                raise StoreClosedError(_CLOSED) from error
            self._connection.check()
            if isinstance(error, NotFoundError):
                raise EncoderMismatchError(
                    f"Collection {self.name!r} belonged to {self.identity} when it was opened, and was replaced "
                    "since. Open it again with the encoder it now belongs to."
                ) from error
            if isinstance(error, httpx.TimeoutException):
                raise StoreConnectionError(
                    "The Chroma server did not answer in time. What was being written may be stored or not; to add it "
                    "again is safe. Give it more time: ChromaServer(timeout=...)."
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

    @contextmanager
    def changing(self) -> Iterator[Collection]:
        """As `access`, for one thread at a time.

        Raises:
            StoreReadOnlyError: It is open for reading only.
        """
        self.check_open(writing=True)  # before the lock, which in a child of a fork nobody may release
        with self._writing, self.access() as collection:
            yield collection

    @contextmanager
    def adding(self) -> Iterator[Collection]:
        """As `changing`, and only while the collection has not been replaced."""
        with self.changing() as collection:
            current = _find(self._client, self.name)
            if current is None or current.id != collection.id:  # a new identity comes with a new collection
                raise NotFoundError
            yield collection

    def staging(self, identity: CollectionIdentity) -> Collection:
        """The collection beside this one where items of another identity gather; one of a third identity is dropped."""
        with self.changing():
            _finish_replacement(self._client, self.name)
            name = self.name + _STAGING
            staging = _find(self._client, name)
            if staging is not None and not _identity_of(staging).matches(identity):
                self._client.delete_collection(name)
                staging = None
            return self.bounded(staging or _create(self._client, name, identity, self.quotas))

    def replace(self, identity: CollectionIdentity) -> None:
        """Put the staging collection in this one's place. The first rename decides; opening does the rest."""
        with self.changing() as collection:
            collection.modify(name=self.name + _REPLACED)
            _finish_replacement(self._client, self.name)
            self._collection, self.identity = self._open(identity)

    def bounded(self, collection: Collection) -> Collection:
        """The collection, asked for no more at a time than the server allows."""
        return collection if self.quotas is None else cast(Collection, QuotaCollection(collection, self.quotas))

    def _open(self, identity: CollectionIdentity | None) -> tuple[Collection, CollectionIdentity]:
        name = self.name
        collection = _find(self._client, name)
        if collection is None:
            if identity is None:
                raise StoreLocationError(
                    f"There is no collection {name!r} here. Pass the identity of encoder and key to create it."
                )
            collection = _create(self._client, name, identity, self.quotas)
        stored = _identity_of(collection)
        if identity is None or stored.matches(identity):
            return collection, stored
        if matching_ids(self.bounded(collection)):
            raise EncoderMismatchError(
                f"Collection {name!r} was written with {stored}, but this memory uses {identity}. "
                f"{stored.remedy(identity)}"
            )
        self._client.delete_collection(name)  # not changed: Chroma remembers the dimension of deleted vectors
        return _create(self._client, name, identity, self.quotas), identity

    def close(self) -> None:
        """Let go of the connection; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._connection.close()


def _finish_replacement(client: Client, name: str) -> None:
    """Do the steps that a replacement was kept from doing. `replaced` exists only from its first step on."""
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


def _create(client: Client, name: str, identity: CollectionIdentity, quotas: Quotas | None) -> Collection:
    try:
        return client.get_or_create_collection(
            name,
            configuration={"hnsw": cast(Any, _HNSW)},
            metadata=split(_IDENTITY, identity.model_dump_json(), quotas.collection_value_bytes if quotas else None),
            embedding_function=None,
        )
    except InvalidArgumentError as error:
        raise StoreLocationError(f"{name!r} cannot be a collection_name: {error}") from error


def _identity_of(collection: Collection) -> CollectionIdentity:
    try:
        return CollectionIdentity.model_validate_json(str(joined(_IDENTITY, collection.metadata or {})))
    except ValidationError as error:
        raise StoreLocationError(
            f"Collection {collection.name!r} does not say in a known form which encoder wrote it. "
            "Pass another collection_name, or upgrade comem-memory if a newer version wrote it."
        ) from error
