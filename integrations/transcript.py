"""A conversation kept in memory message by message: its newest turns can stay text while older ones are vectors."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from comem_memory.chat import item_of, parts_of, text_of
from comem_memory.content import repaired
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Message
from comem_memory.store import Filter
from comem_memory.types import CHAT_PREFIX, MESSAGE_NOTE, MemoryHit, MemoryItem, Metadata, with_notes

from .failures import OnError, deliver
from .keeping import stated

logger = logging.getLogger(__name__)

SESSION, TRANSCRIPT, ROLE = (CHAT_PREFIX + name for name in ("session_id", "transcript", "role"))
STATES = CHAT_PREFIX + "states"
"""Note on what the user said: whether it states something. What only asks is kept, but not recalled: nothing
resembles a question as much as the same question."""
MESSAGE = MESSAGE_NOTE
"""Notes on a message's item. An item with a session but no transcript, which names the session too, is no message."""

FORMER = {SESSION: "session_id", TRANSCRIPT: "transcript", ROLE: "role", MESSAGE: "message"}
"""Names under which version 0.1.0 noted the same in the item's own metadata. An item is such a message if it has all
four, its session is its transcript, and its id has our form: a user's item may have the names, but not all of that."""

ID = re.compile(r"\d{16}-[0-9a-f]{32}")
"""Ids begin with microseconds since 1970, so that they are in order, and writers need not agree on a count."""

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
        on_error: What happens where messages cannot be stored; see `deliver`.

    Raises:
        ValueError: An empty session_id.
    """

    def __init__(self, memory: ContinuousMemory, session_id: str, on_error: OnError = "raise") -> None:
        if session_id in ("", None):
            raise ValueError(f"session_id is {session_id!r}. Pass a name, so that conversations stay apart.")
        self.memory, self.session_id, self.on_error = memory, repaired(str(session_id)), on_error
        former: Filter = {FORMER[TRANSCRIPT]: self.session_id, FORMER[SESSION]: self.session_id}
        self.where: Filter = {"$or": [{TRANSCRIPT: self.session_id}, former]}
        """Finds the messages, and whatever else of a user's has the former names; `ids` knows which is which."""
        self.recallable: Filter = {"$and": [self.where, {STATES: {"$ne": False}}]}
        """Finds those of them that may be recalled."""

    def append(self, messages: Sequence[Said]) -> None:
        """Stores messages; on return they are kept, unless failures are logged.

        Raises:
            InvalidItemError: A picture that cannot be opened.
        """
        self._deliver(self._storing(messages))

    def replace(self, messages: Sequence[Said]) -> None:
        """Stores messages instead of those that are there; these go only when the new ones are kept."""
        store = self._storing(messages)

        def work(memory: ContinuousMemory) -> None:
            new = store(memory)
            self._delete([id for id in self.ids() if id not in new])

        self._deliver(work)

    def clear(self) -> None:
        """Deletes the session's messages."""
        self._deliver(lambda _: self._delete(self.ids()))

    def deliver_waiting(self) -> None:
        """Stores what earlier failures left, if that is possible now."""
        deliver(self.memory, {}, "log")

    def ids(self) -> list[str]:
        """Those of the messages, the oldest first."""
        found = self.memory.ids(where=self.where, history=True)
        return [id for id in found if ID.fullmatch(id)]

    def read(self, ids: Sequence[str]) -> list[MemoryHit]:
        """Messages as stored."""
        return self.memory.get(ids, skip_missing=True)

    def split(self, recent: int) -> tuple[list[str], list[MemoryHit]]:
        """Ids of older messages, and the newest `recent`, or a few more: they begin with what the user said.

        So a tool's result stays with its call, and models whose roles alternate can read them.
        """
        ids = self.ids()
        first = max(len(ids) - recent, 0)
        newest = self.read(ids[first:])
        while first and newest and noted(newest[0], ROLE) != "user":
            before = max(first - BATCH, 0)
            earlier = self.read(ids[before:first])
            start = max((i for i, hit in enumerate(earlier) if noted(hit, ROLE) == "user"), default=0)
            first, newest = before + start, [*earlier[start:], *newest]
        return ids[:first], newest

    def _storing(self, messages: Sequence[Said]) -> Callable[[ContinuousMemory], list[str]]:
        """Stores messages behind all that are there, and returns their ids, which are the same each time."""
        items, ids = self._items(messages), list[str]()

        def store(memory: ContinuousMemory) -> list[str]:
            if not ids:
                moments = itertools.count(memory.next_moment())
                ids.extend(f"{moment:016}-{uuid.uuid4().hex}" for moment, _ in zip(moments, items, strict=False))
            named = [item.model_copy(update={"id": id}) for id, item in zip(ids, items, strict=True)]
            return memory.add(named, truncate=True, progress=False)

        return store

    def _items(self, messages: Sequence[Said]) -> list[MemoryItem]:
        items = []
        for said in messages:
            turn = said.turn if text_of(said.turn).strip() else said.turn | {"content": [*parts_of(said.turn), DOTS]}
            item = item_of([turn], keeps_pictures=self.memory.keeps_pictures)
            session: Metadata = {SESSION: self.session_id, TRANSCRIPT: self.session_id}
            notes = session | {ROLE: repaired(said.turn["role"]), MESSAGE: said.message}
            if said.turn["role"] == "user" and item is not None and item.image is None:
                notes[STATES] = bool(stated(text_of(said.turn), self.memory))
            items += [] if item is None else [with_notes(item, notes)]
        return items

    def _delete(self, ids: Sequence[str]) -> None:
        if ids:
            self.memory.delete(ids=ids)

    def _deliver(self, work: Any) -> None:
        deliver(self.memory, {uuid.uuid4().hex: work}, self.on_error)


def noted(hit: MemoryHit, name: str) -> str:
    """A note on a message's item, also as version 0.1.0 wrote it; empty where there is none.

    An item whose text was updated has no `MESSAGE`: its text is all that is left of the message.
    """
    return str(hit.notes.get(name, hit.metadata.get(FORMER[name], "")))


def visible(hit: MemoryHit) -> Metadata:
    """A hit's metadata without what version 0.1.0 noted there about a message, which no prompt should show."""
    former = hit.metadata.keys() >= set(FORMER.values()) and ID.fullmatch(hit.id)
    hidden = FORMER.values() if former else ()
    return {name: value for name, value in hit.metadata.items() if name not in hidden}


def as_json(message: Any, bare: Any) -> str:
    """A framework's message as JSON.

    What JSON has no form for is written as its text, and halves of characters are repaired, with a warning.

    Args:
        message: The message as dictionaries and lists.
        bare: What is written where the message cannot be, as when it holds itself: its text and nothing odd.
    """
    odd: list[str] = []

    def as_text(value: Any) -> str:
        odd.append(type(value).__name__)
        return _of_bytes(value) if isinstance(value, bytes) else str(value)

    try:
        written = json.dumps(message, ensure_ascii=False, default=as_text, skipkeys=True)
    except Exception as error:
        logger.warning("Of a message only its text is kept: %s.", error)
        written = json.dumps(bare, ensure_ascii=False)
    if odd:
        logger.warning("A message holds values that JSON does not take (%s); they are kept as text.", ", ".join(odd))
    return repaired(written)


def _of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
