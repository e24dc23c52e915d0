"""The tab of the store: what it runs on, its namespaces, and whether its vectors still are what the encoder makes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from itertools import groupby

from nicegui import ui
from torch.nn.functional import cosine_similarity

from comem_memory.errors import counted
from comem_memory.memory import ContinuousMemory
from comem_memory.passages import encoded_apart
from comem_memory.server.access import public_name
from comem_memory.types import MemoryHit, MemoryItem
from comem_memory.ui.cards import show_card
from comem_memory.ui.visitor import Visitor, loading

COMPARED = 16
"""Items that are encoded again: the newest."""
LISTED = 100
"""Namespaces, each of which is counted."""
DIGEST = re.compile(r"[0-9a-f]{8,}")
DRIFTED = 0.99
"""Cosine below which an item is shown: int8, which keeps vectors least exactly, stays above it."""


class Overview:
    """The store.

    Args:
        visitor: Who looks.
        chosen: Is called with a namespace that is chosen.
        opened: Is called with namespace and id of an item that is chosen.
    """

    def __init__(
        self,
        visitor: Visitor,
        chosen: Callable[[str], Awaitable[None]],
        opened: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._visitor, self._chosen, self._opened = visitor, chosen, opened
        memory = visitor.served.memory
        info = asdict(memory.info) | {"model": public_name(memory.info.model)}
        ui.label("Memory").classes("title")
        with ui.element("div").classes("table"):
            for name, value in (info | {"mode by default": memory.mode, "vectors kept as": memory.precision}).items():
                ui.label(name.replace("_", " ")).classes("muted")
                with ui.row().classes("facts"):
                    for word, is_digest in plain(value):
                        ui.label(word).classes("digest muted" if is_digest else "")
        ui.label("Namespaces").classes("title")
        self._namespaces = ui.element("div").classes("table")
        ui.label("Drift").classes("title")
        ui.label(
            f"Encodes the {COMPARED} newest items again and compares: vectors are a language that only the encoder "
            "that made them and its model share."
        ).classes("muted")
        self._button = ui.button("Compare", icon="compare_arrows", on_click=self._compare).props("flat")
        self._drift = ui.element("div").classes("full")

    async def refresh(self) -> None:
        """Counts what the namespaces hold now."""
        with self._visitor.told():
            names = (await self._visitor.namespaces())[:LISTED]
            counts = await asyncio.gather(*(self._visitor.view(name).acount() for name in names))
            self._namespaces.clear()
            with self._namespaces:
                for name, count in zip(names, counts, strict=True):
                    ui.button(name, on_click=lambda name=name: self._chosen(name)).props(
                        "flat dense no-caps align=left"
                    )
                    ui.label(f"{counted(count, 'item')}")

    async def _compare(self) -> None:
        with self._visitor.told(), loading(self._button):
            memory = self._visitor.memory
            async with self._visitor.served.writes.turn():
                found = await asyncio.to_thread(drift, memory)
            self._drift.clear()
            with self._drift:
                drifted = [hit for hit, cosine in found if cosine < DRIFTED]
                lowest = min((cosine for _, cosine in found), default=1.0)
                ui.label(f"{len(drifted)} of {counted(len(found), 'item')} differ; the lowest cosine is {lowest:.4f}.")
                with ui.element("div").classes("cards"):
                    for hit in drifted:
                        show_card(hit, memory.name, self._opened)


def plain(value: object) -> list[tuple[str, bool]]:
    """What the memory says of itself, for people: pieces, each with whether it is a digest, such as of weights."""
    if value is None or isinstance(value, bool):
        return [("yes" if value else "no", False)]
    words = groupby(str(value).split(" "), key=lambda word: bool(DIGEST.fullmatch(word)))
    return [(" ".join(group), is_digest) for is_digest, group in words]


def drift(memory: ContinuousMemory, most: int = COMPARED) -> list[tuple[MemoryHit, float]]:
    """The newest items, each with the mean cosine of its vectors to those that the encoder makes of it now."""
    hits = memory.newest(limit=most)
    if not hits:
        return []
    items = [
        MemoryItem(text=text, image=image, content=hit.content)
        for hit in hits
        for text, image in encoded_apart(hit.text, hit.image, hit.passages)
    ]
    made = memory.encode(items, truncate=True).vectors.split([len(hit.blocks) for hit in hits])
    return [
        (hit, cosine_similarity(hit.blocks, vectors.float(), dim=-1).mean().item())
        for hit, vectors in zip(hits, made, strict=True)
    ]
