"""`ComemTrajectoryMiddleware`: what an agent did for a task, kept as one trajectory and recalled for later tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Annotated, Any, NotRequired, TypedDict, cast

from langchain.agents.middleware import AgentState, ModelRequest
from langchain.agents.middleware.types import PrivateStateAttr, ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables.config import ensure_config

from comem_memory.chat import parts_of
from comem_memory.config import Mode
from comem_memory.files.agent_messages import read_messages
from comem_memory.files.trajectory_files import with_whole_pictures
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Message
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.trajectory import SUCCESS, UNFINISHED, Step, Trajectory
from comem_memory.types import MemoryHit

from ..failures import OnError, deliver, tolerating
from .giving import GivesMemory, NamespaceOf, user_of
from .messages import to_messages
from .remembering import Turn, is_said

logger = logging.getLogger(__name__)

Outcome = Callable[[Sequence[AnyMessage], Exception | None], str]
"""From a run's messages, and the error that ended it if one did, to how it ended."""

ERROR = "error"

MOST_FAILING = 1000
"""Runs of which a middleware knows that their last call of the model failed."""


class Run(TypedDict):
    """What an agent does for one task, from the user's message to its answer.

    Keys:
        said_id: Of the user's message.
        task: What it says as the model is shown it: other middleware may have hidden something.
        key: The id of the item that the run becomes.
        recalled: Ids of the items that the model is given in every call, best first; `None` before the first.
        answer_id: Of the last message that the model made.
    """

    said_id: str
    task: str
    key: str
    recalled: list[str] | None
    answer_id: str


class RunState(AgentState[Any]):
    """An agent's state, with its run by the middleware's name."""

    comem_runs: NotRequired[Annotated[dict[str, Run | None], PrivateStateAttr]]


