"""Hits of a server's items: picture and vectors are fetched when they are first looked at."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import torch

from comem_memory.client.connection import Connection
from comem_memory.errors import ItemNotFoundError
from comem_memory.files import atomic_write
from comem_memory.server import wire
from comem_memory.types import MemoryHit


class ServedHit(MemoryHit):
    """A hit whose picture and vectors lie on a server until they are looked at, and come as they are then.

    The vectors of all hits of one answer are fetched together. A picture is a file in a temporary folder, which goes
    when the memory is closed. Copied to another process, it is a `MemoryHit` with both.
    """

    def __init__(self, *, answer: Answered | None = None, **known: Any) -> None:
        for field in fields(MemoryHit):
            if field.name not in ("image", "memory_embeddings") or field.name in known:
                self.__dict__[field.name] = known[field.name]
        self.__dict__["_answer"] = answer

    @cached_property
    def image(self) -> str | None:
        return self.__dict__["_answer"].picture(self)

    @cached_property
    def memory_embeddings(self) -> torch.Tensor:
        return self.__dict__["_answer"].vectors_of(self.id)

    @property
    def image_location(self) -> str | None:
        return self.__dict__["_answer"].picture_url(self.id)

    def __reduce__(self) -> Any:
        return MemoryHit, tuple(getattr(self, field.name) for field in fields(MemoryHit))


class Answered:
    """What the hits of one answer of a server have in common.

    Args:
        connection: To the server.
        namespace: Whose items they are.
        hits: As they were sent.
    """

    def __init__(self, connection: Connection, namespace: str, hits: Sequence[wire.Hit]) -> None:
        self._connection, self._params = connection, {"namespace": namespace}
        self._pictures = {hit.id: hit.image for hit in hits}
        self.hits: list[MemoryHit] = [ServedHit(answer=self, **_known(hit)) for hit in hits]

    @cached_property
    def _vectors(self) -> dict[str, torch.Tensor]:
        ask = wire.GetRequest(ids=list(self._pictures), skip_missing=True, vectors=True)
        found = self._connection.post("/v1/items/get", ask, wire.Hits, self._params)
        return {hit.id: hit.hit(image=None).memory_embeddings for hit in found.hits}

    def vectors_of(self, id: str) -> torch.Tensor:
        """
        Raises:
            ItemNotFoundError: It was deleted meanwhile.
        """
        if id not in self._vectors:
            raise ItemNotFoundError(f"Item {id!r} was deleted before its vectors were looked at.")
        return self._vectors[id]

    def picture_url(self, id: str) -> str | None:
        """Where the server gives a hit's picture, to those who have a token."""
        where = self._pictures[id]
        return None if where is None else str(self._connection.url.join(where))

    def picture(self, hit: MemoryHit) -> str | None:
        """The path of a hit's picture, if it has one.

        Raises:
            ItemNotFoundError: It was deleted meanwhile.
        """
        where = self._pictures[hit.id]
        if where is None:
            return None
        name = hashlib.sha256(f"{where}\0{hit.updated_at}".encode()).hexdigest()[:32]
        with self._connection.fetching:
            [*known] = self._connection.folder.glob(f"{name}.*")
            if known:
                return str(known[0])
            sent = self._connection.download(where)
            suffix = mimetypes.guess_extension(sent.headers["Content-Type"]) or ".img"
            path = self._connection.folder / f"{name}{suffix}"
            atomic_write(path, sent.content)
            return str(path)


def _known(hit: wire.Hit) -> dict[str, Any]:
    """Fields of a hit besides picture and vectors."""
    plain = {field.name: getattr(hit, field.name) for field in fields(MemoryHit) if field.name in wire.Hit.model_fields}
    del plain["image"], plain["memory_embeddings"]
    whole = {"content": None, "left_out": ()}
    return plain | whole | {"supersedes": tuple(hit.supersedes), "found_by": tuple(hit.found_by)}
