"""A conversation kept in memory message by message: its newest turns can stay text while older ones are vectors."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comem_memory.memory import ContinuousMemory
from comem_memory.types import MemoryHit, MemoryItem

SESSION, POSITION, MESSAGE = "session_id", "position", "message"
"""Metadata of a message's item."""


@dataclass(frozen=True)
class Said:
    """One message.

    Args:
        role: who said it.
        text, image: what is encoded.
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
    """

    def __init__(self, memory: ContinuousMemory, session_id: str) -> None:
        self.memory, self.session_id = memory, session_id

    def append(self, messages: Sequence[Said]) -> None:
        """Stores messages; on return they are kept.

        Raises:
            InvalidItemError: a picture that cannot be opened.
        """
        stored = self.hits()
        first = int(stored[-1].metadata[POSITION]) + 1 if stored else 0
        items = [
            MemoryItem(
                id=uuid.uuid4().hex,
                text=f"{said.role.capitalize()}: {said.text or '...'}",
                image=said.image,
                metadata={SESSION: self.session_id, POSITION: position, MESSAGE: said.message},
            )
            for position, said in enumerate(messages, first)
        ]
        self.memory.add(items, truncate=True, progress=False)

    def hits(self) -> list[MemoryHit]:
        """The messages as stored items, the oldest first."""
        found = self.memory.scan(where={SESSION: self.session_id})
        return sorted(found, key=lambda hit: int(hit.metadata[POSITION]))

    def clear(self) -> None:
        """Deletes the session's messages."""
        self.memory.delete(where={SESSION: self.session_id})
