"""`ComemTrajectoryMiddleware`: what an agent did for a task, kept as one trajectory and recalled for later tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Annotated, Any, NotRequired, TypedDict, cast

from langchain.agents.middleware import AgentState, ModelRequest
from langchain.agents.middleware.types import PrivateStateAttr, ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables.config import ensure_config

from comem_memory.chat import parts_of
from comem_memory.config import Mode
from comem_memory.files import trajectory_of
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Message
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.trajectory import SUCCESS, Step
from comem_memory.types import MemoryHit

from ..failures import OnError, deliver, tolerating
from .giving import GivesMemory, NamespaceOf, user_of
from .messages import to_messages
from .remembering import Turn, is_said

Outcome = Callable[[Sequence[AnyMessage], Exception | None], str]
"""From a run's messages, and the error that ended it if one did, to how it ended."""


def success_without_error(messages: Sequence[AnyMessage], error: Exception | None) -> str:
    """`success` for a run that ended without an error, else `error`."""
    return SUCCESS if error is None else "error"


class Run(TypedDict):
    """What an agent does for one task, from the user's message to its answer.

    Keys:
        said_id: Of the user's message.
        task: What it says as the model is shown it: other middleware may have hidden something.
        key: The id of the item that the run becomes.
        recalled: Ids of the items that the model is given in every call, best first.
    """

    said_id: str
    task: str
    key: str
    recalled: list[str]


class RunState(AgentState[Any]):
    """An agent's state, with its run by the middleware's name."""

    comem_runs: NotRequired[Annotated[dict[str, Run | None], PrivateStateAttr]]


