"""The page: its frame, and how its parts know of one another."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from comem_memory.ui.adding import Adding
from comem_memory.ui.asking import Asking
from comem_memory.ui.guard import LOGIN
from comem_memory.ui.items import Items
from comem_memory.ui.map import Map
from comem_memory.ui.one_item import OneItem
from comem_memory.ui.overview import Overview
from comem_memory.ui.visitor import Visitor

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
TABS = {"Items": "grid_view", "Ask": "forum", "Map": "scatter_plot", "Store": "storage"}


class Page:
    """One open page.

    Args:
        visitor: Who looks.
    """

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        ui.add_css(STYLE)
        ui.colors(primary="#4f46e5")
        sheet, adding = OneItem(visitor, self.refresh), Adding(visitor, self.refresh)
        with ui.header(elevated=False).classes("top"):
            with ui.row().classes("line"):
                ui.label("comem").classes("brand")
                self._namespace = ui.select([visitor.namespace], value=visitor.namespace, new_value_mode="add-unique")
                self._namespace.props('dense outlined options-dense label="Namespace"').classes("grow")
                self._namespace.on_value_change(self._chosen)
                add = ui.button("Add", icon="add", on_click=adding.open).classes("push")
                add.set_visibility(visitor.access.writes)
                if visitor.session is not None:
                    leave = ui.button(icon="logout", on_click=self._leave).props('flat round aria-label="Sign out"')
                    leave.tooltip("Sign out")
            with ui.tabs().props("dense no-caps inline-label align=left").classes("full") as self._tabs:
                for name, icon in TABS.items():
                    ui.tab(name, icon=icon)
        with ui.tab_panels(self._tabs, value="Items", animated=False).classes("panels"):
            with ui.tab_panel("Items"):
                self._items = Items(visitor, self._open_in)
            with ui.tab_panel("Ask"):
                Asking(visitor, self._open_in)
            with ui.tab_panel("Map"):
                self._map = Map(visitor, self._open_in)
            with ui.tab_panel("Store"):
                self._store = Overview(visitor, self._show, self._open_in)
        self._sheet = sheet
        self._tabs.on_value_change(self._turned)

    async def refresh(self) -> None:
        """Shows what is stored now."""
        await self._items.refresh()
        with self._visitor.told():
            self._namespace.set_options(await self._visitor.namespaces(), value=self._visitor.namespace)

    async def _chosen(self) -> None:
        if self._namespace.value in (None, self._visitor.namespace):
            return
        await self._show(self._namespace.value)
        if self._tabs.value == "Map":
            await self._map.draw()

    async def _show(self, namespace: str) -> None:
        """Shows another namespace, if it may be seen."""
        if namespace == self._visitor.namespace:
            return
        with self._visitor.told():
            self._visitor.view(namespace)
            self._visitor.namespace = namespace
            await self._items.restart()
        known = {*self._namespace.options} - {namespace}
        self._namespace.set_options(sorted({*known, self._visitor.namespace}), value=self._visitor.namespace)

    async def _turned(self) -> None:
        if self._tabs.value == "Map":
            await self._map.draw()
        if self._tabs.value == "Store":
            await self._store.refresh()

    async def _open_in(self, namespace: str, id: str) -> None:
        await self._show(namespace)
        if namespace == self._visitor.namespace:  # else it may not be seen
            await self._sheet.open(id)

    def _leave(self) -> None:
        self._visitor.sessions.end(self._visitor.session)
        ui.navigate.to(LOGIN)
