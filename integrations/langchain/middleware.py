"""`ComemMiddleware`: memory for any agent made with `create_agent`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NotRequired, cast

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import ensure_config, run_in_executor

from comem_memory.chat import check_mode, item_of
from comem_memory.config import Mode
from comem_memory.errors import QueryError
from comem_memory.memory import ContinuousMemory
from comem_memory.model import PromptItem, as_text
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit, MemoryItem

from .chat_model import SERVED, ChatComem, Served
from .messages import to_messages
from .tools import memory_tools

NamespaceOf = Callable[[Any], str | None]
Remember = Callable[[Sequence[AnyMessage]], MemoryItem | None]


def user_of(runtime: Any) -> str | None:
    """`user_id` of the runtime's context, an attribute or a key, or else of the config's `configurable`.

    Without either, `None`.

    Raises:
        QueryError: There is a context, but no `user_id`, so that users would share one memory.
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
    said = _said(messages)
    if said is None:
        return None
    after = messages[messages.index(said) + 1 :]
    answers = [message.text for message in after if isinstance(message, AIMessage) and message.text]
    answered = [{"role": "assistant", "content": text} for text in answers[-1:]]
    return item_of([*to_messages([said], skip_unreadable=True), *answered], keeps_pictures=True)


class TurnState(AgentState[Any]):
    """An agent's state, with the user's turn, which a summary may take out of the messages before it is stored."""

    comem_said: NotRequired[Annotated[HumanMessage | None, PrivateStateAttr]]


class ComemMiddleware(AgentMiddleware[TurnState, Any]):
    """Recalls before each call of the model, remembers after each turn, and gives the agent memory tools.

    A `ChatComem` with the same memory gets the items as its mode says; any other model gets their texts in the system
    turn.
    List it after what hides or replaces anything (`PIIMiddleware`, `ModelFallbackMiddleware`).

    Args:
        memory: The memory that is recalled from and written to.
        k: Items to recall for the last user turn; 0 recalls nothing.
        where: Filter on their metadata.
        mode: How the model is given the items: `memory` (vectors), `text`, `both` or `none`; by default as the
            `ChatComem` does. Any other model gets texts, unless it is `none`.
        namespace: From the runtime to whose items, `None` for the memory's own namespace; by default `user_id` of its
            context or of the config's `configurable`, and the memory's own where neither is given.
        remember: From the messages to what is stored after a turn, or `None` for nothing; by default `last_turn`.
        tools: Give the agent `remember`, `recall` and `forget`.

    Example:
        >>> agent = create_agent(chat, middleware=[ComemMiddleware(memory)], context_schema=Context) # doctest: +SKIP
        >>> agent.invoke({"messages": [...]}, context=Context(user_id="ada"))                        # doctest: +SKIP
    """

    state_schema = TurnState

    def __init__(
        self,
        memory: ContinuousMemory,
        *,
        k: int = 3,
        where: Filter | None = None,
        mode: Mode | None = None,
        namespace: NamespaceOf = user_of,
        remember: Remember = last_turn,
        tools: bool = True,
    ) -> None:
        super().__init__()
        self.memory, self.k, self.where = memory, k, where
        self.mode: Mode | None = None if mode is None else check_mode(mode)
        self.namespace_of, self.remember = namespace, remember
        self.tools = memory_tools(memory, view_of=self._view, k=max(k, 1)) if tools else []

    def _view(self, runtime: Any) -> ContinuousMemory:
        name = self.namespace_of(runtime)
        return self.memory if name is None else self.memory.namespace(name)

    # -- before the model ---------------------------------------------------------------------------------------

    def before_model(self, state: TurnState, runtime: Any) -> dict[str, Any] | None:
        said = _said(state["messages"])
        return None if said is None else {"comem_said": said}

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        view, hits = self._recall(request)
        served, told = self._with_memory(request, view, hits)
        with self._serving_now(view, hits, told=told):
            return handler(served)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        view, hits = await run_in_executor(None, self._recall, request)
        served, told = self._with_memory(request, view, hits)
        with self._serving_now(view, hits, told=told):
            return await handler(served)

    def _recall(self, request: ModelRequest[Any]) -> tuple[ContinuousMemory, list[MemoryHit]]:
        view, state = self._view(request.runtime), cast(TurnState, request.state)
        said = _said(request.messages) or state.get("comem_said")
        turns = to_messages([] if said is None else [said], skip_unreadable=True)
        return view, view.search_turn(turns, k=0 if self.mode == "none" else self.k, where=self.where)

    def _with_memory(
        self, request: ModelRequest[Any], view: ContinuousMemory, hits: Sequence[MemoryHit]
    ) -> tuple[ModelRequest[Any], bool]:
        """The request with its memory, and whether the items' texts were put into it."""
        if (ours := self._serving(request.model, view.name)) is not None:
            return request.override(model=ours), False
        if not hits:
            return request, False
        return request.override(system_message=_told(request.system_message, hits)), True

    def _serving(self, model: Any, namespace: str) -> Any:
        """The model for one user, if it is a `ChatComem` with this memory, whatever settings or retries wrap it."""
        if isinstance(model, RunnableBindingBase):
            inner = self._serving(model.bound, namespace)
            return None if inner is None else model.model_copy(update={"bound": inner})
        if isinstance(model, ChatComem) and model.memory is not None and model.memory.store is self.memory.store:
            # Its settings too, for where the context is lost, as in a thread.
            settings = {"k": self.k, "where": self.where} | ({} if self.mode is None else {"mode": self.mode})
            return model.for_namespace(namespace).model_copy(update=settings)
        return None

    @contextmanager
    def _serving_now(self, view: ContinuousMemory, hits: Sequence[MemoryHit], *, told: bool) -> Iterator[None]:
        """Within it every `ChatComem` has these items of this user, whatever wraps it, or stands in for it."""
        token = SERVED.set(Served(view, [hit.id for hit in hits], self.mode, told))
        try:
            yield
        finally:
            SERVED.reset(token)

    # -- after the turn -----------------------------------------------------------------------------------------

    def after_agent(self, state: TurnState, runtime: Any) -> dict[str, Any]:
        messages, said = state["messages"], state.get("comem_said")
        if said is not None and all(message.id != said.id for message in messages):
            messages = [said, *messages]  # which a summary took out
        item, view = self.remember(messages), self._view(runtime)
        if item is not None and item.image is not None and item.text and not view.keeps_pictures:
            item = item.model_copy(update={"image": None})
        if item is not None:
            view.add(item, truncate=True)
        return {"comem_said": None}

    async def aafter_agent(self, state: TurnState, runtime: Any) -> dict[str, Any]:
        return await run_in_thread(lambda _: self.after_agent(state, runtime))


def _said(messages: Sequence[AnyMessage]) -> HumanMessage | None:
    """What the user said last; the summary that LangChain's middleware writes is not the user's."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage) and message.additional_kwargs.get("lc_source") != "summarization":
            return message
    return None


def _told(system: SystemMessage | None, hits: Sequence[MemoryHit]) -> SystemMessage:
    known = as_text(PromptItem(hit.text, hit.image) for hit in reversed(hits))
    if system is None:
        return SystemMessage(known)
    if isinstance(system.content, str):
        return system.model_copy(update={"content": f"{system.content}\n\n{known}"})
    return system.model_copy(update={"content": [*system.content, {"type": "text", "text": known}]})
