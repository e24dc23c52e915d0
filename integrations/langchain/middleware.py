"""`ComemMiddleware`: memory for any agent made with `create_agent`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableBinding
from langchain_core.runnables.config import ensure_config, run_in_executor

from comem_memory.chat import as_text, content_of, recall
from comem_memory.errors import QueryError
from comem_memory.filters import Filter
from comem_memory.memory import ContinuousMemory
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit, MemoryItem

from .chat_model import ChatComem
from .messages import memory_block, to_messages
from .tools import memory_tools

NamespaceOf = Callable[[Any], str | None]
Remember = Callable[[Sequence[AnyMessage]], MemoryItem | None]


def user_of(runtime: Any) -> str | None:
    """`user_id` of the runtime's context, an attribute or a key, or else of the config's `configurable`.

    Without either, `None`.

    Raises:
        QueryError: there is a context, but no `user_id`, so that users would share one memory.
    """
    context = getattr(runtime, "context", None)
    found = context.get("user_id") if isinstance(context, Mapping) else getattr(context, "user_id", None)
    if found is None:
        found = ensure_config()["configurable"].get("user_id")
    if found is None and context is not None:
        raise QueryError(
            f"The agent's context, {context!r}, does not say whose memory this is. Give it a user_id, "
            "or pass ComemMiddleware(namespace=...), which names it from the runtime."
        )
    return None if found is None else str(found)


def last_turn(messages: Sequence[AnyMessage]) -> MemoryItem | None:
    """What the user said last and what the agent answered, as one item; with the user's picture, if there is one."""
    said = next((i for i in reversed(range(len(messages))) if isinstance(messages[i], HumanMessage)), None)
    if said is None:
        return None
    answers = [message.text for message in messages[said + 1 :] if isinstance(message, AIMessage) and message.text]
    [turn] = to_messages([messages[said]], skip_unreadable=True)
    text, picture = content_of(turn)
    lines = [f"User: {text}"] if text else []
    lines += [f"Assistant: {answers[-1]}"] if answers else []
    return MemoryItem(text="\n".join(lines) or None, image=picture) if lines or picture is not None else None


class ComemMiddleware(AgentMiddleware):
    """Recalls before each call of the model, remembers after each turn, and gives the agent memory tools.

    A `ChatComem` with the same memory gets the items as vectors; any other model gets their texts in the system turn.

    Args:
        memory: where.
        k: items to recall for the last user turn; 0 recalls nothing.
        where: filter on their metadata.
        namespace: from the runtime to whose items, `None` for the memory's own namespace; by default `user_id` of its
            context or of the config's `configurable`, and the memory's own where neither is given.
        remember: from the messages to what is stored after a turn, or `None` for nothing; by default `last_turn`.
        tools: give the agent `remember`, `recall` and `forget`.

    Example:
        >>> agent = create_agent(chat, middleware=[ComemMiddleware(memory)], context_schema=Context) # doctest: +SKIP
        >>> agent.invoke({"messages": [...]}, context=Context(user_id="ada"))                        # doctest: +SKIP
    """

    def __init__(
        self,
        memory: ContinuousMemory,
        *,
        k: int = 3,
        where: Filter | None = None,
        namespace: NamespaceOf = user_of,
        remember: Remember = last_turn,
        tools: bool = True,
    ) -> None:
        super().__init__()
        self.memory, self.k, self.where = memory, k, where
        self.namespace_of, self.remember = namespace, remember
        self.tools = memory_tools(memory, view_of=self._view, k=max(k, 1)) if tools else []

    def _view(self, runtime: Any) -> ContinuousMemory:
        name = self.namespace_of(runtime)
        return self.memory if name is None else self.memory.namespace(name)

    # -- before the model ---------------------------------------------------------------------------------------

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        return handler(self._with_memory(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        return await handler(await run_in_executor(None, self._with_memory, request))

    def _with_memory(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        view, model = self._view(request.runtime), _unwrapped(request.model)
        users = [message for message in request.messages if isinstance(message, HumanMessage)]
        hits = recall(view, to_messages(users[-1:], skip_unreadable=True), k=self.k, where=self.where)
        if isinstance(model, ChatComem) and model.memory is not None and model.memory.store is self.memory.store:
            recalled = HumanMessage([memory_block([hit.id for hit in hits])])  # may be forgotten until the model reads
            settings = request.model_settings | {"namespace": view.name}
            return request.override(messages=[recalled, *request.messages], model_settings=settings)
        if isinstance(model, ChatComem):
            request = request.override(model_settings=request.model_settings | {"memory_ids": []})
        return request.override(system_message=_told(request.system_message, hits)) if hits else request

    # -- after the turn -----------------------------------------------------------------------------------------

    def after_agent(self, state: AgentState[Any], runtime: Any) -> None:
        item, view = self.remember(state["messages"]), self._view(runtime)
        if item is not None and item.image is not None and item.text and not view.encoder.backbone.sees:
            item = item.model_copy(update={"image": None})
        if item is not None:
            view.add(item, truncate=True)

    async def aafter_agent(self, state: AgentState[Any], runtime: Any) -> None:
        await run_in_thread(lambda _: self.after_agent(state, runtime))


def _unwrapped(model: Any) -> Any:
    """The model itself, without what `bind` and `with_config` put around it."""
    while isinstance(model, RunnableBinding):
        model = model.bound
    return model


def _told(system: SystemMessage | None, hits: Sequence[MemoryHit]) -> SystemMessage:
    said = f"{system.text}\n\n" if system is not None else ""
    return SystemMessage(said + as_text(hits))
