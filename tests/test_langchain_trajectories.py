"""An agent's runs as trajectories: kept once each, recalled once a run, apart for each user."""

import base64
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.scripted import Scripted
from helpers.served import as_opened
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
)
from langchain.tools import tool
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import QueryError
from comem_memory.files import as_png
from comem_memory.integrations.langchain import ChatComem, ComemMiddleware, ComemTrajectoryMiddleware
from comem_memory.testing import tiny_memory
from comem_memory.testing.website import TASKS, View, click, follow, page_picture, type_into

MOVE, INVOICE = TASKS[:2]


def done() -> AIMessage:
    return AIMessage("Done.")


def shot(view: View) -> dict[str, str]:
    return {"type": "image", "base64": base64.b64encode(as_png(page_picture(view))).decode(), "mime_type": "image/png"}


def tools(broken_at: str = "") -> list[Any]:
    """A browser without a browser, which fails once it is to click this label."""
    at, broken = [View()], [broken_at]

    @tool("click")
    def press(label: str) -> list[dict[str, str]]:
        """Clicks a link or button."""
        if label in broken:
            broken.clear()
            raise OSError("no answer")
        at[0] = follow(at[0], click(label))
        return [shot(at[0])]

    @tool("type")
    def write(label: str, text: str) -> list[dict[str, str]]:
        """Types into a field."""
        at[0] = follow(at[0], type_into(label, text))
        return [shot(at[0])]

    return [press, write]


def calls(actions: Sequence[Any]) -> list[Any]:
    """A model that acts so."""
    return [
        AIMessage(
            f"I see {action.label}.",
            tool_calls=[
                {
                    "name": action.kind,
                    "args": {"label": action.label} | ({"text": action.text} if action.text else {}),
                    "id": str(n),
                }
            ],
        )
        for n, action in enumerate(actions)
    ]


def asked(text: str, id: str | None = None) -> Any:
    return {"messages": [HumanMessage([{"type": "text", "text": text}, shot(View())], id=id)]}


def agent_of(memory: ContinuousMemory, script: Sequence[Any], *, broken_at: str = "", **more: Any) -> Any:
    around, saver = more.pop("around", ()), more.pop("saver", None)
    middleware = [*around, ComemTrajectoryMiddleware(memory, **more)]
    return create_agent(Scripted(answers=[*script]), tools=tools(broken_at), middleware=middleware, checkpointer=saver)


def config(thread: str = "1", **more: str) -> Any:
    return {"configurable": {"thread_id": thread} | more}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("runs")) as memory:
        yield memory


@pytest.fixture
def memory(shared: ContinuousMemory) -> Iterator[ContinuousMemory]:
    yield shared
    for name in ("default", "ada", "bob"):
        shared.namespace(name).clear()


@pytest.mark.parametrize(("is_async", "where"), [(False, "here"), (True, "here"), (False, "served")])
async def test_a_run_is_one_trajectory_that_a_similar_task_recalls_in_each_call(
    memory: ContinuousMemory, is_async: bool, where: str
):
    async def run(model: Scripted, text: str) -> Any:
        keep = ComemTrajectoryMiddleware(seen, k=1)
        agent = create_agent(model, tools=tools(), middleware=[keep])
        return await agent.ainvoke(asked(text)) if is_async else agent.invoke(asked(text))

    with as_opened(where, memory) as seen:
        first = Scripted(answers=[*calls(MOVE.actions), done()])
        result = await run(first, MOVE.task)
        assert result.keys() == {"messages"}
        assert not any(isinstance(messages[0], SystemMessage) for messages in first.seen)
        [hit] = memory.scan()
        assert (hit.text, hit.metadata) == (MOVE.task, {"outcome": "success"})
        assert hit.content is not None
        pictures = [part for part in hit.content if isinstance(part, Path)]
        texts = [part for part in hit.content if isinstance(part, str)]
        assert [picture.read_bytes() for picture in pictures[:2]] == [
            as_png(page_picture(View())),
            as_png(page_picture(View("/help"))),
        ]
        assert len(pictures) == 5 and len(texts) == 5
        assert texts[0] == 'I see Help.\nclick(label="Help")' and texts[-1] == "Done."

        second = Scripted(answers=[*calls(MOVE.actions), done()])
        await run(second, MOVE.reworded)
        told = [messages[0].text for messages in second.seen]
        assert len(told) == 5 and len({*told}) == 1, "the same item in each call"
        assert MOVE.task in told[0] and 'click(label="Moving house")' in told[0]
        assert memory.count() == 2


