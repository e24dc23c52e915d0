"""The tab of items: newest first, or as a search finds them while it is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import events, ui

from comem_memory.errors import LimitError
from comem_memory.retrieval import ALL
from comem_memory.server.pictures import checked
from comem_memory.types import MemoryHit
from comem_memory.ui.cards import show_card
from comem_memory.ui.pictures import within_page
from comem_memory.ui.visitor import Visitor

PAGE = 24
"""Items that are shown at a time: rows of two, three and four cards are full."""
SHARED = (
    "Text and picture share a similarity: usually the one by which the first item stands out more gives more of it."
)
"""What `RetrievalKey.query_key` does; keys that are made otherwise may weigh otherwise."""


class Items:
    """The items of the namespace that is shown.

    Args:
        visitor: Who looks.
        opened: Is called with namespace and id of an item that is chosen.
    """

    def __init__(self, visitor: Visitor, opened: Callable[[str, str], Awaitable[None]]) -> None:
        self._visitor, self._opened = visitor, opened
        self._offset, self._asked, self._picture = 0, 0, b""
        with ui.row().classes("line"):
            self._words = ui.input(placeholder="Search by words", on_change=self.restart)
            self._words.props('debounce=300 clearable outlined dense aria-label="Search"').classes("grow")
            upload = ui.upload(on_upload=self._search_by, auto_upload=True)
            upload.props("accept=image/*").classes("hidden")
            by_picture = ui.button(icon="image_search").props('flat round aria-label="Search by a picture"')
            by_picture.tooltip("Search by a picture")
            # Not through the server: browsers want a gesture.
            by_picture.on("click", js_handler=f"() => getElement({upload.id}).$refs.qRef.pickFiles()")
            with ui.row().classes("asked") as self._with:
                self._seen = ui.element("img").props('alt="The picture that is searched with"')
                without = ui.button(icon="close", on_click=self._search_without)
                without.props('flat round dense aria-label="Search without the picture"')
                without.tooltip("Search without the picture")
            self._with.set_visibility(False)
        self._upload = upload
        self._note = ui.label().classes("muted note")
        self._cards = ui.element("div").classes("cards")
        with ui.row().classes("line"):
            self._newer = ui.button("Newer", icon="chevron_left", on_click=lambda: self._turn(-PAGE)).props("flat")
            self._older = ui.button("Older", icon="chevron_right", on_click=lambda: self._turn(PAGE)).props("flat")

    async def restart(self) -> None:
        """Shows the first page."""
        self._offset = 0
        await self.refresh()

    async def refresh(self) -> None:
        """Shows what is stored now."""
        self._asked += 1
        asked, words, picture = self._asked, (self._words.value or "").strip(), self._picture or None
        with self._visitor.told():
            memory = self._visitor.memory
            if words or picture:
                found = await memory.asearch(words or None, picture, k=PAGE)
                hits, total = [hit for hit in found if _is_alike(hit)], 0
                note = SHARED if words and picture and memory.key.text and memory.key.image else ""
                if len(hits) < len(found):
                    note = f"{note} What has a similarity of 0.00 or less is not shown.".lstrip()
                if not hits:
                    note = f"Nothing here {'is like' if found else 'would be recalled for'} this. What is nearest:"
                    hits = found or await memory.asearch(words or None, picture, k=PAGE, min_similarity=ALL)
            else:
                hits = page = await memory.anewest(limit=PAGE, offset=self._offset)
                total = page.total
                note = f"{self._offset + 1} to {self._offset + len(hits)} of {total}" if hits else "Nothing is stored."
            if asked == self._asked:  # else something else was typed meanwhile
                self._show(hits, words, note, total)

    def _show(self, hits: list[MemoryHit], words: str, note: str, total: int) -> None:
        self._note.set_text(note)
        self._cards.clear()
        with self._cards:
            for hit in hits:
                show_card(hit, self._visitor.namespace, self._opened, words)
        self._newer.set_visibility(total > 0 and self._offset > 0)
        self._older.set_visibility(total > self._offset + PAGE)

    async def _turn(self, by: int) -> None:
        self._offset = max(0, self._offset + by)
        await self.refresh()

    async def _search_by(self, event: events.UploadEventArguments) -> None:
        with self._visitor.told():
            _ = self._visitor.memory  # asked before anything is read
            limits = self._visitor.served.settings
            if event.file.size() > limits.max_picture_bytes:
                raise LimitError(f"The picture has more than {limits.max_picture_bytes} bytes. Scale it down.")
            picture = checked(await event.file.read(), limits) or b""
            self._seen.props["src"] = await asyncio.to_thread(within_page, picture)
            self._picture = picture
            self._with.set_visibility(True)
        self._upload.reset()
        await self.restart()

    async def _search_without(self) -> None:
        self._picture = b""
        self._with.set_visibility(False)
        await self.restart()


def _is_alike(hit: MemoryHit) -> bool:
    """Whether an item that was found is shown with more than 0.00, or holds what was asked for."""
    return "terms" in hit.found_by or round(hit.similarity or 0, 2) > 0
