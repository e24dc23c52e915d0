"""A conversation kept in memory message by message: its newest turns can stay text while older ones are vectors."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from comem_memory.chat import item_of, parts_of, text_of
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Message
from comem_memory.store import Filter, MemoryRecord
from comem_memory.types import Metadata

SESSION, TRANSCRIPT, ROLE, MESSAGE = "session_id", "transcript", "role", "message"
"""Metadata of a message's item. An item with a session but no transcript, which names the session too, is no message.

Ids begin with microseconds since 1970, so that they are in order, and writers need not agree on a count.
"""

DOTS: Message = {"type": "text", "text": "..."}
"""Stands for the words of a message without any, so that it has an item too."""

BATCH = 16
"""Messages that are read at once while the user's turn is looked for."""


@dataclass(frozen=True)
class Said:
    """One message.

    Args:
        turn: What is encoded; its picture is left out where the memory keeps none.
        message: The framework's own message, written out, to be given back as it was.
    """

    turn: Message
    message: str


class Transcript:
    """The messages of one session.

    Args:
        memory: The user's memory: what is remembered goes into its namespace.
        session_id: One conversation of several.

    Raises:
        ValueError: An empty session_id.
    """

    def __init__(self, memory: ContinuousMemory, session_id: str) -> None:
        if session_id in ("", None):
            raise ValueError(f"session_id is {session_id!r}. Pass a name, so that conversations stay apart.")
        self.memory, self.session_id = memory, str(session_id)
        # One condition: Chroma looks through all that each of several matches.
        self.where: Filter = {TRANSCRIPT: self.session_id}

    def append(self, messages: Sequence[Said]) -> None:
        """Stores messages; on return they are kept.

        Raises:
            InvalidItemError: A picture that cannot be opened.
        """
        items = []
        session: Metadata = {SESSION: self.session_id, TRANSCRIPT: self.session_id}
        for time_us, said in enumerate(messages, time.time_ns() // 1000):
            metadata = session | {ROLE: said.turn["role"], MESSAGE: said.message}
            id = f"{time_us:016}-{uuid.uuid4().hex}"
            turn = said.turn if text_of(said.turn).strip() else said.turn | {"content": [*parts_of(said.turn), DOTS]}
            items.append(item_of([turn], keeps_pictures=self.memory.keeps_pictures, id=id, metadata=metadata))
        self.memory.add([item for item in items if item is not None], truncate=True, progress=False)

    def replace(self, messages: Sequence[Said]) -> None:
        """Stores messages instead of those that are there; these go only when the new ones are kept."""
        old = self.ids()
        self.append(messages)
        if old:
            self.memory.delete(ids=old)

    def ids(self) -> list[str]:
        """Those of the messages, the oldest first."""
        return self.memory.store.ids(namespace=self.memory.name, where=self.where)

    def read(self, ids: Sequence[str]) -> list[MemoryRecord]:
        """Messages as stored."""
        return self.memory.store.get(ids, namespace=self.memory.name)

    def split(self, recent: int) -> tuple[list[str], list[MemoryRecord]]:
        """Ids of older messages, and the newest `recent`, or a few more: they begin with what the user said.

        So a tool's result stays with its call, and models whose roles alternate can read them.
        """
        ids = self.ids()
        first = max(len(ids) - recent, 0)
        newest = self.read(ids[first:])
        while first and newest and newest[0].metadata[ROLE] != "user":
            before = max(first - BATCH, 0)
            earlier = self.read(ids[before:first])
            start = max((i for i, record in enumerate(earlier) if record.metadata[ROLE] == "user"), default=0)
            first, newest = before + start, [*earlier[start:], *newest]
        return ids[:first], newest

    def clear(self) -> None:
        """Deletes the session's messages."""
        self.memory.delete(where=self.where)


def visible(metadata: Metadata) -> Metadata:
    """An item's metadata without a transcript's bookkeeping, which no prompt should show."""
    return {name: value for name, value in metadata.items() if name not in (TRANSCRIPT, MESSAGE)}