def test_what_is_stored_during_a_run_is_not_recalled_in_it(memory: ContinuousMemory):
    memory.add(MemoryItem(id="far", text="A duck swims."))

    @tool("look")
    def look() -> str:
        """Looks."""
        memory.add(MemoryItem(id="near", text=MOVE.task))
        return "Nothing."

    model = Scripted(answers=[AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}]), done()])
    keep = ComemTrajectoryMiddleware(memory, k=1)
    create_agent(model, tools=[look], middleware=[keep]).invoke({"messages": [HumanMessage(MOVE.task)]})
    assert all("duck" in messages[0].text and MOVE.task not in messages[0].text for messages in model.seen)


def test_our_own_model_is_given_the_trajectory(memory: ContinuousMemory):
    agent_of(memory, [*calls(MOVE.actions[:2]), done()]).invoke(asked(MOVE.task))
    [hit] = memory.scan()
    keep = ComemTrajectoryMiddleware(memory, k=1)
    chat = ChatComem(memory=memory, max_tokens=4)
    answer = create_agent(chat, middleware=[keep]).invoke({"messages": [HumanMessage(MOVE.reworded)]})["messages"][-1]
    assert answer.response_metadata["memory_ids"] == [hit.id]
    assert memory.count() == 1, "a run without a step is none"


