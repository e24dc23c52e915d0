"""The sheet that adds items: a text, a picture, or files that are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path

from nicegui import events, ui

from comem_memory.errors import InvalidItemError, LimitError, counted
from comem_memory.files import TemporaryFolder
from comem_memory.files.item_files import AUDIO_SUFFIXES, IMAGE_SUFFIXES, KINDS, VIDEO_SUFFIXES
from comem_memory.types import MemoryItem
from comem_memory.ui.dropped import items_in, keep
from comem_memory.ui.one_item import parsed
from comem_memory.ui.visitor import Visitor, loading

_OF_OTHER_NAMES = (
    "files => files.filter((file, at) => files.findIndex(one => one.name === file.name) === at"
    " && !getElement({id}).$refs.qRef.files.some(one => one.name === file.name))"
)
"""Which of the files that are dropped a browser takes: one of each name."""
_SHOWN = AUDIO_SUFFIXES | IMAGE_SUFFIXES | VIDEO_SUFFIXES
"""Suffixes of files that a text makes one item with."""


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
                label=f"Drop {KINDS}, or a recording",
                multiple=True,
                auto_upload=True,
                max_file_size=most,
                max_total_size=most,
                on_upload=self._keep,
            ).props("flat bordered")
            self._upload.classes("full")
            self._upload.props[":filter"] = _OF_OTHER_NAMES.format(id=self._upload.id)
            self._upload.on(
                "rejected", self._rejected, js_handler="(all) => emit(all.map(one => one.failedPropValidation))"
            )
            self._upload.on("removed", self._removed, js_handler="(files) => emit(files.map(file => file.name))")
            ui.label(
                "A text and one picture, clip or recording become one item. Other files are read as comem add reads "
                "them: a line of JSON, a text, a page of a PDF file and a picture are an item each."
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

    def _rejected(self, event: events.GenericEventArguments) -> None:
        if {"filter", "duplicate"} & set(event.args):  # the second, where time and length are the same too
            said = "There is a file of that name already. Remove it first, or rename one of them."
        else:
            said = f"The server takes files of {self._visitor.served.settings.max_body_bytes} bytes together."
        ui.notify(said, type="negative")

    def _removed(self, event: events.GenericEventArguments) -> None:
        for name in event.args:
            self._files.pop(name, None)

    async def _add(self) -> None:
        with self._visitor.told(), loading(self._button):
            memory, served = self._visitor.writing, self._visitor.served
            left_out = list[str]()
            items = await asyncio.to_thread(self._items, left_out)
            async with served.writes.turn():
                ids = await memory.aadd(items, truncate=True, progress=False)
            served.metrics.items_added.inc(len(ids))
            self._files.clear()
            self._sheet.close()
            ui.notify(f"Added {counted(len(ids), 'item')}.", type="positive")
            for said in left_out:
                ui.notify(said, type="warning", multi_line=True, close_button=True, timeout=30_000)
            await self._changed()

    def _items(self, left_out: list[str]) -> list[MemoryItem]:
        """What the sheet holds.

        Args:
            left_out: Is given what was left out, and why.

        Raises:
            InvalidItemError, LimitError: As in `items_in`; or there is nothing to add, or too much at a time.
        """
        limits, text, metadata = self._visitor.served.settings, self._text.value.strip(), parsed(self._metadata.value)
        folder, files = TemporaryFolder("comem-dropped-"), dict(self._files)
        if text and len(files) == 1 and (shown := Path(*files)).suffix.lower() in _SHOWN:
            files[str(shown.with_suffix(".txt"))], text = text.encode(), ""
        try:
            for name, content in files.items():
                keep(folder.path, name, content)
            items = list(islice(items_in(folder.path, limits, left_out.append), limits.max_items + 1)) if files else []
        finally:
            folder.remove()
        if text:
            items.append(MemoryItem(text=text))
        if not items:
            raise InvalidItemError(" ".join([*left_out, "There is nothing to add. Write a text, or drop a file."]))
        if len(items) > limits.max_items:
            raise LimitError(f"These are more than {limits.max_items} items. Add them in parts, or with comem add.")
        return [MemoryItem(**dict(item) | {"metadata": item.metadata | metadata}) for item in items]
