"""Tools with which an agent itself remembers, recalls and forgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, tool

from comem_memory.errors import ComemError
from comem_memory.memory import ContinuousMemory
from comem_memory.types import MemoryItem

ViewOf = Callable[[Any], ContinuousMemory]
"""From a runtime to the memory of the user that it serves."""


def memory_tools(memory: ContinuousMemory, *, view_of: ViewOf | None = None, k: int = 3) -> list[BaseTool]:
    """`remember`, `recall` and `forget`.

    Args:
        memory: where.
        view_of: whose, from the agent's runtime; by default everyone shares `memory`.
        k: items that one `recall` lists.
    """
    view = view_of or (lambda runtime: memory)

    @tool
    def remember(text: str, runtime: ToolRuntime) -> str:
        """Stores a fact for later conversations. Say it in a full sentence that names whom or what it is about."""
        try:
            [id] = view(runtime).add(MemoryItem(text=text), truncate=True)
        except ComemError as error:  # the model's mistake, for the model to mend
            return str(error)
        return f"Stored with id {id}."

    @tool
    def recall(query: str, runtime: ToolRuntime) -> str:
        """Finds what was stored about something, with ids."""
        try:
            hits = view(runtime).search(query, k=k)
        except ComemError as error:
            return str(error)
        return "\n".join(f"{hit.id}: {hit.text or hit.image}" for hit in hits) or "Nothing is stored."

    @tool
    def forget(id: str, runtime: ToolRuntime) -> str:
        """Deletes what is stored under an id, as recall shows it."""
        return "Forgotten." if view(runtime).delete(ids=id) else f"Nothing is stored under {id}."

    return [remember, recall, forget]
