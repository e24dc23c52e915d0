"""Facts that a language model writes down of a turn, each short and complete, and which stored ones they replace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from comem_memory.chat import text_of
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Message
from comem_memory.retrieval import ALL
from comem_memory.store import Filter
from comem_memory.types import MemoryItem

logger = logging.getLogger(__name__)

MOST_FACTS, LONGEST = 8, 500
"""Facts of a turn, and characters of one; more is invented rather than said."""
KNOWN = 8
"""Stored facts that the model is shown."""

INSTRUCTION = """\
You keep the memory of an assistant. From the last turn of a conversation, write down what is worth knowing in later \
conversations: what the user states about themselves, others, things, plans and preferences.
- One short sentence for each fact, which can be understood alone: names instead of pronouns, in the user's language. \
Call the user "the user" in that language.
- Nothing from questions, requests, greetings or thanks, and nothing that the assistant only guesses or repeats.
- Nothing that is known already. Where a new fact corrects or replaces a known one, give its id in supersedes.
- said_at and expires only where the user says when it happened or until when it holds, with a timezone.
- No facts is a good answer: most turns have none."""


class Fact(BaseModel):
    """One fact.

    Args:
        text: A short sentence that can be understood alone.
        said_at: When it happened, with a timezone, if the user says so.
        expires: Until when it holds, with a timezone, if the user says so.
        supersedes: Ids of the known facts that it corrects or replaces.
    """

    text: str
    said_at: datetime | None = None
    expires: datetime | None = None
    supersedes: list[str] = Field(default_factory=list)


class Facts(BaseModel):
    """The facts that a turn states; none in most.

    Args:
        facts: Each on its own.
    """

    facts: list[Fact] = Field(default_factory=list)


def extracted(
    memory: ContinuousMemory,
    turn: Sequence[Message],
    ask: Callable[[str], Any],
    *,
    where: Filter | None = None,
) -> list[MemoryItem] | None:
    """The facts of a turn as items, of which each may take the place of stored ones; `None` if the model fails.

    Args:
        memory: Where they will be stored.
        turn: What the user said, and what was answered.
        ask: Has a model read a prompt and fill in `Facts`.
        where: A filter on the metadata of the stored items that it is shown, and may replace.
    """
    said = "\n".join(f"{one['role']}: {text}" for one in turn if (text := text_of(one).strip()))
    if not said:
        return None
    known = {}
    if memory.info.text_embedder is not None:
        hits = memory.search(said, k=KNOWN, where=where, min_similarity=ALL)
        known = {f"{number}": hit for number, hit in enumerate(hits, 1)}  # short ids are copied without mistakes
    shown = "\n".join(f"{id}: {hit.text}" for id, hit in known.items() if hit.text) or "none"
    try:
        answer = ask(f"{INSTRUCTION}\n\nKnown facts, by id:\n{shown}\n\nThe last turn:\n{said}")
        facts = Facts.model_validate(answer.model_dump() if isinstance(answer, BaseModel) else answer).facts
    except Exception:
        logger.warning("The model could not say which facts a turn states; it is kept by rule.", exc_info=True)
        return None
    items = {fact.text.strip(): fact for fact in facts if 0 < len(fact.text.strip()) <= LONGEST}
    return [
        _item(text, fact, [known[id].id for id in fact.supersedes if id in known])
        for text, fact in list(items.items())[:MOST_FACTS]
    ]


def _item(text: str, fact: Fact, replaced: Sequence[str]) -> MemoryItem:
    moments: dict[str, Any] = {
        name: moment
        for name, moment in (("said_at", fact.said_at), ("expires", fact.expires))
        if moment is not None and moment.tzinfo is not None
    }
    return MemoryItem(text=text, supersedes=replaced or None, **moments)
