"""`ComemMemoryBlock`: what the user stated before a LlamaIndex `Memory`'s window is remembered as vectors."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.bridge.pydantic import Field
from llama_index.core.llms import LLM
from llama_index.core.memory.memory import BaseMemoryBlock

from comem_memory.config import Mode
from comem_memory.files import image_digest
from comem_memory.memory import ContinuousMemory
from comem_memory.redaction import redacted
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit, MemoryItem, whole, with_notes

from ..extraction import Facts, extracted
from ..failures import Job, OnError, deliver, tolerating
from ..keeping import BY, as_items, kept_of
from ..transcript import FORMER, SESSION
from .messages import remembered, to_messages

Remember = Callable[[ChatMessage], MemoryItem | Sequence[MemoryItem] | None]
"""From a message to what is stored of it: an item, several, or none."""
SESSION_ID = "session_id"
"""Under which LlamaIndex's `Memory` says its session."""


class ComemMemoryBlock(BaseMemoryBlock[list[ChatMessage]]):
    """Long-term memory of a `Memory`: recalls for the last user turn, stores what the user stated when the window lets
    it go.

    A `ComemLLM` with the same memory is given the recalled items in its mode, any other model as text; where there is
    nothing to recall, both are told so. The same statement given twice in a session is one item.

    Args:
        memory: The user's memory: what is remembered goes into its namespace.
        k: Items to recall.
        where: Filter on their metadata.
        mode: How a `ComemLLM` is given them: `memory` (vectors), `text`, `both` or `none`; by default as it is set.
        across_sessions: Recall from all sessions of the namespace; otherwise only from the session at hand.
        remember: From a message to what is stored of it: an item, several, or `None`. By default what the user said,
            without questions, requests and small talk; a correction takes the place of what it corrects (`keeping`).
        extract: A model that writes down the facts of the messages instead, one item each, as structured output, and
            says which stored ones they replace. Where it fails, `remember` decides.
        on_error: With `log`, an agent whose memory fails goes on without it: nothing is recalled, and what cannot be
            stored waits in this process for the next call, since a `Memory` gives each message once. `raise` raises.
    """

    name: str = "comem"
    memory: ContinuousMemory = Field(exclude=True, repr=False)
    k: int = Field(default=3, gt=0)
    where: Filter | None = None
    mode: Mode | None = None
    across_sessions: bool = False
    remember: Remember | None = Field(default=None, exclude=True, repr=False)
    extract: LLM | None = Field(default=None, exclude=True, repr=False)
    on_error: OnError = "log"

    async def _aget(self, messages: list[ChatMessage] | None = None, **block_kwargs: Any) -> list[ChatMessage]:
        hits = await asyncio.to_thread(self._recall, messages or [], whole(block_kwargs.get(SESSION_ID)))
        return [remembered(self.memory, hits, self.mode)]

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
        sessions: dict[str | None, list[ChatMessage]] = {}
        for message in messages:
            sessions.setdefault(whole(message.additional_kwargs.get(SESSION_ID)), []).append(message)
        jobs: dict[str, Job] = {
            uuid.uuid4().hex: partial(self._store, messages=said, session=session) for session, said in sessions.items()
        }
        deliver(self.memory, jobs, self.on_error)

    def _store(self, memory: ContinuousMemory, messages: Sequence[ChatMessage], session: str | None) -> None:
        """Stores what is remembered of a session's messages, each after what was said before it."""
        mine: Filter = {BY: self.name}
        within = None if self.across_sessions else session
        where: Filter = mine if within is None else {"$and": [mine, {SESSION: within}]}
        facts = None
        if self.extract is not None:
            ask = self.extract.as_structured_llm(Facts).complete
            turns = to_messages(messages, skip_unreadable=True)
            facts = extracted(memory, turns, lambda prompt: ask(prompt).raw, where=where)
        items = facts if facts is not None else (item for one in messages for item in self._kept(memory, one, where))
        notes = {BY: self.name} | ({} if session is None else {SESSION: session})
        for item in items:
            item = redacted(item, memory.redact)
            named = item if item.id else item.model_copy(update={"id": _id(item, within)})
            memory.add(with_notes(named, notes), truncate=True, progress=False)

    def _kept(self, memory: ContinuousMemory, message: ChatMessage, where: Filter) -> list[MemoryItem]:
        if self.remember is not None:
            return as_items(self.remember(message))
        if message.role != MessageRole.USER:
            return []
        [turn] = to_messages([message], skip_unreadable=True)
        return kept_of(turn, memory, where=where)


def _id(item: MemoryItem, session: str | None) -> str:
    """The same words in another session are another item."""
    said = hashlib.sha256(f"{session}\0{item.text}\0".encode("utf-8", "surrogatepass"))
    if item.image is not None:
        said.update(image_digest(item.image))
    return said.hexdigest()[:32]
