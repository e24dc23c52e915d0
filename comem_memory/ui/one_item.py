"""One item, in a sheet over the page: all that is known of it, what its vectors say, edit and delete."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from comem_memory.answers import Description
from comem_memory.content import Audio, with_texts
from comem_memory.errors import InvalidItemError
from comem_memory.server.answering import in_turn
from comem_memory.types import MemoryHit, leaves
from comem_memory.ui.cards import moment, shown
from comem_memory.ui.pictures import show_picture
from comem_memory.ui.recordings import show_recording
from comem_memory.ui.visitor import Visitor
from comem_memory.ui.words import cut, show_text, words_of

COMPARED = 5000
"""Characters of a text whose lost words are marked: each piece of it is an element of the page."""


class OneItem:
    """The sheet.

    Args:
        visitor: Who looks.
        changed: Is called when the item was changed or deleted.
    """

    def __init__(self, visitor: Visitor, changed: Callable[[], Awaitable[None]]) -> None:
        self._visitor, self._changed = visitor, changed
        with ui.dialog() as self._sheet:
            self._card = ui.card().classes("sheet")
        with ui.dialog() as self._sure, ui.card():
            ui.label("Delete this item? What it says is gone then.")
            with ui.row().classes("line end"):
                ui.button("Keep", on_click=lambda: self._sure.submit(False)).props("flat")
                ui.button("Delete", on_click=lambda: self._sure.submit(True)).props("color=negative")

    async def open(self, id: str) -> None:
        """Shows an item."""
        with self._visitor.told():
            [hit] = await self._visitor.memory.aget(id)
            self._show(hit)
            self._sheet.open()

    def _show(self, hit: MemoryHit) -> None:
        self._card.clear()
        with self._card:
            if hit.content is None and hit.image_location is not None:
                show_picture(hit, self._visitor.namespace, large=True)
            if hit.text and hit.text != with_texts(None, hit.content or ()):
                ui.label(hit.text).classes("text")
            self._show_parts(hit)
            with ui.element("div").classes("table"):
                for name, value in (_facts(hit) | leaves(hit.metadata)).items():
                    ui.label(name).classes("muted")
                    ui.label(shown(value))
            said = ui.element("div").classes("said")
            with ui.row().classes("line end"):
                describe = ui.button("What its vectors say", icon="psychology").props("flat")
                describe.on_click(lambda: self._describe(hit, said))
                if self._visitor.access.writes:
                    ui.button("Edit", icon="edit", on_click=lambda: self._edit(hit)).props("flat")
                    ui.button("Delete", icon="delete", on_click=lambda: self._delete(hit)).props("flat color=negative")
                ui.button("Close", on_click=self._sheet.close).props("flat")

    def _show_parts(self, hit: MemoryHit) -> None:
        """The parts of an item of several, in their order; what is not in its vectors is marked."""
        for place, part in enumerate(hit.content or ()):
            is_left_out = place in hit.left_out
            with ui.element("div").classes("part left-out" if is_left_out else "part"):
                if isinstance(part, str):
                    ui.label(part).classes("text")
                elif isinstance(part, Audio):
                    show_recording(hit, self._visitor.namespace, place)
                else:
                    show_picture(hit, self._visitor.namespace, large=True, part=place)
                if is_left_out:
                    ui.label("Not in its vectors").classes("muted")

    async def _describe(self, hit: MemoryHit, said: ui.element) -> None:
        """What the frozen model reads in the item's vectors, beside the text of which they were made."""
        said.clear()
        with said:
            ui.spinner()
        with self._visitor.told():
            memory = self._visitor.memory

            def describe(stopped: Any) -> Any:
                return iter([memory.describe(hit.id, stopped=stopped)])

            description: Description = [one async for one in in_turn(self._visitor.served, describe)][-1]
            kept = words_of(description.restated)
            said.clear()
            with said:
                if description.text:
                    with ui.element("div"):
                        ui.label("The text; what its vectors do not say is marked").classes("muted")
                        show_text(cut(description.text, COMPARED), lambda word: word not in kept, "lost")
                with ui.element("div"):
                    ui.label("What its vectors say").classes("muted")
                    ui.label(description.restated or "(nothing)").classes("text")
            return
        said.clear()

    def _edit(self, hit: MemoryHit) -> None:
        self._card.clear()
        with self._card:
            text = ui.textarea("Text", value=hit.text or "").props("outlined autogrow").classes("full")
            known = json.dumps(hit.metadata, ensure_ascii=False, indent=2)
            metadata = ui.textarea("Metadata, as JSON", value=known).props("outlined autogrow").classes("full mono")
            with ui.row().classes("line end"):
                ui.button("Cancel", on_click=lambda: self._show(hit)).props("flat")
                ui.button("Save", on_click=lambda: self._save(hit, text.value, metadata.value))

    async def _save(self, hit: MemoryHit, text: str, metadata: str) -> None:
        with self._visitor.told():
            new = None if text == (hit.text or "") else text
            async with self._visitor.served.writes.turn():
                await self._visitor.writing.aupdate(hit.id, text=new, metadata=parsed(metadata), truncate=True)
            await self.open(hit.id)
            await self._changed()

    async def _delete(self, hit: MemoryHit) -> None:
        if await self._sure:
            with self._visitor.told():
                await self._visitor.writing.adelete(ids=[hit.id])
                self._sheet.close()
                await self._changed()


def parsed(metadata: str) -> dict[str, Any]:
    """Metadata as it was typed.

    Raises:
        InvalidItemError: It is no JSON object.
    """
    try:
        found = json.loads(metadata.strip() or "{}")
    except ValueError as error:
        raise InvalidItemError(f'The metadata is no JSON: {error}. Write for instance {{"room": "hall"}}.') from error
    if not isinstance(found, dict):
        raise InvalidItemError('The metadata is no JSON object. Write for instance {"room": "hall"}.')
    return found


def _facts(hit: MemoryHit) -> dict[str, Any]:
    """What is known of an item besides its metadata, as far as there is something to say."""
    facts = {
        "id": hit.id,
        "stored": f"{moment(hit.created_at)} UTC",
        "changed": f"{moment(hit.updated_at)} UTC" if hit.updated_at != hit.created_at else None,
        "said": hit.said_at,
        "expires": hit.expires,
        "vectors": _vectors(hit),
        "takes the place of": list(hit.supersedes) or None,
        "superseded by": hit.superseded_by,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _vectors(hit: MemoryHit) -> str | None:
    """Of what an item's vectors are, if not of all of it as a whole."""
    if hit.passages:
        return f"of {len(hit.passages)} passages, each by itself"
    if hit.left_out:
        return f"without {len(hit.left_out)} of its {len(hit.content or ())} parts: it is too long for one item"
    return "of its beginning: the text is too long for one item" if hit.truncated else None