class ComemTrajectoryMiddleware(GivesMemory[RunState]):
    """Keeps each run of an agent as one trajectory, and gives the model trajectories of similar tasks.

    For agents that act in steps, as in a browser, where `ComemMiddleware` is for conversations. A run begins with what
    the user said last, its task, and ends with the agent's answer.

    Once a run, at its start, items are recalled that fit the task and the last picture beside it; the model gets the
    same ones in every call, in the ways of `ComemMiddleware`. At the end the run becomes one item (`Trajectory`): a
    step for each of the agent's messages, with the picture before it (a tool's result or the user's), its tool calls as
    the action and its text as the reasoning; texts of tools' results are not in it. A run in which no tool was called
    and nothing seen is not kept.

    A run that a model or tool ends with an error is kept up to there; when it is tried again or resumed, the whole run
    takes its place, as does a run that begins with the same message of the same thread. What ends an agent from outside
    (its recursion limit, a cancelled task, a killed process) no middleware is told of: such a run is kept when it is
    resumed and ends.

    List it after what hides or replaces anything (`PIIMiddleware`), and not beside what shortens the conversation: what
    a summary takes out of the messages before the run ends is not in the trajectory.

    Args:
        memory: The memory that is recalled from and written to.
        k: Items to recall for the task; 0 recalls nothing.
        where: Filter on their metadata, such as `{"outcome": "success"}`.
        mode: As in `ComemMiddleware`.
        vectors: As in `ComemMiddleware`.
        namespace: As in `ComemMiddleware`: by default each `user_id` has trajectories of its own.
        require_user: As in `ComemMiddleware`.
        outcome: From a run's messages, and the error that ended it or `None`, to how it ended. Anything but `success`
            is told to a model that reads the trajectory. By default every run without an error is a success.
        tools: Give the agent `remember`, `recall` and `forget`.
        on_error: As in `ComemMiddleware`.
        name: Of the middleware within the agent. One of two needs another.

    Examples:
        >>> keep = ComemTrajectoryMiddleware(memory, where={"outcome": "success"})                  # doctest: +SKIP
        >>> agent = create_agent(chat, tools=[click, type_text], middleware=[keep])                 # doctest: +SKIP
    """

    state_schema = RunState

    def __init__(
        self,
        memory: ContinuousMemory,
        *,
        k: int = 3,
        where: Filter | None = None,
        mode: Mode | None = None,
        vectors: bool = False,
        namespace: NamespaceOf = user_of,
        require_user: bool = False,
        outcome: Outcome = success_without_error,
        tools: bool = False,
        on_error: OnError = "log",
        name: str = "ComemTrajectoryMiddleware",
    ) -> None:
        super().__init__(
            memory,
            k=k,
            where=where,
            mode=mode,
            vectors=vectors,
            namespace=namespace,
            require_user=require_user,
            tools=tools,
            on_error=on_error,
            name=name,
        )
        self.outcome = outcome

    # -- before the run -----------------------------------------------------------------------------------------

    def before_agent(self, state: RunState, runtime: Any) -> dict[str, Any]:
        messages, view = state["messages"], self._view(runtime)
        said = _task_of(messages)
        run = None
        if said is not None:
            hits: list[MemoryHit] = []
            with tolerating(self.on_error, "what the memory holds"):
                hits = self._search(view, messages, said)
            run = Run(said_id=str(said.id), task="", key=self._key(said), recalled=[hit.id for hit in hits])
        return self._update(state, run)

    async def abefore_agent(self, state: RunState, runtime: Any) -> dict[str, Any]:
        return await run_in_thread(lambda _: self.before_agent(state, runtime))

    def before_model(self, state: RunState, runtime: Any) -> dict[str, Any] | None:
        """Notes the task, which a summary may take out of the messages before the run ends."""
        run = self._run(state)
        shown = [message.text for message in state["messages"] if run is not None and message.id == run["said_id"]]
        return (
            self._update(state, Run(**run | {"task": shown[0]})) if run and shown and shown[0] != run["task"] else None
        )

    def _search(self, view: ContinuousMemory, messages: Sequence[AnyMessage], said: HumanMessage) -> list[MemoryHit]:
        """Items for a task, but none of the runs that the messages show."""
        if self.k == 0 or self.mode == "none":
            return []
        beside = to_messages(messages[messages.index(said) :], skip_unreadable=True)
        pictures = [part for turn in beside for part in parts_of(turn) if part["type"] == "image"]
        asked: Message = {"role": "user", "content": [{"type": "text", "text": said.text}, *pictures[-1:]]}
        shown = {self._key(message) for message in messages if isinstance(message, HumanMessage)}
        found = view.search_turn([asked], k=self.k + len(shown), where=self.where)
        return [hit for hit in found if hit.id not in shown][: self.k]

    # -- around model and tools (`GivesMemory`) -----------------------------------------------------------------

    def _recall(self, view: ContinuousMemory, request: ModelRequest[Any]) -> tuple[list[MemoryHit], bool]:
        run = self._run(cast(RunState, request.state))
        hits: list[MemoryHit] = []
        if run is not None and run["recalled"]:
            with tolerating(self.on_error, "what the memory holds"):
                hits = view.get(run["recalled"], skip_missing=True)
        return hits, False

    def _keep_failed(self, request: ModelRequest[Any] | ToolCallRequest, error: Exception) -> None:
        self._keep(cast(RunState, request.state), request.runtime, error)

    # -- after the run ------------------------------------------------------------------------------------------

    def after_agent(self, state: RunState, runtime: Any) -> None:
        self._keep(state, runtime, None)

    async def aafter_agent(self, state: RunState, runtime: Any) -> None:
        await run_in_thread(lambda _: self.after_agent(state, runtime))

    def _keep(self, state: RunState, runtime: Any, error: Exception | None) -> None:
        """Stores the run as far as it came, in the place of what was stored of it."""
        on_error = self.on_error if error is None else "log"  # that the memory fails too hides no other error
        run, view = self._run(state), self._view(runtime)
        if run is None or not run["task"].strip():
            return
        messages = _messages_of(run, state["messages"])
        read = trajectory_of(messages)
        if read is None:
            return
        kept = read.model_copy(
            update={
                "id": run["key"],
                "steps": read.steps if view.keeps_pictures else tuple(map(_without_picture, read.steps)),
                "outcome": self.outcome(messages, error),
            }
        )
        deliver(view, {run["key"]: lambda memory: memory.add(kept, truncate=True)}, on_error)

    def _key(self, said: HumanMessage) -> str:
        """The id of the item that a run becomes which begins with this message of the current thread."""
        thread = str(ensure_config()["configurable"].get("thread_id", ""))
        return f"run-{Turn([said], said, thread, self.name, self.memory.redact).key}"

    def _run(self, state: RunState) -> Run | None:
        return (state.get("comem_runs") or {}).get(self.name)

    def _update(self, state: RunState, run: Run | None) -> dict[str, Any]:
        return {"comem_runs": (state.get("comem_runs") or {}) | {self.name: run}}


def _task_of(messages: Sequence[AnyMessage]) -> HumanMessage | None:
    """The last message with words that the user said after the agent's last one."""
    new = takewhile(lambda message: not isinstance(message, AIMessage), reversed(messages))
    said = (message for message in new if isinstance(message, HumanMessage) and is_said(message))
    return next((message for message in said if message.text.strip()), None)


def _messages_of(run: Run, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The run's messages; where a summary took out the first of them, the task and what is left."""
    starts = [at for at, message in enumerate(messages) if message.id == run["said_id"]]
    return list(messages[starts[0] :]) if starts else [HumanMessage(run["task"], id=run["said_id"]), *messages]


def _without_picture(step: Step) -> Step:
    return step.model_copy(update={"picture": None})
