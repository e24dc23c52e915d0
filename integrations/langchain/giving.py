"""What the middlewares have in common: whose memory an agent has, and how its model is given the items."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import SystemMessage
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import ensure_config, run_in_executor
from langgraph.errors import GraphBubbleUp

from comem_memory.chat import check_mode, told
from comem_memory.config import Mode, Order
from comem_memory.errors import QueryError, StoreConnectionError
from comem_memory.memory import ContinuousMemory
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit

from ..failures import OnError, check_on_error
from .chat_model import SERVED, ChatComem, Served
from .prompt_embeds import as_vllm_takes, template_with_memory, with_vectors
from .tools import memory_tools

logger = logging.getLogger(__name__)

NamespaceOf = Callable[[Any], str | None]
State = TypeVar("State", bound=AgentState[Any])


def user_of(runtime: Any) -> str | None:
    """`user_id` of the runtime's context, an attribute or a key, or else of the config's `configurable`.

    Without either, `None`; a warning says so once where conversations have a `thread_id`, as several users' do.

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
    if found is None and "thread_id" in ensure_config()["configurable"]:
        _warn_of_sharing()
    return None if found is None else str(found)


@cache
def _warn_of_sharing() -> None:
    """Once a process."""
    logger.warning(
        "The config has a thread_id and no user_id, so all users share one memory. Pass config={'configurable': "
        "{'thread_id': ..., 'user_id': ...}} or a context with a user_id, and ComemMiddleware(require_user=True) to "
        "make sure; ComemMiddleware(namespace=lambda runtime: None) says that sharing is meant."
    )


