"""`ComemChatMessageHistory`: a conversation whose newest messages stay text while older ones become vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, HumanMessage, messages_from_dict, messages_to_dict

from comem_memory.chat import check_mode
from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.threads import run_in_thread

from ..transcript import MESSAGE, Said, Transcript
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
    """

    def __init__(
        self, memory: ContinuousMemory, session_id: str, *, recent: int = 6, older: int = 20, mode: Mode = "memory"
    ) -> None:
        if recent < 0 or older < 0:
            raise ValueError(f"recent is {recent} and older is {older}. Both count messages: at least 0.")
        self.transcript, self.recent, self.older = Transcript(memory, session_id), recent, older
        self.mode: Mode = check_mode(mode)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # as LangChain's own histories do
        past, kept = self.transcript.split(self.recent)
        newest = messages_from_dict([json.loads(str(record.metadata[MESSAGE])) for record in kept])
        if not self.older:
            return newest
        ids = past[-self.older :][::-1]
        return [HumanMessage([memory_block(ids, mode=self.mode if ids else None)]), *newest]

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Stores messages; on return they are kept. What the encoder cannot read is not in the vectors."""
        said = []
        turns = to_messages(messages, skip_unreadable=True)
        for turn, written in zip(turns, messages_to_dict(messages), strict=True):
            said.append(Said(turn, json.dumps(written)))
        self.transcript.append(said)

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        await run_in_thread(lambda _: self.add_messages(messages))

    def clear(self) -> None:
        self.transcript.clear()
