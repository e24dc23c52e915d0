"""What a memory says of itself, of an item, and in answer to a question."""

from __future__ import annotations

from dataclasses import dataclass

from comem_memory.chat import Reply
from comem_memory.types import MemoryHit


@dataclass(frozen=True)
class Answer:
    """What the model said, and from what.

    Args:
        text: The answer.
        hits: The items it had, best first.
        prompt_tokens: Tokens of the prompt, pictures and memory vectors included.
        completion_tokens: Tokens of the answer.
    """

    text: str
    hits: list[MemoryHit]
    prompt_tokens: int
    completion_tokens: int = 0

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Replied:
    """A conversation's next turn, and from what.

    Args:
        reply: What the model said.
        hits: The items it had, best first.
    """

    reply: Reply
    hits: list[MemoryHit]


@dataclass(frozen=True)
class Description:
    """What an item says, and what its vectors say.

    Args:
        text: The item's text; `None` where it has none.
        restated: What the frozen model says from the vectors alone.
    """

    text: str | None
    restated: str


@dataclass(frozen=True)
class MemoryInfo:
    """What a memory answers and searches with.

    Args:
        model: Name of the frozen model that answers.
        context_window: The most tokens that it reads and writes together.
        reads_pictures: Whether it is shown pictures.
        text_embedder: Name of what embeds texts to search with; `None` where items are found by picture only.
        image_embedder: Name of what embeds pictures; `None` where items are found by text only.
    """

    model: str
    context_window: int
    reads_pictures: bool
    text_embedder: str | None
    image_embedder: str | None