class TestOutcome:
    def test_a_run_that_fails_is_kept_up_to_there_and_then_replaced(self, memory: ContinuousMemory):
        agent = agent_of(memory, [*calls(MOVE.actions), done()], broken_at="Save", saver=InMemorySaver())
        with pytest.raises(OSError, match="no answer"):
            agent.invoke(asked(MOVE.task), config())
        [failed] = memory.scan()
        assert failed.metadata == {"outcome": "error"} and failed.content is not None
        assert failed.content[-1] == "Outcome: error" and 'type(label="Street"' in str(failed.content)
        agent.invoke(None, config())
        [hit] = memory.scan()
        assert (hit.id, hit.metadata) == (failed.id, {"outcome": "success"})

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_model_that_fails_ends_the_run_and_one_that_is_asked_again_does_not(
        self, memory: ContinuousMemory, is_async: bool
    ):
        script = [*calls(MOVE.actions[:1]), RuntimeError("down")]
        agent = agent_of(memory, script)
        with pytest.raises(RuntimeError, match="down"):
            await agent.ainvoke(asked(MOVE.task)) if is_async else agent.invoke(asked(MOVE.task))
        assert [hit.metadata["outcome"] for hit in memory.scan()] == ["error"]
        memory.clear()
        retry = ModelRetryMiddleware(max_retries=1, initial_delay=0, on_failure="error")
        agent = agent_of(memory, [*script, done()], around=[retry])
        await agent.ainvoke(asked(MOVE.task)) if is_async else agent.invoke(asked(MOVE.task))
        assert [hit.metadata["outcome"] for hit in memory.scan()] == ["success"]

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_last_message_that_is_not_the_models_is_no_success(self, memory: ContinuousMemory, is_async: bool):
        limit = ModelCallLimitMiddleware(run_limit=2, exit_behavior="end")
        retry = ModelRetryMiddleware(max_retries=1, initial_delay=0, on_failure="continue")
        for around, outcome in ((limit, "unfinished"), (retry, "error")):
            script = [*calls(MOVE.actions[:2]), RuntimeError("down"), RuntimeError("down")]
            agent = agent_of(memory, script, around=[around])
            await agent.ainvoke(asked(MOVE.task)) if is_async else agent.invoke(asked(MOVE.task))
            [hit] = memory.scan()
            assert hit.metadata == {"outcome": outcome} and str(hit.content).count("click(") == 2
            memory.clear()

    def test_a_call_that_a_person_refuses_is_not_in_it(self, memory: ContinuousMemory, caplog: Any):
        ask = HumanInTheLoopMiddleware(interrupt_on={"type": True})
        [help, *_], [street] = MOVE.actions, [action for action in MOVE.actions if action.label == "Street"]
        agent = agent_of(memory, [*calls([help, street]), done()], around=[ask], saver=InMemorySaver())
        agent.invoke(asked(MOVE.task), config())
        agent.invoke(Command(resume={"decisions": [{"type": "reject", "message": "No."}]}), config())
        [hit] = memory.scan()
        assert str(hit.content).count("click(") == 1 and "type(" not in str(hit.content)
        assert "1 calls of tools that failed or were refused" in caplog.text

    def test_a_function_that_fails_and_a_picture_that_is_damaged_end_no_run(
        self, memory: ContinuousMemory, caplog: Any
    ):
        def outcome(messages: Sequence[Any], error: Exception | None) -> str:
            raise KeyError("no answer")

        agent_of(memory, [*calls(MOVE.actions[:1]), done()], outcome=outcome).invoke(asked(MOVE.task))
        assert memory.count() == 0 and "A run cannot be made into a trajectory and is not kept." in caplog.text
        with pytest.raises(KeyError, match="no answer"):
            agent_of(memory, [*calls(MOVE.actions[:1]), done()], outcome=outcome, on_error="raise").invoke(
                asked(MOVE.task)
            )

        @tool("click")
        def press(label: str) -> list[dict[str, str]]:
            """Clicks, and gives half a picture."""
            whole = shot(View())
            return [whole | {"base64": whole["base64"][:80]}]

        model = Scripted(answers=[*calls(MOVE.actions[:1]), done()])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            create_agent(model, tools=[press], middleware=[ComemTrajectoryMiddleware(memory)]).invoke(asked(MOVE.task))
        [hit] = memory.scan()
        assert [type(part) is str for part in hit.content or ()] == [False, True, True]
        assert "Of a run is left out: a picture (" in caplog.text

    def test_a_function_says_how_it_ended_and_a_filter_takes_what_went_well(self, memory: ContinuousMemory):
        def outcome(messages: Sequence[Any], error: Exception | None) -> str:
            return "success" if error is None and messages[-1].text == "Done." else "gave up"

        wrong, right = [*calls(MOVE.wrong), AIMessage("I cannot.")], [*calls(MOVE.actions), done()]
        agent_of(memory, wrong, outcome=outcome).invoke(asked(MOVE.task))
        agent_of(memory, right, outcome=outcome).invoke(asked(MOVE.task))
        assert sorted(hit.metadata["outcome"] for hit in memory.scan()) == ["gave up", "success"]
        model = Scripted(answers=[done()])
        keep = ComemTrajectoryMiddleware(memory, where={"outcome": "success"})
        create_agent(model, middleware=[keep]).invoke(asked(MOVE.reworded))
        assert "Moving house" in model.seen[0][0].text and "gave up" not in model.seen[0][0].text


