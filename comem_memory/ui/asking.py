"""The tab of questions: the same one in every mode, side by side."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

from nicegui import background_tasks, ui

from comem_memory.answers import Answer
from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.server.answering import in_turn
from comem_memory.types import MemoryHit
from comem_memory.ui.cards import show_card
from comem_memory.ui.visitor import Visitor

MODES: dict[Mode, str] = {
    "none": "the bare model, without memory",
    "text": "what is recalled as text, in the prompt",
    "memory": "what is recalled as vectors, before the prompt",
    "both": "as vectors and as text",
}
LONGEST = 128
"""Tokens of an answer."""
MOST = 20
"""Items that are recalled."""


class Asking:
    """A question and its answers.

    Args:
        visitor: Who asks.
        opened: Is called with namespace and id of a recalled item that is chosen.
    """

    def __init__(self, visitor: Visitor, opened: Callable[[str, str], Awaitable[None]]) -> None:
        self._visitor, self._opened = visitor, opened
        self._running: asyncio.Task[None] | None = None
        with ui.row().classes("line"):
            self._question = ui.input(placeholder="Ask the memory").props('outlined dense aria-label="Question"')
            self._question.classes("grow").on("keydown.enter", self._ask)
            self._k = ui.number("Items", value=3, min=1, max=MOST, precision=0).props("outlined dense").classes("few")
            ui.button("Ask", on_click=self._ask)
        self._answers: dict[Mode, tuple[ui.label, ui.label]] = {}
        with ui.element("div").classes("answers"):
            for mode, what in MODES.items():
                with ui.card().classes("answer"):
                    ui.label(mode + (" · by default" if mode == visitor.served.memory.mode else "")).classes("title")
                    ui.label(what).classes("muted")
                    self._answers[mode] = ui.label().classes("text grow"), ui.label().classes("muted")
        self._note = ui.label("Recalled:").classes("muted note")
        self._note.set_visibility(False)
        self._recalled = ui.element("div").classes("cards")
        ui.context.client.on_delete(self._stop)

    def _stop(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _ask(self) -> None:
        self._stop()
        if question := self._question.value.strip():
            self._running = background_tasks.create(self._all(question, min(max(int(self._k.value or 3), 1), MOST)))

    async def _all(self, question: str, k: int) -> None:
        """One mode after the other: each has the model for itself, so that their times can be compared."""
        namespace = self._visitor.namespace  # another may be chosen meanwhile
        for said, numbers in self._answers.values():
            said.set_text("")
            numbers.set_text("waits for its turn")
        self._recalled.clear()
        self._note.set_visibility(False)
        for mode, (said, numbers) in self._answers.items():
            with self._visitor.told():
                hits = await self._one(namespace, question, k, mode, said, numbers)
                self._show(hits, namespace, question)
                continue
            numbers.set_text("failed")

    def _show(self, hits: list[MemoryHit], namespace: str, question: str) -> None:
        """What was recalled, which is the same in every mode that recalls."""
        if hits and not self._note.visible:
            self._note.set_visibility(True)
            with self._recalled:
                for hit in hits:
                    show_card(hit, namespace, self._opened, question)

    async def _one(
        self, namespace: str, question: str, k: int, mode: Mode, said: ui.label, numbers: ui.label
    ) -> list[MemoryHit]:
        memory, served = self._visitor.view(namespace), self._visitor.served
        most = min(LONGEST, served.settings.max_new_tokens)
        first, hits = None, list[MemoryHit]()
        timed = in_turn(served, lambda stopped: _timed(memory, question, k, mode, most, stopped))
        async with aclosing(timed):
            async for piece, seconds in timed:
                first = seconds if first is None else first
                if isinstance(piece, str):
                    said.set_text(said.text + piece)
                    numbers.set_text(f"first token after {first:.2f} s")
                else:
                    served.metrics.generated_tokens.inc(piece.completion_tokens)
                    said.set_text(piece.text or "(nothing)")
                    numbers.set_text(f"{piece.prompt_tokens} prompt tokens · first token after {first:.2f} s")
                    hits = piece.hits
        return hits


def _timed(
    memory: ContinuousMemory, question: str, k: int, mode: Mode, most: int, stopped: threading.Event
) -> Iterator[tuple[str | Answer, float]]:
    """An answer's pieces, each with the seconds since the search for it began."""
    begun = time.perf_counter()
    for piece in memory.stream_answer(question, k=k, mode=mode, max_new_tokens=most, stopped=stopped):
        yield piece, time.perf_counter() - begun
