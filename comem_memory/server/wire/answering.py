"""A question and its answer, whole or in pieces, and what an item's vectors say."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from comem_memory.config import Mode
from comem_memory.server.wire.item_requests import OneRequest
from comem_memory.server.wire.items import Hit
from comem_memory.server.wire.values import Asked, Bytes, K, Where, Wire


class GenerationOptions(Asked):
    """How the model writes: of transformers' `generate`, what concerns this answer alone. Greedy, if left out."""

    do_sample: bool | None = None
    temperature: float | None = Field(None, ge=0.001, le=10)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**53)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)
    no_repeat_ngram_size: int | None = Field(None, ge=0, le=2**31)
    min_new_tokens: int | None = Field(None, ge=0, le=2**31)

    def options(self) -> dict[str, Any]:
        """Arguments of `generate`."""
        return self.model_dump(exclude_none=True)


class AnswerRequest(Asked):
    """A question, and how it is answered from memory."""

    question: str = Field(examples=["What opens the blue door?"])
    image: Bytes | None = None
    """A picture to ask about and to search with: its file, in base64."""
    k: K = 3
    where: Where | None = None
    mode: Mode | None = None
    """Whether the model is given the items' vectors, texts, both or none; by default as the server recommends."""
    max_new_tokens: int = Field(64, ge=1)
    """Longest answer, in tokens; a larger number means the server's own limit."""
    generation: GenerationOptions = GenerationOptions()
    vectors: bool = False
    """Send the items' vectors too."""


class Answer(Wire):
    """What the model said, and from what."""

    text: str
    hits: list[Hit]
    """The items it had, best first."""
    prompt_tokens: int
    """Tokens of the prompt, pictures and memory vectors included."""
    completion_tokens: int = 0
    """Tokens of the answer."""


class DescribeRequest(OneRequest):
    """An item whose vectors the model is to put into words."""

    max_new_tokens: int = Field(128, ge=1)


class Description(Wire):
    """An item's text, and what the frozen model says from its vectors alone."""

    text: str | None
    restated: str


class TextEvent(Wire):
    """`event: text` of a stream: the next piece of what the model writes."""

    text: str