class TestOnce:
    def test_a_run_that_waits_for_a_person_across_a_restart(self, tmp_path: Path):
        ask, saver = HumanInTheLoopMiddleware(interrupt_on={"click": True}), InMemorySaver()
        with tiny_memory(tmp_path) as memory:
            memory.add(MemoryItem(id="known", text=MOVE.reworded))
            agent = agent_of(memory, calls(MOVE.actions[:1]), around=[ask], saver=saver)
            assert "__interrupt__" in agent.invoke(asked(MOVE.task), config())
            assert memory.count() == 1
            memory.add(MemoryItem(id="nearer", text=MOVE.task))
        with tiny_memory(tmp_path) as memory:
            model = Scripted(answers=[done()])
            again = create_agent(
                model, tools=tools(), middleware=[ask, ComemTrajectoryMiddleware(memory)], checkpointer=saver
            )
            again.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config())
            told = model.seen[0][0].text
            assert MOVE.reworded in told and MOVE.task not in told, "what was recalled at the start"
            assert sorted(hit.text or "" for hit in memory.scan() if hit.id.startswith("run-")) == [MOVE.task]

    def test_a_run_that_nobody_resumes_is_kept_when_the_user_says_something_else(self, memory: ContinuousMemory):
        ask = HumanInTheLoopMiddleware(interrupt_on={"click": True})
        agent = agent_of(memory, [*calls(MOVE.actions[:2]), done()], around=[ask], saver=InMemorySaver())
        agent.invoke(asked(MOVE.task), config())
        again = Command(resume={"decisions": [{"type": "approve"}]})
        assert "__interrupt__" in agent.invoke(again, config()) and memory.count() == 0
        agent.invoke(asked("Never mind."), config())
        kept = {hit.text: hit for hit in memory.scan()}
        assert kept[MOVE.task].metadata == {"outcome": "unfinished"}
        assert [part for part in kept[MOVE.task].content or () if isinstance(part, str)] == [
            f'I see {MOVE.actions[0].label}.\nclick(label="{MOVE.actions[0].label}")',
            "Outcome: unfinished",
        ], "what waited for a person was not done"

        agent = agent_of(memory, [*calls(MOVE.actions[:1]), RuntimeError("down"), done()], saver=InMemorySaver())
        with pytest.raises(RuntimeError, match="down"):
            agent.invoke(asked(INVOICE.task), config("2"))
        agent.invoke(asked("Never mind."), config("2"))
        [failed] = [hit for hit in memory.scan() if hit.text == INVOICE.task]
        assert failed.metadata == {"outcome": "error"}

    def test_a_run_that_is_made_again_takes_the_place_of_the_first(self, memory: ContinuousMemory):
        agent = agent_of(memory, [*calls(MOVE.wrong), done(), *calls(MOVE.actions[:2]), done()], saver=InMemorySaver())
        agent.invoke(asked(MOVE.task), config())
        [start] = [state for state in agent.get_state_history(config()) if state.next == ("__start__",)]
        agent.invoke(asked(MOVE.task, id=agent.get_state(config()).values["messages"][0].id), start.config)
        [hit] = memory.scan()
        assert "Moving house" in str(hit.content)

    def test_runs_of_one_thread_are_apart_and_not_recalled_while_they_are_shown(self, memory: ContinuousMemory):
        script = [*calls(MOVE.wrong), done(), *calls(MOVE.actions[:1]), done()]
        model = Scripted(answers=script)
        keep = ComemTrajectoryMiddleware(memory)
        agent = create_agent(model, tools=tools(), middleware=[keep], checkpointer=InMemorySaver())
        agent.invoke(asked(MOVE.task), config())
        agent.invoke(asked(MOVE.task), config())
        assert not any(isinstance(messages[0], SystemMessage) for messages in model.seen)
        assert memory.count() == 2
        [first] = [hit for hit in memory.scan() if "Where we deliver" in str(hit.content)]
        [second] = [hit for hit in memory.scan() if 'click(label="Help")' in str(hit.content)]
        assert first.id != second.id and "Where we deliver" not in str(second.content)

    def test_what_a_summary_takes_out_does_not_take_the_task_nor_bring_back_what_was_hidden(
        self, memory: ContinuousMemory
    ):
        summary = Scripted(answers=[AIMessage("A sum.")] * 8)
        shorten = SummarizationMiddleware(summary, trigger=("messages", 6), keep=("messages", 2))
        hide = PIIMiddleware("email", strategy="redact")
        agent = agent_of(memory, [*calls(MOVE.actions), done()], around=[hide, shorten])
        agent.invoke({"messages": [HumanMessage(f"{MOVE.task} I am ada@example.com")]})
        [hit] = memory.scan()
        assert hit.text == f"{MOVE.task} I am [REDACTED_EMAIL]" and 'click(label="Save")' in str(hit.content)

    def test_what_is_hidden_is_not_searched_for_and_a_shown_run_is_known_by_what_is_left(
        self, memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch
    ):
        searched: list[str] = []
        search = ContinuousMemory.search_turn

        def noting(view: ContinuousMemory, messages: Any, **more: Any) -> Any:
            searched.append(str(messages))
            return search(view, messages, **more)

        monkeypatch.setattr(ContinuousMemory, "search_turn", noting)
        model = Scripted(answers=[*calls(MOVE.actions[:1]), done(), done()])
        middleware = [PIIMiddleware("email", strategy="redact"), ComemTrajectoryMiddleware(memory)]
        agent = create_agent(model, tools=tools(), middleware=middleware)
        history = agent.invoke({"messages": [HumanMessage(f"{MOVE.task} I am ada@example.com")]})["messages"]
        assert memory.count() == 1
        agent.invoke({"messages": [*history, HumanMessage(MOVE.task)]})
        assert len(searched) == 2 and "ada@example.com" not in str(searched)
        assert not isinstance(model.seen[-1][0], SystemMessage)


