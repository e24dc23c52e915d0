"""The sheet that adds items: a text, a picture, or files that are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from nicegui import events, ui

from comem_memory.errors import InvalidItemError, LimitError
from comem_memory.files import TemporaryFolder
from comem_memory.files.item_files import IMAGE_SUFFIXES, KINDS
from comem_memory.types import MemoryItem
from comem_memory.ui.dropped import items_in, keep
from comem_memory.ui.one_item import parsed
from comem_memory.ui.visitor import Visitor, loading


class Adding:
    """The sheet.

    Args:
        visitor: Who adds.
        changed: Is called when something was added.
    """

    def __init__(self, visitor: Visitor, changed: Callable[[], Awaitable[None]]) -> None:
        self._visitor, self._changed = visitor, changed
        self._files: dict[str, bytes] = {}
        most = visitor.served.settings.max_body_bytes
        with ui.dialog() as self._sheet, ui.card().classes("sheet"):
            self._text = ui.textarea("Text").props("outlined autogrow autofocus").classes("full")
            self._metadata = ui.input("Metadata, as JSON", placeholder='{"room": "hall"}').props("outlined dense")
            self._metadata.classes("full mono")
            self._upload = ui.upload(
                label=f"Drop {KINDS}",
                multiple=True,
                auto_upload=True,
                max_file_size=most,
                max_total_size=most,
                on_upload=self._keep,
                on_rejected=lambda: ui.notify(f"The server takes files of {most} bytes together.", type="negative"),
            ).props("flat bordered")
            self._upload.classes("full")
            ui.label(
                "A text and one picture become one item. Other files are read as comem add reads them: a line of JSON, "
                "a text, a page of a PDF file and a picture are an item each."
            ).classes("muted")
            with ui.row().classes("line end"):
                ui.button("Cancel", on_click=self._sheet.close).props("flat")
                self._button = ui.button("Add", on_click=self._add)

    def open(self) -> None:
        """Shows the sheet, empty."""
        self._text.value = self._metadata.value = ""
        self._files.clear()
        self._upload.reset()
        self._sheet.open()

    async def _keep(self, event: events.UploadEventArguments) -> None:
        with self._visitor.told():
            _ = self._visitor.writing  # asked before anything is kept
            name, content = event.file.name, await event.file.read()
            most = self._visitor.served.settings.max_body_bytes
            others = sum(len(one) for other, one in self._files.items() if other != name)
            if others + len(content) > most:  # the browser's own check can be left out
                raise LimitError(f"The files have more than {most} bytes together. Add them in parts.")
            self._files[name] = content

    async def _add(self) -> None:
        with self._visitor.told(), loading(self._button):
            memory, served = self._visitor.writing, self._visitor.served
            items = await asyncio.to_thread(self._items)
            async with served.writes.turn():
                ids = await memory.aadd(items, truncate=True, progress=False)
            served.metrics.items_added.inc(len(ids))
            self._files.clear()
            self._sheet.close()
            ui.notify(f"Added {len(ids)} item{'s' * (len(ids) != 1)}.", type="positive")
            await self._changed()

    def _items(self) -> list[MemoryItem]:
        """
        Raises:
            InvalidItemError, LimitError: As in `items_in`; or there is nothing to add.
        """
        limits, text, metadata = self._visitor.served.settings, self._text.value.strip(), parsed(self._metadata.value)
        folder = TemporaryFolder("comem-dropped-")
        try:
            for name, content in self._files.items():
                keep(folder.path, name, content)
            items = list(items_in(folder.path, limits)) if self._files else []
        finally:
            folder.remove()
        one_picture = len(self._files) == 1 and Path(next(iter(self._files))).suffix.lower() in IMAGE_SUFFIXES
        if text and one_picture:
            items = [MemoryItem(**dict(items[0]) | {"text": text})]
        elif text:
            items.append(MemoryItem(text=text))
        if not items:
            raise InvalidItemError("There is nothing to add. Write a text, or drop a file.")
        return [MemoryItem(**dict(item) | {"metadata": item.metadata | metadata}) for item in items]
