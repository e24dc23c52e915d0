"""A conversation kept in memory message by message: its newest turns can stay text while older ones are vectors."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comem_memory.filters import Filter
from comem_memory.memory import ContinuousMemory
from comem_memory.store import MemoryRecord
from comem_memory.types import MemoryItem, Metadata

SESSION, POSITION, ROLE, MESSAGE = "session_id", "position", "role", "message"
"""Metadata of a message's item; positions are microseconds since 1970, so that writers need not agree on a count."""


@dataclass(frozen=True)
class Said:
    """One message.

    Args:
        role: who said it.
        text, image: what is encoded; the image is left out when the memory's model takes none.
        message: the framework's own message, written out, to be given back as it was.
    """

    role: str
    text: str
    image: Any
    message: str


class Transcript:
    """The messages of one session.

    Args:
        memory: where; its namespace is the user's.
        session_id: one conversation of several.

    Raises:
        ValueError: an empty session_id.
    """

    def __init__(self, memory: ContinuousMemory, session_id: str) -> None:
        if session_id in ("", None):
            raise ValueError(f"session_id is {session_id!r}. Pass a name, so that conversations stay apart.")
        self.memory, self.session_id = memory, str(session_id)
        # An item with a session but no position is not a message.
        self.where: Filter = {"$and": [{SESSION: self.session_id}, {POSITION: {"$gte": 0}}]}

    def append(self, messages: Sequence[Said]) -> None:
        """Stores messages; on return they are kept.

        Raises:
            InvalidItemError: a picture that cannot be opened.
        """
        items = []
        for position, said in enumerate(messages, time.time_ns() // 1000):
            metadata: Metadata = {SESSION: self.session_id, POSITION: position, ROLE: said.role, MESSAGE: said.message}
            image = said.image if self.memory.encoder.backbone.sees else None
            text = f"{said.role.capitalize()}: {said.text or '...'}"
            items.append(MemoryItem(id=uuid.uuid4().hex, text=text, image=image, metadata=metadata))
        self.memory.add(items, truncate=True, progress=False)

    def replace(self, messages: Sequence[Said]) -> None:
        """Stores messages instead of those that are there; these go only when the new ones are kept."""
        old = [record.id for record in self.records()]
        self.append(messages)
        if old:
            self.memory.delete(ids=old)

    def records(self) -> list[MemoryRecord]:
        """The messages as stored, the oldest first."""
        found = self.memory.store.scan(namespace=self.memory.name, where=self.where)
        return sorted(itertools.chain.from_iterable(found), key=lambda record: int(record.metadata[POSITION]))

    def split(self, recent: int) -> tuple[list[MemoryRecord], list[MemoryRecord]]:
        """Older messages and the newest `recent`, or a few more: they begin with what the user said.

        So a tool's result stays with its call, and models whose roles alternate can read them.
        """
        records = self.records()
        first = max(len(records) - recent, 0)
        while 0 < first < len(records) and records[first].metadata[ROLE] != "user":
            first -= 1
        return records[:first], records[first:]

    def clear(self) -> None:
        """Deletes the session's messages."""
        self.memory.delete(where=self.where)


def visible(metadata: Metadata) -> Metadata:
    """An item's metadata without a transcript's bookkeeping, which no prompt should show."""
    return {name: value for name, value in metadata.items() if name not in (POSITION, MESSAGE)}
