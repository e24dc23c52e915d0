"""Tools with which an agent itself remembers, recalls and forgets."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, StructuredTool, tool

from comem_memory.errors import ComemError
from comem_memory.memory import ContinuousMemory
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryItem

ViewOf = Callable[[Any], ContinuousMemory]
"""From a runtime to the memory of the user that it serves."""


def memory_tools(memory: ContinuousMemory, *, view_of: ViewOf | None = None, k: int = 3) -> list[BaseTool]:
    """`remember`, `recall` and `forget`.

    Args:
        memory: The memory that is recalled from and written to.
        view_of: Whose, from the agent's runtime; by default everyone shares `memory`.
        k: Items that one `recall` lists.
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
        return "\n".join(f"{hit.id}: {hit.full_text or hit.image}" for hit in hits) or "Nothing is stored about this."

    @tool
    def forget(id: str, runtime: ToolRuntime) -> str:
        """Deletes what is stored under an id, as recall shows it."""
        try:
            return "Forgotten." if view(runtime).delete(ids=id) else f"Nothing is stored under {id}."
        except ComemError as error:
            return str(error)

    return [_with_async(one) for one in (remember, recall, forget)]


def _with_async(tool: BaseTool) -> BaseTool:
    """The tool with an async twin in a thread of its own: storing may wait long for the model."""
    assert isinstance(tool, StructuredTool) and tool.func is not None
    work = tool.func

    @wraps(work)
    async def coroutine(**arguments: Any) -> Any:
        return await run_in_thread(lambda _: work(**arguments))

    tool.coroutine = coroutine
    return tool
