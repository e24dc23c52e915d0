"""Hits of a server's items: pictures and vectors are fetched when they are first looked at."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from comem_memory.client.connection import Connection
from comem_memory.content import Audio
from comem_memory.errors import ItemNotFoundError
from comem_memory.files import atomic_write
from comem_memory.server import wire
from comem_memory.types import MemoryHit

_FETCHED = ("image", "content", "memory_embeddings")
"""Fields of a hit that come when they are first looked at."""


class ServedHit(MemoryHit):
    """A hit whose pictures and vectors lie on a server until they are looked at, and come as they are then.

    The vectors of all hits of one answer are fetched together. A picture or recording is a file in a temporary
    folder, which goes when the memory is closed; those of `content` come together. Copied to another process, it is a
    `MemoryHit` with all of them; `dataclasses.replace` fetches them all, too.
    """

    def __init__(self, *, answer: Answered | None = None, **known: Any) -> None:
        for field in fields(MemoryHit):
            if field.name not in _FETCHED or field.name in known:
                self.__dict__[field.name] = known[field.name]
        self.__dict__["_answer"] = answer

    @cached_property
    def image(self) -> str | None:
        return self.__dict__["_answer"].picture(self)

    @cached_property
    def memory_embeddings(self) -> torch.Tensor:
        return self.__dict__["_answer"].vectors_of(self.id)

    @cached_property
    def content(self) -> tuple[str | Path | Audio, ...] | None:
        return self.__dict__["_answer"].content(self)

    @property
    def image_location(self) -> str | None:
        answer = self.__dict__["_answer"]
        return super().image_location if answer is None else answer.picture_url(self.id)

    @property
    def content_locations(self) -> list[dict[str, str]] | None:
        answer = self.__dict__["_answer"]
        return super().content_locations if answer is None else answer.content_locations(self.id)

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
        self._sent = {hit.id: hit for hit in hits}
        self.hits: list[MemoryHit] = [ServedHit(answer=self, **_known(hit)) for hit in hits]

    @cached_property
    def _vectors(self) -> dict[str, torch.Tensor]:
        ask = wire.GetRequest(ids=list(self._sent), skip_missing=True, vectors=True)
        found = self._connection.post("/v1/items/get", ask, wire.Hits, self._params)
        return {hit.id: vectors for hit in found.hits if (vectors := _vectors(hit, self._sent[hit.id])) is not None}

    def vectors_of(self, id: str) -> torch.Tensor:
        """
        Raises:
            ItemNotFoundError: It was deleted meanwhile, or its passages changed.
        """
        if id not in self._vectors:
            raise ItemNotFoundError(f"Item {id!r} was deleted or changed before its vectors were looked at.")
        return self._vectors[id]

    def picture_url(self, id: str) -> str | None:
        """Where the server gives a hit's picture, to those who have a token."""
        where = self._sent[id].image
        return None if where is None else self._connection.location(where)

    def content_locations(self, id: str) -> list[dict[str, str]] | None:
        """A hit's content, as `MemoryHit.content_locations`."""
        return self._sent[id].content_locations(self._connection.location)

    def picture(self, hit: MemoryHit) -> str | None:
        """The path of a hit's picture, if it has one.

        Raises:
            ItemNotFoundError: It was deleted meanwhile.
        """
        where = self._sent[hit.id].image
        return None if where is None else self._fetched(where, hit)

    def content(self, hit: MemoryHit) -> tuple[str | Path | Audio, ...] | None:
        """A hit's texts and the paths of its pictures and audio, if it has several.

        Raises:
            ItemNotFoundError: It was deleted meanwhile.
        """
        sent = self._sent[hit.id].content
        if sent is None:
            return None
        return tuple(
            part.text
            if isinstance(part, wire.HitText)
            else Audio(Path(self._fetched(part.audio, hit)))
            if isinstance(part, wire.HitAudio)
            else Path(self._fetched(part.image, hit))
            for part in sent
        )

    def _fetched(self, where: str, hit: MemoryHit) -> str:
        """The path of a file of a hit, from where the server gives it."""
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


def _vectors(found: wire.Hit, sent: wire.Hit) -> torch.Tensor | None:
    """The vectors of a hit, of all that were found of its item; `None` if these have other passages than it had."""
    if found.memory_embeddings is None or found.passages != sent.passages:
        return None
    vectors = torch.from_numpy(found.memory_embeddings.array())
    return vectors if sent.passage is None else vectors.unflatten(0, (len(sent.passages), -1))[sent.passage].clone()


def _known(hit: wire.Hit) -> dict[str, Any]:
    """Fields of a hit besides pictures and vectors."""
    plain = {field.name: getattr(hit, field.name) for field in fields(MemoryHit) if field.name not in _FETCHED}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