class ComemTrajectoryMiddleware(GivesMemory[RunState]):
    """Keeps each run of an agent as one trajectory, and gives the model trajectories of similar tasks.

    For agents that act in steps, as in a browser, where `ComemMiddleware` is for conversations. A run begins with what
    the user said last, its task, and ends with the agent's answer.

    Once a run, before the first call of the model, items are recalled that fit the task and the last picture beside it;
    the model gets the same ones in every call, in the ways of `ComemMiddleware`. At the end the run becomes one item
    (`Trajectory`): a step for each of the agent's messages, with the picture before it (a tool's result or the user's),
    its tool calls as the action and its text as the reasoning; texts of tools' results are not in it, nor calls that
    failed or that a person refused, nor pictures that cannot be opened. A run in which no tool was called and nothing
    seen is not kept.

    A run that a model or tool ends with an error is kept up to there; when it is tried again or resumed, the whole run
    takes its place, as does a run that begins with the same message of the same thread. What ends an agent from outside
    (its recursion limit, a cancelled task, a killed process) or waits for a person no middleware is told of: such a run
    is kept when it is resumed and ends, or as `unfinished` when the user says something else in its thread.

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
        outcome: From a run's messages, and the error that was raised or `None`, to how it ended. Anything but `success`
            is told to a model that reads the trajectory. By default a run is a `success` if its last message is the
            model's, an `error` if the model or a tool failed, and else `unfinished`, as where a limit ends it.
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
        outcome: Outcome | None = None,
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
        self._failing: dict[tuple[str, str], None] = {}

    # -- before the run -----------------------------------------------------------------------------------------

    def before_agent(self, state: RunState, runtime: Any) -> dict[str, Any] | None:
        messages, view, before = state["messages"], self._view(runtime), self._run(state)
        said = _task_of(messages)
        if said is None:  # the run goes on, if there is one
            return None
        if before is not None and before["said_id"] != said.id:  # it was left where it stood
            self._keep_left(view, before, messages[: messages.index(said)])
        return self._update(state, Run(said_id=str(said.id), task="", key="", recalled=None, answer_id=""))

    async def abefore_agent(self, state: RunState, runtime: Any) -> dict[str, Any] | None:
        return await run_in_thread(lambda _: self.before_agent(state, runtime))

    def before_model(self, state: RunState, runtime: Any) -> dict[str, Any] | None:
        """Recalls, once a run, and notes the task, which a summary may take out of the messages before the run ends.

        Here, since what `PIIMiddleware` hides is hidden from now on.
        """
        run = self._run(state)
        shown = (message for message in state["messages"] if run is not None and message.id == run["said_id"])
        said = next(shown, None)
        if run is None or not isinstance(said, HumanMessage):
            return None
        now = run | {"task": said.text}
        if run["recalled"] is None:
            hits: list[MemoryHit] = []
            with tolerating(self.on_error, "what the memory holds"):
                hits = self._search(self._view(runtime), state, said)
            now |= {"key": self._key(said, self.name), "recalled": [hit.id for hit in hits]}
        return None if now == run else self._update(state, now)

    async def abefore_model(self, state: RunState, runtime: Any) -> dict[str, Any] | None:
        return await run_in_thread(lambda _: self.before_model(state, runtime))

    def _keep_left(self, view: ContinuousMemory, run: Run, messages: Sequence[AnyMessage]) -> None:
        """Stores a run that nobody resumed, without calls that nothing came of; one that an error ended is stored."""
        waiting = any(isinstance(last, AIMessage) and last.tool_calls for last in messages[-1:])
        with tolerating(self.on_error, "a run that was not resumed"):
            if run["task"] and not view.get([run["key"]], skip_missing=True):
                done = messages[:-1] if waiting else messages
                self._keep(view, run, done, lambda _: UNFINISHED, self.on_error)

    def _search(self, view: ContinuousMemory, state: RunState, said: HumanMessage) -> list[MemoryHit]:
        """Items for a task, but none of the runs that the messages show."""
        if self.k == 0 or self.mode == "none":
            return []
        messages = state["messages"]
        beside = to_messages(messages[messages.index(said) :], skip_unreadable=True)
        pictures = [part for turn in beside for part in parts_of(turn) if part["type"] == "image"]
        asked: Message = {"role": "user", "content": [{"type": "text", "text": said.text}, *pictures[-1:]]}
        names = state.get("comem_runs") or {}  # of all middlewares of this kind
        shown = {self._key(one, name) for one in messages if isinstance(one, HumanMessage) for name in names}
        found = view.search_turn([asked], k=self.k + len(shown), where=self.where)
        return [hit for hit in found if hit.id not in shown][: self.k]

    # -- around model and tools (`GivesMemory`) -----------------------------------------------------------------

    def _recall(self, view: ContinuousMemory, request: ModelRequest[Any]) -> tuple[list[MemoryHit], bool]:
        run = self._run(cast(RunState, request.state))
        hits: list[MemoryHit] = []
        if run is not None:
            self._failing.pop((view.name, run["key"]), None)  # it is asked again
            with tolerating(self.on_error, "what the memory holds"):
                hits = view.get(run["recalled"], skip_missing=True) if run["recalled"] else []
        return hits, False

    def _keep_failed(self, request: ModelRequest[Any] | ToolCallRequest, error: Exception) -> None:
        state = cast(RunState, request.state)
        run, view = self._run(state), self._view(request.runtime)
        if run is None:
            return
        if isinstance(request, ModelRequest):
            self._failing[view.name, run["key"]] = None
            while len(self._failing) > MOST_FAILING:
                self._failing.pop(next(iter(self._failing)), None)
        # That the memory fails too hides no other error.
        self._keep(view, run, state["messages"], self._ended(ERROR, error), "log")

    def after_model(self, state: RunState, runtime: Any) -> dict[str, Any] | None:
        """Notes the model's message: another one at the end is of what ended the run in its place, such as a limit."""
        run = self._run(state)
        made = _last_of_model(state["messages"])
        if run is None or made is None or (self._view(runtime).name, run["key"]) in self._failing:
            return None
        return self._update(state, run | {"answer_id": str(made.id)})

    # -- after the run ------------------------------------------------------------------------------------------

    def after_agent(self, state: RunState, runtime: Any) -> dict[str, Any]:
        run, view = self._run(state), self._view(runtime)
        if run is not None:
            last = _last_of_model(state["messages"])
            ended = SUCCESS if last is not None and str(last.id) == run["answer_id"] else UNFINISHED
            if (view.name, run["key"]) in self._failing:  # what asks again when a model fails has answered in its place
                self._failing.pop((view.name, run["key"]), None)
                ended = ERROR
            self._keep(view, run, state["messages"], self._ended(ended), self.on_error)
        return self._update(state, None)

    async def aafter_agent(self, state: RunState, runtime: Any) -> dict[str, Any]:
        return await run_in_thread(lambda _: self.after_agent(state, runtime))

    def _keep(
        self,
        view: ContinuousMemory,
        run: Run,
        messages: Sequence[AnyMessage],
        outcome: Callable[[Sequence[AnyMessage]], str],
        on_error: OnError,
    ) -> None:
        """Stores the run as far as it came, in the place of what was stored of it.

        Args:
            view: Where to store.
            run: The run.
            messages: The thread's, up to the run's last.
            outcome: From the run's messages to how it ended.
            on_error: As the middleware's.
        """
        if not run["task"].strip():
            return
        try:
            kept = _trajectory_of(run, _messages_of(run, messages), outcome, pictures=view.keeps_pictures)
        except Exception:
            if on_error == "raise":
                raise
            logger.warning("A run cannot be made into a trajectory and is not kept.", exc_info=True)
            return
        if kept is not None:
            deliver(view, {run["key"]: lambda memory: memory.add(kept, truncate=True)}, on_error)

    def _ended(self, how: str, error: Exception | None = None) -> Callable[[Sequence[AnyMessage]], str]:
        """How a run ended, if `outcome` does not say otherwise."""
        return lambda messages: how if self.outcome is None else self.outcome(messages, error)

    def _key(self, said: HumanMessage, name: str) -> str:
        """The id of the item that a middleware makes of a run which begins with this message of the current thread."""
        thread = str(ensure_config()["configurable"].get("thread_id", ""))
        return f"run-{name}-{Turn([said], said, thread, name, self.memory.redact).key}"

    def _run(self, state: RunState) -> Run | None:
        return (state.get("comem_runs") or {}).get(self.name)

    def _update(self, state: RunState, run: Run | None) -> dict[str, Any]:
        return {"comem_runs": (state.get("comem_runs") or {}) | {self.name: run}}


