"""Plain retrieval-augmented prompting: what memory is compared with, and what it is taught from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from PIL import Image

from comem_memory.files.images import load_image


class PromptItem(NamedTuple):
    """An item in a prompt."""

    text: str | None
    image: Any = None
    """As `load_image` takes it."""


def retrieval_content(
    question: str,
    items: Iterable[PromptItem] = (),
    picture: Image.Image | None = None,
    *,
    supports_images: bool = False,
) -> list[dict[str, Any]]:
    """A user's turn for plain retrieval-augmented prompting: items, best last, then the question and its picture.

    Args:
        supports_images: whether the model takes pictures; they are left out else.
    """
    parts: list[dict[str, Any]] = []
    for text, image in items:
        if image is not None and supports_images:
            parts.append({"type": "image", "image": load_image(image)})
        parts.append({"type": "text", "text": f"{text or ''}\n"})
    if parts:
        parts.append({"type": "text", "text": "\n"})
    if picture is not None and supports_images:
        parts.append({"type": "image", "image": picture})
    return [*parts, {"type": "text", "text": question}]
