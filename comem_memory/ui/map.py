"""The tab of the map: every item a point, alike ones together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from nicegui import events, ui

from comem_memory.errors import counted
from comem_memory.types import MemoryHit, leaves
from comem_memory.ui.cards import shown
from comem_memory.ui.projection import MOST, fields, groups, plane, sample
from comem_memory.ui.visitor import Visitor

NAMESPACE = "namespace (all that are open)"
NAMED = 60
"""Points at most that their text stands beside; of more of them it is shown where the mouse is."""
_drawing = asyncio.Lock()
"""One map is computed at a time, whoever asks: it takes all cores."""


class Map:
    """A map of the namespace that is shown, or of all that are open.

    Args:
        visitor: Who looks.
        opened: Is called with namespace and id of an item whose point is chosen.
    """

    def __init__(self, visitor: Visitor, opened: Callable[[str, str], Awaitable[None]]) -> None:
        self._visitor, self._opened = visitor, opened
        self._hits, self._namespaces = list[MemoryHit](), list[str]()
        self._points, self._asked = np.zeros((0, 2)), 0
        with ui.row().classes("line"):
            self._colour = ui.select([NAMESPACE], label="Coloured by", on_change=self._chosen).props("outlined dense")
            self._colour.classes("grow")
            self._button = ui.button("Draw again", icon="refresh", on_click=self.draw).props("flat")
        self._note = ui.label().classes("muted note")
        self._chart = ui.element("div").classes("full")

    async def draw(self) -> None:
        """Computes the map of what is stored now."""
        self._asked += 1
        asked = self._asked
        self._button.props("loading")
        self._note.set_text("Computing the map …")
        try:
            with self._visitor.told():
                every = self._colour.value == NAMESPACE
                names = await self._visitor.namespaces() if every else [self._visitor.namespace]
                async with _drawing:
                    if asked != self._asked:  # another was asked for while this one waited
                        return
                    memories = [self._visitor.view(name) for name in names]
                    found = await asyncio.to_thread(
                        lambda: [
                            (one.name, hit) for one in memories for hit in sample(one, max(1, MOST // len(memories)))
                        ]
                    )
                    points = await asyncio.to_thread(plane, [hit for _, hit in found]) if found else np.zeros((0, 2))
                if asked == self._asked:
                    self._namespaces, self._hits = [name for name, _ in found], [hit for _, hit in found]
                    self._points = points
                    self._colour.set_options([NAMESPACE, *fields(self._hits)])
                    self._show()
                return
            if asked == self._asked:
                self._note.set_text("The map could not be computed.")
        finally:
            if asked == self._asked:
                self._button.props(remove="loading")

    async def _chosen(self) -> None:
        if self._colour.value == NAMESPACE or len(set(self._namespaces)) > 1:
            await self.draw()
            return
        with self._visitor.told():
            for name in {*self._namespaces}:
                self._visitor.view(name)  # the token may have been revoked since
            self._show()

    def _show(self) -> None:
        count = len(self._hits)
        self._note.set_text(
            f"{counted(count, 'item')} by their vectors: alike ones lie together. Choose a point to open its item."
            if count
            else "Nothing is stored."
        )
        values = [self._value(at) for at in range(count)]
        series: dict[str, list[dict[str, Any]]] = {}
        for at, group in enumerate(groups(values)):
            name = " ".join((self._hits[at].text or "a picture")[:80].split())
            point = {"value": [float(number) for number in self._points[at]], "name": name, "at": at}
            series.setdefault(group, []).append(point)
        self._chart.clear()
        with self._chart:
            ui.echart(_options(series), on_point_click=self._open).classes("map")

    def _value(self, at: int) -> str:
        if self._colour.value == NAMESPACE:
            return self._namespaces[at]
        return shown(leaves(self._hits[at].metadata).get(self._colour.value or "", "—"))

    async def _open(self, event: events.EChartPointClickEventArguments) -> None:
        data: Any = event.data  # a point as `_show` made it
        at: int = data["at"]
        await self._opened(self._namespaces[at], self._hits[at].id)


def _options(series: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Of ECharts; what it shows of users' texts it draws on a canvas, where nothing is read as HTML."""
    axis = {"show": False, "scale": True}
    named = sum(map(len, series.values())) <= NAMED
    beside = 80 if named else 8
    label = {
        "show": named,
        "formatter": "{b}",
        "position": "bottom",
        "color": "#888",
        "width": 150,
        "overflow": "truncate",
        "minMargin": 8,
    }
    return {
        "tooltip": {"renderMode": "richText", "formatter": "{b}", "confine": True},
        "legend": {"type": "scroll", "bottom": 0, "textStyle": {"color": "#888"}, "show": len(series) > 1},
        "grid": {"left": beside, "right": beside, "top": 8, "bottom": 60},
        "xAxis": axis,
        "yAxis": axis,
        "series": [
            {
                "type": "scatter",
                "name": name,
                "symbolSize": 11,
                "data": points,
                "itemStyle": {"opacity": 0.8},
                "label": label,
                "labelLayout": {"hideOverlap": True},
            }
            for name, points in series.items()
        ],
    }
