"""`ComemMemory`: a chat memory for agents and chat engines whose older messages are vectors."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import ConfigDict, Field
from llama_index.core.memory.types import BaseMemory

from comem_memory.chat import content_of
from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit

from ..copying import SharesMemory
from ..failures import OnError, tolerating
from ..transcript import MESSAGE, ROLE, Said, Transcript, as_json, noted
from .messages import remembered, to_messages


class ComemMemory(SharesMemory, BaseMemory):
    """The messages of one session, each an item of its own, kept as long as the memory is.

    `get` returns the newest ones as they were, after one message that names the older ones most similar to the input
    (to the last message, without an input), or none; of what the user said, those that state something. A `ComemLLM`
    with the same memory is given those in its mode, other models as text.

    Args:
        memory: The user's memory: what is remembered goes into its namespace.
        session_id: One conversation of several; by default a new one, as LlamaIndex's own memories have.
        recent: Messages that stay text, or a few more, so that they begin with what the user said.
        k: Older messages to recall.
        mode: How a `ComemLLM` is given them: `memory` (vectors), `text`, `both` or `none`; by default as it is set.
        on_error: With `raise`, a memory that fails raises, and what `put` took is kept for sure. With `log` the
            conversation goes on without what cannot be read, and what cannot be stored waits in this process for the
            next call.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    memory: ContinuousMemory = Field(exclude=True, repr=False)
    session_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    recent: int = Field(default=6, gt=0)
    k: int = Field(default=3, ge=0)
    mode: Mode | None = None
    on_error: OnError = "raise"

    @classmethod
    def class_name(cls) -> str:
        return "ComemMemory"

    @classmethod
    def from_defaults(cls, **kwargs: Any) -> ComemMemory:
        return cls(**kwargs)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """
        Raises:
            ValueError: Always, so that a workflow's context is kept without it, as it is without LlamaIndex's `Memory`.
        """
        raise ValueError("ComemMemory holds an open memory. Pass memory= again beside the restored Context.")

    @property
    def _transcript(self) -> Transcript:
        return Transcript(self.memory, self.session_id, self.on_error)

    def get(self, input: str | None = None, **kwargs: Any) -> list[ChatMessage]:
        transcript = self._transcript
        newest: list[ChatMessage] = []
        hits: list[MemoryHit] = []
        transcript.deliver_waiting()
        with tolerating(self.on_error, f"what was said in session {self.session_id!r}"):
            past, kept = transcript.split(self.recent)
            newest = [_message(hit) for hit in kept]
            query = input or "".join(content_of(turn)[0] for turn in to_messages(newest[-1:], skip_unreadable=True))
            if past and self.k and query:
                older = set(past)
                found = self.memory.search(query, k=self.k + len(kept), where=transcript.recallable)
                hits = [hit for hit in found if hit.id in older][: self.k]
        return [remembered(self.memory, hits, self.mode), *newest]

    def get_all(self) -> list[ChatMessage]:
        transcript = self._transcript
        transcript.deliver_waiting()
        with tolerating(self.on_error, f"what was said in session {self.session_id!r}"):
            return [_message(hit) for hit in transcript.read(transcript.ids())]
        return []

    def put(self, message: ChatMessage) -> None:
        self.put_messages([message])

    def put_messages(self, messages: list[ChatMessage]) -> None:
        self._transcript.append(_written(messages))

    def set(self, messages: list[ChatMessage]) -> None:
        self._transcript.replace(_written(messages))

    async def aput(self, message: ChatMessage) -> None:
        await self.aput_messages([message])

    async def aput_messages(self, messages: list[ChatMessage]) -> None:
        await run_in_thread(lambda _: self.put_messages(messages))

    async def aset(self, messages: list[ChatMessage]) -> None:
        await run_in_thread(lambda _: self.set(messages))

    def reset(self) -> None:
        self._transcript.clear()


def _written(messages: Sequence[ChatMessage]) -> list[Said]:
    turns = to_messages(messages, skip_unreadable=True)
    return [Said(turn, _as_json(message)) for turn, message in zip(turns, messages, strict=True)]


def _as_json(message: ChatMessage) -> str:
    bare = ChatMessage(message.content or "", role=message.role).model_dump(mode="json")
    try:
        return as_json(message.model_dump(mode="json"), bare)
    except ValueError:  # pydantic knows no JSON for something in it
        return as_json(message.model_dump(), bare)


def _message(hit: MemoryHit) -> ChatMessage:
    if message := noted(hit, MESSAGE):
        return ChatMessage.model_validate_json(message)
    return ChatMessage(hit.text or "", role=noted(hit, ROLE))
