"""`ComemMemoryBlock`: what falls out of a LlamaIndex `Memory`'s window is remembered as vectors."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import Field
from llama_index.core.memory.memory import BaseMemoryBlock

from comem_memory.chat import item_of
from comem_memory.config import Mode
from comem_memory.files import image_digest
from comem_memory.memory import ContinuousMemory
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit, MemoryItem, with_notes

from ..failures import OnError, deliver, tolerating
from ..transcript import FORMER, SESSION
from .messages import remembered, to_messages

SESSION_ID = "session_id"
"""Under which LlamaIndex's `Memory` says its session."""


class ComemMemoryBlock(BaseMemoryBlock[list[ChatMessage]]):
    """Long-term memory of a `Memory`: recalls for the last user turn, stores each message that the window lets go.

    A `ComemLLM` with the same memory is given the recalled items in its mode, any other model as text; where there is
    nothing to recall, both are told so. The same message given twice in a session is one item.

    Args:
        memory: The user's memory: what is remembered goes into its namespace.
        k: Items to recall.
        where: Filter on their metadata.
        mode: How a `ComemLLM` is given them: `memory` (vectors), `text`, `both` or `none`; by default as it is set.
        across_sessions: Recall from all sessions of the namespace; otherwise only from the session at hand.
        on_error: With `log`, an agent whose memory fails goes on without it: nothing is recalled, and what cannot be
            stored waits in this process for the next call, since a `Memory` gives each message once. `raise` raises.
    """

    name: str = "comem"
    memory: ContinuousMemory = Field(exclude=True, repr=False)
    k: int = Field(default=3, gt=0)
    where: Filter | None = None
    mode: Mode | None = None
    across_sessions: bool = False
    on_error: OnError = "log"

    async def _aget(self, messages: list[ChatMessage] | None = None, **block_kwargs: Any) -> list[ChatMessage]:
        hits = await asyncio.to_thread(self._recall, messages or [], block_kwargs.get(SESSION_ID))
        return [remembered(hits, self.mode)]

    def _recall(self, messages: list[ChatMessage], session: str | None) -> list[MemoryHit]:
        users = [message for message in messages if message.role == MessageRole.USER]
        conditions = [self.where] if self.where else []
        if not self.across_sessions and session is not None:
            conditions.append({"$or": [{SESSION: session}, {FORMER[SESSION]: session}]})
        turns = to_messages(users[-1:], skip_unreadable=True)
        deliver(self.memory, {}, "log")
        with tolerating(self.on_error, "what the memory holds"):
            return self.memory.search_turn(turns, k=self.k, where={"$and": conditions} if conditions else None)
        return []

    async def _aput(self, messages: list[ChatMessage]) -> None:
        await run_in_thread(lambda _: self._put(messages))

    def _put(self, messages: list[ChatMessage]) -> None:
        items = {}
        for message, turn in zip(messages, to_messages(messages, skip_unreadable=True), strict=True):
            item = item_of([turn], keeps_pictures=self.memory.keeps_pictures)
            if item is not None:
                session = message.additional_kwargs.get(SESSION_ID)
                id = _id(item, session)
                named = item.model_copy(update={"id": id})
                items[id] = named if session is None else with_notes(named, {SESSION: session})
        job = {"/".join(items): lambda memory: memory.add(items.values(), truncate=True, progress=False)}
        deliver(self.memory, job if items else {}, self.on_error)


def _id(item: MemoryItem, session: str | None) -> str:
    """The same words in another session are another item."""
    said = hashlib.sha256(f"{session}\0{item.text}\0".encode("utf-8", "surrogatepass"))
    if item.image is not None:
        said.update(image_digest(item.image))
    return said.hexdigest()[:32]
