"""`ComemChatMessageHistory`: a conversation whose newest turns stay text while older ones become vectors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, HumanMessage, messages_from_dict, messages_to_dict

from comem_memory.memory import ContinuousMemory
from comem_memory.types import MemoryHit, MemoryItem

from .messages import memory_block, query_of, to_messages

SESSION, POSITION, MESSAGE = "session_id", "position", "message"


class ComemChatMessageHistory(BaseChatMessageHistory):
    """The messages of one session, each an item of its own, kept as long as the memory is.

    `messages` returns the newest ones as they were, after one message with a memory block for all that are older. A
    `ChatComem` with the same memory and namespace reads that block; other models see nothing of it.

    Args:
        memory: where; its namespace is the user's.
        session_id: one conversation of several.
        recent: messages that stay text.
    """

    def __init__(self, memory: ContinuousMemory, session_id: str, *, recent: int = 6) -> None:
        if recent < 0:
            raise ValueError(f"recent is {recent}. Keep at least 0 messages as text.")
        self.memory, self.session_id, self.recent = memory, session_id, recent

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # as LangChain's own histories do
        stored = self._stored()
        first = max(len(stored) - self.recent, 0)
        newest = messages_from_dict([json.loads(str(hit.metadata[MESSAGE])) for hit in stored[first:]])
        if not first:
            return newest
        return [HumanMessage([memory_block([hit.id for hit in reversed(stored[:first])])]), *newest]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Stores messages; on return they are kept.

        Raises:
            InvalidItemError: a picture that cannot be opened.
        """
        stored = self._stored()
        position = int(stored[-1].metadata[POSITION]) + 1 if stored else 0
        items = []
        for at, (message, written) in enumerate(zip(messages, messages_to_dict(messages), strict=True), position):
            [turn] = to_messages([message]) or [{"role": message.type, "content": []}]
            text, picture = query_of([turn | {"role": "user"}])
            items.append(
                MemoryItem(
                    id=uuid.uuid4().hex,
                    text=f"{turn['role'].capitalize()}: {text or '...'}",
                    image=picture,
                    metadata={SESSION: self.session_id, POSITION: at, MESSAGE: json.dumps(written)},
                )
            )
        self.memory.add(items, truncate=True, progress=False)

    def clear(self) -> None:
        self.memory.delete(where={SESSION: self.session_id})

    def _stored(self) -> list[MemoryHit]:
        found = self.memory.scan(where={SESSION: self.session_id})
        return sorted(found, key=lambda hit: int(hit.metadata[POSITION]))