class TestApart:
    def test_nothing_of_one_user_reaches_another(self, memory: ContinuousMemory):
        agent_of(memory, [*calls(MOVE.actions[:1]), done()]).invoke(asked(MOVE.task), config(user_id="ada"))
        assert [memory.namespace(name).count() for name in ("ada", "bob", "default")] == [1, 0, 0]
        for user, knows in (("bob", False), ("ada", True)):
            model = Scripted(answers=[done()])
            keep = ComemTrajectoryMiddleware(memory)
            create_agent(model, middleware=[keep]).invoke(asked(MOVE.task), config("2", user_id=user))
            assert isinstance(model.seen[0][0], SystemMessage) == knows
        with pytest.raises(QueryError, match="whose memory this is"):
            agent_of(memory, [done()], require_user=True).invoke(asked(MOVE.task), config("3"))

    def test_two_middlewares_keep_a_memory_each(self, memory: ContinuousMemory):
        team = ComemTrajectoryMiddleware(memory.namespace("bob"), namespace=lambda _: None, name="team")
        agent_of(memory, [*calls(MOVE.actions[:1]), done()], around=[team]).invoke(
            asked(MOVE.task), config(user_id="ada")
        )
        assert [memory.namespace(name).count() for name in ("ada", "bob", "default")] == [1, 1, 0]

    def test_two_middlewares_in_one_memory_keep_an_item_each(self, memory: ContinuousMemory):
        second = ComemTrajectoryMiddleware(memory, name="second", outcome=lambda messages, error: "checked")
        agent = agent_of(memory, [*calls(MOVE.actions[:1]), done(), done()], around=[second], saver=InMemorySaver())
        agent.invoke(asked(MOVE.task), config())
        assert sorted(hit.metadata["outcome"] for hit in memory.scan()) == ["checked", "success"]
        model = Scripted(answers=[done()])
        again = create_agent(model, middleware=[ComemMiddleware(memory), second, ComemTrajectoryMiddleware(memory)])
        again.invoke(asked(MOVE.reworded))
        assert model.seen[0][0].text.count("click(") == 2, "each item is told once"


def test_a_memory_without_pictures_keeps_the_actions():
    with tiny_memory() as memory:
        agent_of(memory, [*calls(INVOICE.actions), done()]).invoke(asked(INVOICE.task))
        [hit] = memory.scan()
        assert hit.image is None and 'click(label="Older papers")' in (hit.full_text or "")


def test_a_memory_that_fails_stops_no_agent(memory: ContinuousMemory, caplog: pytest.LogCaptureFixture):
    closed = tiny_memory()
    closed.close()
    agent_of(closed, [*calls(MOVE.actions[:1]), done()]).invoke(asked(MOVE.task))
    assert "is left out" in caplog.text and "cannot be stored" in caplog.text
    with pytest.raises(RuntimeError, match="down"):
        agent_of(closed, [*calls(MOVE.actions[:1]), RuntimeError("down")], on_error="log").invoke(asked(MOVE.task))
