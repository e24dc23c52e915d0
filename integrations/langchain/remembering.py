"""The turns of a conversation, and what is remembered of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from comem_memory.chat import item_of
from comem_memory.memory import ContinuousMemory
from comem_memory.redaction import Redact, redacted_value
from comem_memory.store import Filter
from comem_memory.types import CHAT_PREFIX, MemoryItem, with_notes

from ..keeping import BY
from .messages import to_messages

Remember = Callable[[Sequence[AnyMessage]], MemoryItem | Sequence[MemoryItem] | None]
"""From the messages, up to the end of a turn, to what is stored of it: an item, several, or none."""

MESSAGE_ID, TURN = CHAT_PREFIX + "message_id", CHAT_PREFIX + "turn"
"""Notes on a turn's items: which message of the user's it begins with (`Turn.key`), and what was said (`Turn.digest`);
beside them stands `BY`: each of two middlewares has items of its own.

Several turns of the same words are one item, which then notes no message: none of them may take it away.
"""


@dataclass(frozen=True)
class Turn:
    """What the user said once, and what followed.

    Args:
        messages: The conversation up to the end of the turn.
        said: What the user said.
        thread: The conversation's id, if it has one: ids of messages may be unique within it only.
        by: The name of the middleware that remembers it.
        redact: The memory's, through which what was said goes before it is hashed.
    """

    messages: Sequence[AnyMessage]
    said: HumanMessage
    thread: str
    by: str
    redact: Redact | None = None

    @cached_property
    def words(self) -> str:
        """Of what the user said."""
        return _digest(json.dumps(redacted_value(self.said.content, self.redact), default=str))

    @cached_property
    def digest(self) -> str:
        """Of what the user said and what was answered."""
        return _digest(self.words, redacted_value(answer_of(self.messages, self.said).strip(), self.redact))

    @cached_property
    def unanswered(self) -> str:
        """What `digest` was before the answer."""
        return _digest(self.words, "")

    @cached_property
    def key(self) -> str:
        """Of the user's message, whatever it says; of one without a thread or an id, with its words.

        Another conversation of the same user may have a message with this id.
        """
        if self.thread and self.said.id is not None:
            return _digest(self.thread, str(self.said.id))
        return _digest(str(self.said.id), self.words)


def turns_of(messages: Sequence[AnyMessage], *, thread: str, by: str, redact: Redact | None = None) -> list[Turn]:
    """A conversation's turns, each begun by a message of the user's; the rest as in `Turn`."""
    starts = [at for at, message in enumerate(messages) if is_said(message)]
    ends = [*starts, len(messages)][1:]
    return [Turn(messages[:end], messages[at], thread, by, redact) for at, end in zip(starts, ends, strict=True)]  # type: ignore[arg-type]


def last_turn(messages: Sequence[AnyMessage]) -> MemoryItem | None:
    """What the user said last and what the agent answered, as one item; with the user's picture, if there is one."""
    said = said_last(messages)
    if said is None:
        return None
    answer = answer_of(messages, said)
    answered = [{"role": "assistant", "content": answer}] if answer else []
    return item_of([*to_messages([said], skip_unreadable=True), *answered], keeps_pictures=True)


def said_last(messages: Sequence[AnyMessage]) -> HumanMessage | None:
    """What the user said last."""
    return next((message for message in reversed(messages) if is_said(message)), None)  # type: ignore[return-value]


def is_said(message: AnyMessage) -> bool:
    """Whether the user said it; the summary that LangChain's middleware writes is not the user's."""
    return isinstance(message, HumanMessage) and message.additional_kwargs.get("lc_source") != "summarization"


def answer_of(messages: Sequence[AnyMessage], said: HumanMessage) -> str:
    """The last text that the agent answered after the user had said something."""
    after = messages[next(at for at, message in enumerate(messages) if message is said) + 1 :]
    answers = [str(message.text) for message in after if isinstance(message, AIMessage) and message.text]
    return answers[-1] if answers else ""


def store_turn(memory: ContinuousMemory, turn: Turn, items: Sequence[MemoryItem]) -> None:
    """Stores what is remembered of a turn, in place of what was remembered when its message said something else.

    Args:
        memory: Where to store.
        turn: The turn.
        items: What is remembered. One with an id of its own takes the place of the item with that id alone.
    """
    named = [item for item in items if item.id is not None]
    if named:
        memory.add(named, truncate=True)
    items = [item for item in items if item.id is None]
    if named and not items:
        return
    # One question: Chroma looks through all of a namespace for each.
    digests = [turn.digest, turn.unanswered]
    noted = _notes(memory, where={BY: turn.by, "$or": [{MESSAGE_ID: turn.key}, {TURN: {"$in": digests}}]})
    outdated = {id for id, notes in noted.items() if notes[MESSAGE_ID] == turn.key}
    if items:
        same = {id for id, notes in noted.items() if notes[TURN] == turn.digest}
        stored_as = memory.same_content(items)
        known = memory.get([id for ids in stored_as for id in ids], skip_missing=True)
        elsewhere = {hit.id for hit in known if hit.notes.get(MESSAGE_ID, turn.key) != turn.key}
        notes = {TURN: turn.digest, BY: turn.by}
        keys = ["" if same - outdated or elsewhere & set(ids) else turn.key for ids in stored_as]
        noting = zip(items, keys, strict=True)
        stored = memory.add([with_notes(item, notes | {MESSAGE_ID: key}) for item, key in noting], truncate=True)
        attempts = {id for id, notes in noted.items() if notes[TURN] == turn.unanswered}  # that failed
        outdated = (outdated | attempts) - set(stored)
    if outdated:
        memory.delete(ids=sorted(outdated))


def known_turns(memory: ContinuousMemory, digests: Sequence[str], by: str) -> set[str]:
    """Digests of turns that a middleware has stored, of these."""
    noted = _notes(memory, where={BY: by, TURN: {"$in": list(digests)}}) if digests else {}
    return {notes[TURN] for notes in noted.values()}


def _notes(memory: ContinuousMemory, *, where: Filter) -> dict[str, dict[str, str]]:
    """Notes on the items that match, superseded ones too, by their ids."""
    hits = memory.get(memory.ids(where=where, history=True), skip_missing=True)
    return {hit.id: {name: str(hit.notes.get(name, "")) for name in (MESSAGE_ID, TURN)} for hit in hits}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
