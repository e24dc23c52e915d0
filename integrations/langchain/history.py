"""`ComemChatMessageHistory`: a conversation whose newest messages stay text while older ones become vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_to_dict,
    messages_from_dict,
)

from comem_memory.chat import check_mode
from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit

from ..failures import OnError, check_on_error, tolerating
from ..transcript import MESSAGE, ROLE, Said, Transcript, as_json, noted
from .messages import memory_block, to_messages


class ComemChatMessageHistory(BaseChatMessageHistory):
    """The messages of one session, each an item of its own, kept as long as the memory is.

    `messages` returns the newest ones as they were, after one message with a memory block for those before, which a
    `ChatComem` with the same memory and namespace reads. An empty block keeps it from searching other sessions, so
    shorten with `recent` rather than with `trim_messages`, which would drop it. For other models say `older=0`, which
    leaves it out.

    Args:
        memory: The user's memory: what is remembered goes into its namespace.
        session_id: One conversation of several.
        recent: Messages that stay text, or a few more, so that they begin with what the user said.
        older: Messages before those that the model is given, as vectors 8 tokens each.
        mode: How it is given them: `memory` (vectors), `text`, `both` or `none`; with text they take as many tokens as
            ever.
        on_error: With `raise`, a memory that fails raises, and what `add_messages` took is kept for sure. With `log`
            the conversation goes on without what cannot be read, and what cannot be stored waits in this process for
            the next call.
    """

    def __init__(
        self,
        memory: ContinuousMemory,
        session_id: str,
        *,
        recent: int = 6,
        older: int = 20,
        mode: Mode = "memory",
        on_error: OnError = "raise",
    ) -> None:
        if recent < 0 or older < 0:
            raise ValueError(f"recent is {recent} and older is {older}. Both count messages: at least 0.")
        self.on_error = check_on_error(on_error)
        self.transcript, self.recent, self.older = Transcript(memory, session_id, self.on_error), recent, older
        self.mode: Mode = check_mode(mode)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # as LangChain's own histories do
        past: list[str] = []
        kept: list[MemoryHit] = []
        self.transcript.deliver_waiting()
        with tolerating(self.on_error, f"what was said in session {self.transcript.session_id!r}"):
            past, kept = self.transcript.split(self.recent)
        newest = [_read(hit) for hit in kept]
        if not self.older:
            return newest
        ids = past[-self.older :][::-1]
        return [HumanMessage([memory_block(ids, mode=self.mode if ids else None)]), *newest]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Stores messages. What the encoder cannot read is not in the vectors, what JSON cannot hold is kept as text.

        Raises:
            ComemError: They cannot be stored, and `on_error` is `raise`.
        """
        turns = to_messages(messages, skip_unreadable=True)
        said = [Said(turn, _written(message)) for turn, message in zip(turns, messages, strict=True)]
        self.transcript.append(said)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        await run_in_thread(lambda _: self.add_messages(messages))

    def clear(self) -> None:
        self.transcript.clear()


def _read(hit: MemoryHit) -> BaseMessage:
    if message := noted(hit, MESSAGE):
        return messages_from_dict([json.loads(message)])[0]
    kind = {"assistant": AIMessage, "system": SystemMessage}.get(noted(hit, ROLE), HumanMessage)
    return kind(hit.text or "")


def _written(message: BaseMessage) -> str:
    names = ("id", "name", "tool_call_id", "role")
    plain: dict[str, Any] = {name: getattr(message, name) for name in names if hasattr(message, name)}
    bare = {"type": message.type, "data": plain | {"type": message.type, "content": message.text}}
    return as_json(message_to_dict(message), bare)
