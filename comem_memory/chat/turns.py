"""Turns of a conversation: what they say, which stored items they name, and a turn as an item to store.

A turn is a `Message` of transformers; beside `role` and `content` it may have `named`, a `NamedItems`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from comem_memory.config import Mode
from comem_memory.model import Message
from comem_memory.types import MemoryItem

THOUGHT, ACTION, OBSERVATION = "Thought:", "Action:", "Observation:"
"""A ReAct agent thinks, then calls a tool, and what the tool says stands in the user's name."""

LABEL = re.compile(r"^[ \t]*(?:user |input )?(?:question|query)[ \t]*:", re.IGNORECASE | re.MULTILINE)
NEXT_LABEL = re.compile(r"\n[ \t]*(?:\w+ )?(?:answer|context)[ \t]*:", re.IGNORECASE)
"""How prompts of retrieval chains label the question, and what follows it."""


@dataclass(frozen=True)
class NamedItems:
    """Stored items that a message names, for the model to be given.

    Args:
        ids: The items, best first; none means that nothing was found.
        text: What the message says where the items are not stored, as in another memory.
        mode: How the items are given; `None` leaves it to the model.
    """

    ids: tuple[str, ...]
    text: str | None = None
    mode: Mode | None = None


def parts_of(message: Message) -> list[Message]:
    """A message's content as parts."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(message: Message) -> str:
    """A message's text, without pictures."""
    return "".join(part["text"] for part in parts_of(message) if part["type"] == "text")


def content_of(message: Message) -> tuple[str, Any]:
    """A message's text and last picture."""
    pictures = [part["image"] for part in parts_of(message) if part["type"] == "image"]
    return text_of(message).strip(), pictures[-1] if pictures else None


def asked_in(text: str) -> str:
    """The question of a prompt that retrieval chains write, or else all of the text.

    Those of LangChain, its hub and LlamaIndex have it after the last line that begins with `Question:` or `Query:`, up
    to `Answer:` or `Context:`. The rest are documents and instructions: searched with, they would find themselves.
    """
    ends = [label.end() for label in LABEL.finditer(text)]
    return (NEXT_LABEL.split(text[ends[-1] :])[0].strip() if ends else "") or text


def question_turn(messages: Sequence[Message]) -> int | None:
    """The position of what the user said last; what a ReAct agent's tools said in the user's name is passed over."""
    users = [n for n, message in enumerate(messages) if message["role"] == "user"]
    said = [n for n in users if not _is_observation(messages, n)] or users
    return said[-1] if said else None


def item_of(turns: Iterable[Message], *, keeps_pictures: bool, **fields: Any) -> MemoryItem | None:
    """Turns as one item: a line each, `Role: text`, and the last picture; `None` where they hold neither.

    Args:
        turns: Those without text give no line.
        keeps_pictures: Whether the memory can store pictures; they are left out else.
        **fields: More fields of the item: id, metadata.
    """
    lines, picture = [], None
    for turn in turns:
        text, shown = content_of(turn)
        lines += [f"{turn['role'].capitalize()}: {text}"] if text else []
        picture = shown if keeps_pictures and shown is not None else picture
    return MemoryItem(text="\n".join(lines) or None, image=picture, **fields) if lines or picture is not None else None


def spoken(messages: Sequence[Message], *, given: Container[str] | None = None) -> list[Message]:
    """The messages as the model is shown them: what only names items is left out.

    Args:
        messages: A conversation, in which messages may name items.
        given: Ids of the items that are given to the model. A message that names none of them says its text instead;
            by default no message does.
    """
    turns = []
    for message in messages:
        turn = {key: value for key, value in message.items() if key != "named"}
        named: NamedItems | None = message.get("named")
        if named is not None and named.text and named.ids and given is not None and _none_in(named.ids, given):
            turn["content"] = [*parts_of(turn), {"type": "text", "text": named.text}]
        if turn["content"] or turn["role"] in ("assistant", "tool"):
            turns.append(turn)
    return turns


def _is_observation(messages: Sequence[Message], n: int) -> bool:
    """Whether a user's turn is what a tool said: it begins so, after a call of the assistant."""
    before = messages[n - 1] if n else {"role": "user", "content": ""}
    said = text_of(before).lstrip()
    called = before["role"] == "assistant" and (said.startswith(THOUGHT) or ACTION in said)
    return called and text_of(messages[n]).lstrip().startswith(OBSERVATION)


def _none_in(ids: Sequence[str], given: Container[str]) -> bool:
    return not any(id in given for id in ids)
