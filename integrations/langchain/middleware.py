"""`ComemMiddleware`: memory for any agent made with `create_agent`."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, NotRequired, TypedDict, cast

from langchain.agents.middleware import AgentState, ModelRequest
from langchain.agents.middleware.types import PrivateStateAttr, ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables.config import ensure_config

from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit, MemoryItem

from ..extraction import Facts, extracted
from ..failures import Job, OnError, deliver, tolerating
from ..keeping import BY, as_items, kept_of
from .giving import GivesMemory, NamespaceOf, user_of
from .messages import to_messages
from .remembering import TURN, Remember, Turn, known_turns, store_turn, turns_of

logger = logging.getLogger(__name__)

SEEN = 10_000
"""Turns of which a middleware itself knows that they are settled; for those before, it asks the memory."""
FEW = 8
"""More items that are searched for at first, in place of those that the conversation shows."""


class Turns(TypedDict):
    """What a middleware knows of an agent's conversation.

    Keys:
        said: What the user said last, which a summary may take out of the messages before it is stored.
        settled: The turns that are remembered, or need not be: `Turn.words` by the id of the user's message.
    """

    said: HumanMessage | None
    settled: dict[str, str]


class TurnState(AgentState[Any]):
    """An agent's state, with its turns by the middleware's name."""

    comem_turns: NotRequired[Annotated[dict[str, Turns], PrivateStateAttr]]
    comem_said: NotRequired[Annotated[HumanMessage | None, PrivateStateAttr]]
    """In threads that version 0.1.0 began, whose turns are remembered without notes."""


class ComemMiddleware(GivesMemory[TurnState]):
    r"""Recalls before each call of the model, remembers each turn, and gives the agent memory tools.

    A `ChatComem` with the same memory gets the items as its mode says; any other model gets their texts in the system
    turn. Turns that the model is shown as messages are not recalled too.

    A turn is remembered when the agent has answered; when model or tool fail, what the user said is; and before the
    model is called, whatever earlier turn of the conversation is not remembered yet. Within a thread, the ids of
    messages tell them apart: when an id comes back with another content or answer, the new turn takes the old one's
    place. Without a thread, as in a history that is passed without a checkpointer, the words do too. What is deleted
    from the memory is not remembered again, as long as the checkpointer, this object or a later turn in the memory
    tells that it once was. Items to which `remember` gives an id are not known as turns.

    List it after what hides or replaces anything (`PIIMiddleware`, `ModelFallbackMiddleware`).

    Args:
        memory: The memory that is recalled from and written to.
        k: Items to recall for the last user turn; 0 recalls nothing.
        where: Filter on their metadata.
        mode: How the model is given the items: `memory` (vectors), `text`, `both` or `none`; by default as the
            `ChatComem` does. Any other model gets texts, unless it is `none`, or as `vectors` says.
        vectors: Whether models other than `ChatComem` get vectors too, as `mode` says or else the memory's own: for
            those that ask a vLLM server which runs this memory's model with `--enable-prompt-embeds
            --trust-request-chat-template`, as `ChatOpenAI(base_url=...)` can (docs/guides/vllm.md). Both flags are for
            trusted clients: whoever reaches the server can bring it down.
        namespace: From the runtime to whose items, `None` for the memory's own namespace; by default `user_id` of its
            context or of the config's `configurable`, and the memory's own where neither is given.
        require_user: Refuse to go on where no namespace is named, instead of using the memory's own.
        remember: From the messages, up to the end of a turn, to what is stored of it: an item, several, or `None`. By
            default what the user said, without questions, requests and small talk; the same again is one item, and a
            correction takes the place of what it corrects (`keeping`). `last_turn` keeps every turn with its answer.
        extract: A chat model that writes down the facts of each turn instead, one item each, as structured output, and
            says which stored ones they replace. It is asked once a turn; where it fails, `remember` decides.
        tools: Give the agent `remember`, `recall` and `forget`.
        tell_nothing_known: Where the memory holds nothing about what the user said last, tell the model so in the
            system turn, so that it does not make something up. Otherwise it is asked as if there were no memory.
        on_error: With `log`, an agent whose memory fails goes on without it: nothing is recalled, and what cannot be
            stored waits in this process for the next call. `raise` raises. A wrong filter or namespace always raises.
        name: Of the middleware within the agent. One of two needs another, and `tools=False`.

    Examples:
        >>> agent = create_agent(chat, middleware=[ComemMiddleware(memory)], context_schema=Context) # doctest: +SKIP
        >>> agent.invoke({"messages": [...]}, context=Context(user_id="ada"))                        # doctest: +SKIP

        What is kept may be decided by a function of your own:

        >>> def orders(messages):
        ...     said = [message.text for message in messages if message.type == "human"][-1]
        ...     return [MemoryItem(text=line) for line in said.splitlines() if line.startswith("Order ")]
        >>> orders([HumanMessage("Hello\nOrder 17: two lamps\nOrder 18: a desk")])
        [MemoryItem(text='Order 17: two lamps', ...), MemoryItem(text='Order 18: a desk', ...)]
        >>> agent = create_agent(chat, middleware=[ComemMiddleware(memory, remember=orders)])         # doctest: +SKIP
    """

    state_schema = TurnState

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
        remember: Remember | None = None,
        extract: BaseChatModel | None = None,
        tools: bool = True,
        tell_nothing_known: bool = False,
        on_error: OnError = "log",
        name: str = "ComemMiddleware",
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
        self.remember, self.tell_nothing_known = remember, tell_nothing_known
        self.extract = None if extract is None else extract.with_structured_output(Facts)
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    # -- before the model ---------------------------------------------------------------------------------------

    def before_model(self, state: TurnState, runtime: Any) -> dict[str, Any] | None:
        turns, known = self._turns(state["messages"]), self._known(state)
        settled = known["settled"]
        if not settled and "comem_said" in state:
            settled = {str(turn.said.id): turn.words for turn in turns[:-1]}
        settled = self._catch_up(self._view(runtime), turns[:-1], settled)
        now = Turns(said=turns[-1].said if turns else known["said"], settled=settled)
        return None if now == known else self._update(state, now)

    async def abefore_model(self, state: TurnState, runtime: Any) -> dict[str, Any] | None:
        return await run_in_thread(lambda _: self.before_model(state, runtime))

    def _catch_up(self, view: ContinuousMemory, turns: Sequence[Turn], settled: dict[str, str]) -> dict[str, str]:
        """Remembers of earlier turns what is not, and returns which are settled now."""
        deliver(view, {}, "log")
        missing: Sequence[Turn] | None = [turn for turn in turns if settled.get(str(turn.said.id)) != turn.words]
        if missing and not settled:  # a thread that is new to us, or without a checkpointer: the memory may know it
            missing = None
            with tolerating(self.on_error, "whether earlier turns are remembered"):
                missing = self._missing(view, turns)
        if missing is None or (missing and not self._remember(view, missing, self.on_error)):
            return settled
        return {str(turn.said.id): turn.words for turn in turns}

    def _missing(self, view: ContinuousMemory, turns: Sequence[Turn]) -> Sequence[Turn]:
        """Turns after the last one that is known here or in the memory; what is unknown before it was deleted."""
        unseen = [turn.digest for turn in turns if (view.name, turn.digest) not in self._seen]
        unknown = set(unseen) - known_turns(view, unseen, self.name)
        known = (at for at, turn in enumerate(turns) if turn.digest not in unknown)
        return turns[max(known, default=-1) + 1 :]

    # -- around model and tools (`GivesMemory`) -----------------------------------------------------------------

    def _recall(self, view: ContinuousMemory, request: ModelRequest[Any]) -> tuple[list[MemoryHit], bool]:
        """The items for what the user said last, and whether the model is to be told that there are none."""
        k = 0 if self.mode == "none" else self.k
        turns = self._turns(request.messages)
        said = turns[-1].said if turns else self._known(cast(TurnState, request.state))["said"]
        if k == 0 or said is None:
            return [], False
        asked = to_messages([said], skip_unreadable=True)
        with tolerating(self.on_error, "what the memory holds"):
            hits: list[MemoryHit] = []
            found: list[MemoryHit] = []
            for more in sorted({min(len(turns), FEW), len(turns)}):
                found = view.search_turn(asked, k=k + more, where=self.where)
                shown = {turn.digest for turn in turns}
                hits = [hit for hit in found if hit.notes.get(TURN) not in shown]
                if len(hits) >= k or len(found) < k + more:
                    break
            return hits[:k], self.tell_nothing_known and not found
        return [], False

    def _keep_failed(self, request: ModelRequest[Any] | ToolCallRequest, error: Exception) -> None:
        """Remembers what the user said, which will not be answered."""
        state = cast(TurnState, request.state)
        self._remember(self._view(request.runtime), self._with_said(state)[-1:], "log")

    # -- after the turn -----------------------------------------------------------------------------------------

    def after_agent(self, state: TurnState, runtime: Any) -> dict[str, Any]:
        turns, settled = self._with_said(state), self._known(state)["settled"]
        if turns and self._remember(self._view(runtime), turns[-1:], self.on_error):
            settled = settled | {str(turns[-1].said.id): turns[-1].words}
        return self._update(state, Turns(said=None, settled=settled))

    async def aafter_agent(self, state: TurnState, runtime: Any) -> dict[str, Any]:
        return await run_in_thread(lambda _: self.after_agent(state, runtime))

    def _remember(self, view: ContinuousMemory, turns: Sequence[Turn], on_error: OnError) -> bool:
        """Whether all is stored now."""
        jobs: dict[str, Job] = {}
        for turn in turns:
            items = None if self.remember is None else _listed(self.remember(turn.messages), view)
            jobs[f"{self.name}/{turn.key}"] = partial(self._store, turn=turn, items=items)
        done = deliver(view, jobs, on_error)
        self._seen |= {(view.name, turn.digest): None for turn in turns}
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return done

    def _store(self, view: ContinuousMemory, turn: Turn, items: Sequence[MemoryItem] | None) -> None:
        """Stores what is remembered of a turn: the facts of `extract`, else these items, else what the user stated."""
        where: Filter = {BY: self.name}
        facts = None
        if self.extract is not None:
            whole = to_messages(turn.messages[turn.messages.index(turn.said) :], skip_unreadable=True)
            facts = extracted(view, whole, self.extract.invoke, where=where)
        if facts is not None:
            items = facts
        elif items is None:
            [said] = to_messages([turn.said], skip_unreadable=True)
            items = kept_of(said, view, where=where)
        store_turn(view, turn, items)

    def _with_said(self, state: TurnState) -> list[Turn]:
        """The turns, with what the user said last if a summary took it out."""
        messages, said = state["messages"], self._known(state)["said"]
        if said is not None and all(message.id != said.id for message in messages):
            messages = [said, *messages]
        return self._turns(messages)

    def _turns(self, messages: Sequence[AnyMessage]) -> list[Turn]:
        thread = str(ensure_config()["configurable"].get("thread_id", ""))
        return turns_of(messages, thread=thread, by=self.name, redact=self.memory.redact)

    def _known(self, state: TurnState) -> Turns:
        return (state.get("comem_turns") or {}).get(self.name, Turns(said=None, settled={}))

    def _update(self, state: TurnState, turns: Turns) -> dict[str, Any]:
        return {"comem_turns": (state.get("comem_turns") or {}) | {self.name: turns}}


def _listed(kept: MemoryItem | Sequence[MemoryItem] | None, view: ContinuousMemory) -> list[MemoryItem]:
    """What is remembered of a turn as items, without pictures beside texts where the memory keeps none."""
    return [
        item.model_copy(update={"image": None}) if item.text and not view.keeps_pictures else item
        for item in as_items(kept)
    ]