class GivesMemory(AgentMiddleware[State, Any]):
    """Gives an agent's model the items that `_recall` names, from the memory of the user that it serves.

    The arguments are those of `ComemMiddleware`.
    """

    def __init__(
        self,
        memory: ContinuousMemory,
        *,
        k: int,
        where: Filter | None,
        mode: Mode | None,
        vectors: bool,
        namespace: NamespaceOf,
        require_user: bool,
        tools: bool,
        on_error: OnError,
        name: str,
    ) -> None:
        super().__init__()
        self.memory, self.k, self.where = memory, k, where
        self.mode: Mode | None = None if mode is None else check_mode(mode)
        self.namespace_of, self.require_user = namespace, require_user
        self.tools = memory_tools(memory, view_of=self._view, k=max(k, 1)) if tools else []
        self._template = template_with_memory(memory) if vectors else None
        self.on_error, self._name = check_on_error(on_error), name

    @abstractmethod
    def _recall(self, view: ContinuousMemory, request: ModelRequest[Any]) -> tuple[list[MemoryHit], bool]:
        """The items for a call of the model, and whether it is to be told that there are none."""

    @abstractmethod
    def _keep_failed(self, request: ModelRequest[Any] | ToolCallRequest, error: Exception) -> None:
        """Keeps what there is to keep where model or tool failed."""

    @property
    def name(self) -> str:
        return self._name

    def _view(self, runtime: Any) -> ContinuousMemory:
        name = self.namespace_of(runtime)
        if name is None and self.require_user:
            raise QueryError(
                "Neither context nor config say whose memory this is, and the middleware requires it. Pass a context "
                "with a user_id, or config={'configurable': {'user_id': ...}}."
            )
        return self.memory if name is None else self.memory.namespace(name)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        view = self._view(request.runtime)
        hits, unknown = self._recall(view, request)
        while True:
            try:
                with self._serving(request, view, hits, unknown) as served:
                    return handler(served)
            except Exception as error:
                if not self._can_do_without(hits, error):
                    self._failed(request, error)
                    raise
            hits = []

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        view = self._view(request.runtime)
        hits, unknown = await run_in_executor(None, self._recall, view, request)
        while True:
            try:
                with self._serving(request, view, hits, unknown) as served:
                    return await handler(served)
            except Exception as error:
                if not self._can_do_without(hits, error):
                    await run_in_thread(lambda _, failed=error: self._failed(request, failed))  # type: ignore[misc]
                    raise
            hits = []

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        try:
            return handler(request)
        except Exception as error:
            self._failed(request, error)
            raise

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        try:
            return await handler(request)
        except Exception as error:
            failed = error
            await run_in_thread(lambda _: self._failed(request, failed))
            raise

    def _can_do_without(self, hits: Sequence[MemoryHit], error: Exception) -> bool:
        """Whether a model that failed may answer without the items, as the memory fails and this is only logged."""
        without = bool(hits) and self.on_error == "log" and isinstance(error, StoreConnectionError)
        if without:
            logger.warning("The memory failed, so the model answers without it: %s", error)
        return without

    def _failed(self, request: ModelRequest[Any] | ToolCallRequest, error: Exception) -> None:
        """Keeps what there is to keep; that it cannot hides no other error."""
        if isinstance(error, GraphBubbleUp):  # no failure: a person is asked, or another node goes on
            return
        try:
            self._keep_failed(request, error)
        except Exception:
            logger.warning("Nothing is remembered of what failed.", exc_info=True)

    @contextmanager
    def _serving(
        self, request: ModelRequest[Any], view: ContinuousMemory, hits: Sequence[MemoryHit], unknown: bool
    ) -> Iterator[ModelRequest[Any]]:
        """The request with its memory.

        Within it every `ChatComem` has these items of this user, whatever wraps it, or stands in for it.
        """
        around = SERVED.get()
        same = [one for one in around if (one.view.source, one.view.name) == (view.source, view.name)]
        hits = [hit for hit in hits if not any(hit.id in one.ids for one in same)]  # it has these
        given = any(one.view.source is view.source for one in around)  # another middleware gives this model its vectors
        ours = None if given else self._of_user(request.model, view.name)
        if ours is not None:
            request = request.override(model=ours)
        mode, near = self._mode_of_others(view), view.near_first(hits)
        as_words = ours is None and bool(hits) and mode in ("text", "both")
        if unknown or as_words:
            request = request.override(system_message=_told(request.system_message, hits, view.order))
        if ours is None and self._template is not None:
            request = as_vllm_takes(request)
            if hits and mode in ("memory", "both"):
                vectors = view.lay_out([], near, "memory").memory
                assert vectors is not None  # there are hits
                request = with_vectors(request, vectors, self._template)
        mine = Served(view, [hit.id for hit in near], self.mode, told=as_words)
        token = SERVED.set(around if given else (*around, mine))
        try:
            yield request
        finally:
            SERVED.reset(token)

    def _mode_of_others(self, view: ContinuousMemory) -> Mode:
        """How a model that is no `ChatComem` is given items."""
        return "text" if self._template is None else self.mode or view.mode

    def _of_user(self, model: Any, namespace: str) -> Any:
        """The model for one user, if it is a `ChatComem` with this memory, whatever settings or retries wrap it."""
        if isinstance(model, RunnableBindingBase):
            inner = self._of_user(model.bound, namespace)
            return None if inner is None else model.model_copy(update={"bound": inner})
        if isinstance(model, ChatComem) and model.memory is not None and model.memory.source is self.memory.source:
            # Its settings too, for where the context is lost, as in a thread.
            settings = {"k": self.k, "where": self.where} | ({} if self.mode is None else {"mode": self.mode})
            return model.for_namespace(namespace).model_copy(update=settings)
        return None


def _told(system: SystemMessage | None, hits: Sequence[MemoryHit], order: Order) -> SystemMessage:
    known = told(hits, order)
    if system is None:
        return SystemMessage(known)
    if isinstance(system.content, str):
        return system.model_copy(update={"content": f"{system.content}\n\n{known}"})
    return system.model_copy(update={"content": [*system.content, {"type": "text", "text": known}]})
