"""Recalled items as text in a prompt: plain retrieval-augmented prompting, what memory is compared with."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from PIL import Image

from comem_memory.config import Mode, Order
from comem_memory.errors import InvalidItemError, QueryError, shortened
from comem_memory.files import load_image

logger = logging.getLogger(__name__)

CONTEXT, QUESTION = "{context}", "{question}"

TEXT_PROMPTS: Mapping[str, str] = {
    "plain": "{context}\n\n{question}",
    "context and question": "Context:\n{context}\n\nQuestion: {question}",
    "answer from the context": (
        "Context:\n{context}\n\nAnswer the question using the context above.\n\nQuestion: {question}\nAnswer:"
    ),
    "llama_index": (
        "Context information is below.\n---------------------\n{context}\n---------------------\n"
        "Given the context information and not prior knowledge, answer the query.\nQuery: {question}\nAnswer: "
    ),
    "langchain": (
        "Use the following pieces of context to answer the question at the end. If you don't know the answer, just "
        "say that you don't know, don't try to make up an answer.\n\n{context}\n\nQuestion: {question}\nHelpful Answer:"
    ),
    "what you remember": "What you remember:\n{context}\n\n{question}",
}
"""Standard layouts of a user's turn; `llama_index` and `langchain` are these frameworks' own question-answering
prompts."""

DEFAULT_TEXT_PROMPTS: Mapping[Mode, str] = {
    "text": TEXT_PROMPTS["answer from the context"],
    "both": TEXT_PROMPTS["plain"],
}
"""The layout that the embedded model answered best from, by mode, on made-up development items
(`benchmarks/text_prompts.py`). With text it had 81 of 160 questions right, the plain layout 67; with both, these two
lie within chance (151 and 151 of 200, and of items with pictures 52 and 51 of 80), so the plain one stands there, which
is shorter and what the encoder's vectors were trained in front of."""


MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
"""In English whatever the host's locale, as the prompts around them."""


class PromptItem(NamedTuple):
    """An item in a prompt."""

    text: str | None
    image: Any = None
    """As `load_image` takes it."""
    said_at: str | None = None
    """When the text was said, ISO 8601; the model is told the day in that timezone."""

    def read(self) -> str:
        """The text as a model reads it."""
        if self.said_at is None or not self.text:
            return self.text or ""
        day = datetime.fromisoformat(self.said_at)
        return f"on {day.day} {MONTHS[day.month - 1]} {day.year}: {self.text}"


def check_text_prompt(template: str) -> str:
    """
    Raises:
        QueryError: The template does not hold `{context}` and `{question}` once each.
    """
    if template.count(CONTEXT) != 1 or template.count(QUESTION) != 1:
        raise QueryError(
            f"text_prompt is {shortened(template)!r}. It needs {CONTEXT} and {QUESTION}, once each, as in "
            f"{TEXT_PROMPTS['plain']!r}."
        )
    return template


def retrieval_content(
    question: str,
    items: Sequence[PromptItem] = (),
    picture: Image.Image | None = None,
    *,
    supports_images: bool = False,
    template: str = DEFAULT_TEXT_PROMPTS["text"],
) -> list[dict[str, Any]]:
    """A user's turn for plain retrieval-augmented prompting; without items the question and its picture alone.

    Args:
        question: The user's own words.
        items: What was found, in the order in which it is read.
        picture: The picture that goes with the question.
        supports_images: Whether the model takes pictures; they are left out else.
        template: Where items and question stand; see `TEXT_PROMPTS`.

    Returns:
        The parts of a message's content.
    """
    asked = [] if picture is None or not supports_images else [{"type": "image", "image": picture}]
    return with_items([*asked, {"type": "text", "text": question}], items, template, supports_images=supports_images)


def with_items(
    content: Sequence[dict[str, Any]], items: Sequence[PromptItem], template: str, *, supports_images: bool
) -> list[dict[str, Any]]:
    """A user's turn with items before it as its template says; unchanged without items.

    Args:
        content: The parts of the turn: texts and pictures.
        items: What was found, in the order in which it is read.
        template: See `TEXT_PROMPTS`.
        supports_images: Whether the items' pictures are shown.
    """
    items = [item for item in items if item.text or (item.image is not None and supports_images)]
    if not items:
        return list(content)
    filled = {CONTEXT: _shown(items, supports_images), QUESTION: content}
    pieces = re.split(f"({re.escape(CONTEXT)}|{re.escape(QUESTION)})", template)
    return [part for piece in pieces for part in filled.get(piece, _text(piece))]


def as_text(items: Iterable[PromptItem], order: Order = "best_last") -> str:
    """Items, in the order in which they are read, for models that cannot read vectors.

    A picture without text stands there by its path.
    """
    known = "\n".join(f"- {item.read() or item.image}" for item in items)
    place = "first" if order == "best_first" else "last"
    return f"What you remember, the most relevant {place}:\n{known}" if known else "You remember nothing about this."


def _shown(items: Sequence[PromptItem], supports_images: bool) -> list[dict[str, Any]]:
    """Each item in lines of its own, after its picture."""
    parts: list[dict[str, Any]] = []
    for position, item in enumerate(items):
        if item.image is not None and supports_images:
            try:
                parts.append({"type": "image", "image": load_image(item.image)})
            except InvalidItemError as error:  # a file that was moved since must not stop an answer
                logger.warning("A recalled item is given without its picture. %s", error)
        parts += _text(item.read() + ("\n" if position + 1 < len(items) else ""))
    return parts


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []
