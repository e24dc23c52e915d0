"""Items as cards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from comem_memory.content import amounts_of
from comem_memory.types import MemoryHit, leaves, told_similarity
from comem_memory.ui.pictures import show_picture
from comem_memory.ui.words import cut, show_text, words_of

FACTS = 3
"""Values of metadata on a card; alone an item shows all."""
SHOWN = 600
"""Characters of a text on a card; alone an item shows all."""
MARKED = 4
"""Letters of a word that is marked: shorter ones stand in most texts."""
WAYS = {"meaning": "by meaning", "terms": "by exact term"}


def show_card(hit: MemoryHit, namespace: str, opened: Callable[[str, str], Awaitable[None]], asked: str = "") -> None:
    """A card of an item, and why it was found.

    Args:
        hit: The item.
        namespace: Whose it is.
        opened: Is called with namespace and id when it is chosen.
        asked: The words that were searched with, which are marked.
    """
    card = ui.card().classes("item")
    for way in ("click", "keydown.enter"):
        card.on(way, lambda: opened(namespace, hit.id))
    card.props('tabindex=0 role="button"')
    wanted = {word for word in words_of(asked) if len(word) >= MARKED or not word.isalpha()}
    with card:
        if hit.image_location is not None:
            show_picture(hit, namespace)
        if hit.similarity is not None:
            with ui.row().classes("why"):
                ui.linear_progress(max(0.0, hit.similarity), show_value=False).classes("bar")
                ui.label(told_similarity(hit.similarity, hit.similarity_of_texts, 2)).classes("number")
                ui.label(", ".join(WAYS[way] for way in hit.found_by)).classes("muted")
        if hit.text:
            show_text(cut(hit.text, SHOWN), lambda word: word in wanted)
        with ui.row().classes("facts"):
            ui.label(moment(hit.said_at or hit.created_at)).classes("muted")
            if hit.content is not None:
                ui.label(amounts_of(hit.content_locations or ())).classes("fact")
            for name, value in list(leaves(hit.metadata).items())[:FACTS]:
                ui.label(f"{name}: {shown(value)}").classes("fact")


def moment(date: str) -> str:
    """A date in ISO 8601 to the minute, without its timezone."""
    return date[:16].replace("T", " ")


def shown(value: Any) -> str:
    """A value of metadata."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
