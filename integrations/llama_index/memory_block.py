"""`ComemMemoryBlock`: what falls out of a LlamaIndex `Memory`'s window is remembered as vectors."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import Field
from llama_index.core.memory.memory import BaseMemoryBlock

from comem_memory.chat import item_of
from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread

from ..transcript import SESSION
from .messages import remembered, to_messages


class ComemMemoryBlock(BaseMemoryBlock[list[ChatMessage]]):
    """Long-term memory of a `Memory`: recalls for the last user turn, stores each message that the window lets go.

    A `ComemLLM` with the same memory is given the recalled items in its mode, any other model as text; where there is
    nothing to recall, both are told so.

    Args:
        memory: The user's memory: what is remembered goes into its namespace.
        k: Items to recall.
        where: Filter on their metadata.
        mode: How a `ComemLLM` is given them: `memory` (vectors), `text`, `both` or `none`; by default as it is set.
        across_sessions: Recall from all sessions of the namespace; otherwise only from the session at hand.
    """

    name: str = "comem"
    memory: ContinuousMemory = Field(exclude=True, repr=False)
    k: int = Field(default=3, gt=0)
    where: Filter | None = None
    mode: Mode | None = None
    across_sessions: bool = False

    async def _aget(self, messages: list[ChatMessage] | None = None, **block_kwargs: Any) -> list[ChatMessage]:
        users = [message for message in messages or [] if message.role == MessageRole.USER]
        where = dict(self.where or {})
        if not self.across_sessions and block_kwargs.get(SESSION) is not None:
            where[SESSION] = block_kwargs[SESSION]
        turns = to_messages(users[-1:], skip_unreadable=True)
        hits = await asyncio.to_thread(self.memory.search_turn, turns, k=self.k, where=where or None)
        return [remembered(hits, self.mode)]

    async def _aput(self, messages: list[ChatMessage]) -> None:
        await run_in_thread(lambda _: self._put(messages))

    def _put(self, messages: list[ChatMessage]) -> None:
        items = []
        for message, turn in zip(messages, to_messages(messages, skip_unreadable=True), strict=True):
            session = message.additional_kwargs.get(SESSION)
            about = {} if session is None else {SESSION: session}
            id = uuid.uuid4().hex  # the same words in another session are another item
            items.append(item_of([turn], keeps_pictures=self.memory.keeps_pictures, id=id, metadata=about))
        self.memory.add([item for item in items if item is not None], truncate=True, progress=False)
