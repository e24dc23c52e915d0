"""A conversation with what was recalled for it: the one place where a mode becomes a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from comem_memory.chat.turns import parts_of, question_turn
from comem_memory.config import Mode, Order
from comem_memory.errors import QueryError
from comem_memory.model import Message, PromptItem, as_text, with_items
from comem_memory.types import MemoryHit


@dataclass(frozen=True)
class Recalled:
    """A conversation ready for `Chat`.

    Args:
        messages: The conversation, with the items' texts and pictures if the mode has them in the prompt.
        memory: (n, H) vectors that go before it, the reader prompt's among them, or None.
        hits: The items they come from, best first.
        mode: How they are given.
    """

    messages: list[Message]
    memory: torch.Tensor | None
    hits: list[MemoryHit]
    mode: Mode


def check_mode(mode: str) -> Mode:
    """
    Raises:
        QueryError: There is no such mode.
    """
    for known in get_args(Mode):
        if mode == known:
            return known
    raise QueryError(f"mode is {mode!r}. Use one of {', '.join(get_args(Mode))}.")


def memory_of(
    hits: Sequence[MemoryHit], reader_prompt: torch.Tensor | None = None, order: Order = "best_last"
) -> torch.Tensor | None:
    """What goes before a prompt: the reader prompt, which the authors do not have, then the items' vectors.

    Args:
        hits: The items, best first.
        reader_prompt: (m, H) vectors, or None.
        order: The order of the items.

    Returns:
        (n, H), float32, on the CPU; None where there is neither.
    """
    prompt = [] if reader_prompt is None or not len(reader_prompt) else [reader_prompt.detach().float().cpu()]
    vectors = [*prompt, *(hit.memory_embeddings for hit in _as_read(hits, order))]
    return torch.cat(vectors) if vectors else None


def lay_out(
    messages: Sequence[Message],
    hits: Sequence[MemoryHit],
    mode: Mode,
    *,
    text_prompts: Mapping[Mode, str],
    supports_images: bool,
    reader_prompt: torch.Tensor | None = None,
    order: Order = "best_last",
) -> Recalled:
    """Gives a conversation the items that were recalled for it.

    Vectors go before everything. Texts and pictures go into what the user said last, in the order of the vectors. Where
    any are given, the reader prompt stands before them; where none are, the model is the bare one.

    Args:
        messages: The conversation.
        hits: The items, best first.
        mode: `memory` gives vectors, `text` texts and pictures, `both` both, `none` neither.
        text_prompts: The layout of texts and question, by mode.
        supports_images: Whether the model is shown the items' pictures.
        reader_prompt: (m, H) vectors that stand once before whatever is given, or None.
        order: The order in which the model reads the items.
    """
    turns, mode = list(messages), check_mode(mode)
    if hits and mode in ("text", "both"):
        items = [PromptItem(hit.full_text, hit.image, hit.said_at) for hit in _as_read(hits, order)]
        at = question_turn(turns)
        if at is None:  # nobody has asked yet
            turns, at = [*turns, {"role": "user", "content": []}], len(turns)
        content = with_items(parts_of(turns[at]), items, text_prompts[mode], supports_images=supports_images)
        turns[at] = turns[at] | {"content": content}
    given = hits if mode in ("memory", "both") else []
    memory = memory_of(given, reader_prompt, order) if hits and mode != "none" else None
    return Recalled(turns, memory, list(hits), mode)


def told(hits: Sequence[MemoryHit], order: Order) -> str:
    """Items, best first, as a text for models that cannot read vectors, in the order that the vectors would have."""
    return as_text((PromptItem(hit.full_text, hit.image, hit.said_at) for hit in _as_read(hits, order)), order)


def _as_read(hits: Sequence[MemoryHit], order: Order) -> Sequence[MemoryHit]:
    """Hits, which come best first, as the model reads them."""
    return hits if order == "best_first" else hits[::-1]