def _last_of_model(messages: Sequence[AnyMessage]) -> AIMessage | None:
    return next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)


def _task_of(messages: Sequence[AnyMessage]) -> HumanMessage | None:
    """The last message with words that the user said after the agent's last one."""
    new = takewhile(lambda message: not isinstance(message, AIMessage), reversed(messages))
    said = (message for message in new if isinstance(message, HumanMessage) and is_said(message))
    return next((message for message in said if message.text.strip()), None)


def _messages_of(run: Run, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The run's messages; where a summary took out the first of them, the task and what is left."""
    starts = [at for at, message in enumerate(messages) if message.id == run["said_id"]]
    return list(messages[starts[0] :]) if starts else [HumanMessage(run["task"], id=run["said_id"]), *messages]


def _trajectory_of(
    run: Run, messages: Sequence[AnyMessage], outcome: Callable[[Sequence[AnyMessage]], str], *, pictures: bool
) -> Trajectory | None:
    """What is kept of a run: its messages as a trajectory, if anything was done; what is left out is logged."""
    told: list[str] = []
    read = read_messages(messages, told.append)
    if read is None:
        return None
    if pictures:
        read = with_whole_pictures(read, told.append)
    else:
        read = read.model_copy(update={"steps": tuple(map(_without_picture, read.steps))})
    if told:
        logger.warning("Of a run is left out: %s.", "; ".join(told))
    return read.model_copy(update={"id": run["key"], "outcome": outcome(messages)})


def _without_picture(step: Step) -> Step:
    return step.model_copy(update={"picture": None})
