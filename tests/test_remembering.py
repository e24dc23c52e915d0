"""Which turns of an agent's conversation are remembered, when, and what takes whose place."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.scripted import Scripted
from helpers.served import as_opened
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, SummarizationMiddleware
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.integrations.langchain import ComemMiddleware, last_turn
from comem_memory.integrations.langchain.remembering import turns_of
from comem_memory.testing import tiny_memory


@pytest.fixture(scope="module", params=["here", "served"])
def shared(request: pytest.FixtureRequest) -> Iterator[ContinuousMemory]:
    with tiny_memory() as memory, as_opened(request.param, memory) as seen:
        yield seen


@pytest.fixture
def memory(shared: ContinuousMemory) -> Iterator[ContinuousMemory]:
    yield shared
    for name in ("default", "ada", "bob"):
        shared.namespace(name).clear()


@pytest.fixture(params=[False, True], ids=["no checkpointer", "checkpointer"])
def saver(request: pytest.FixtureRequest) -> InMemorySaver | None:
    return InMemorySaver() if request.param else None


def agent_of(memory: ContinuousMemory, *answers: Any, saver: Any = None, around: Any = (), **settings: Any) -> Any:
    """Of an agent that keeps every turn, unless the settings say otherwise: which are kept is tested elsewhere."""
    says = [AIMessage(answer) if isinstance(answer, str) else answer for answer in answers]
    middleware = ComemMiddleware(memory, tools=False, **{"remember": last_turn, **settings})
    return create_agent(Scripted(answers=says), middleware=[*around, middleware], checkpointer=saver)


def config(thread: str = "1", **more: str) -> Any:
    return {"configurable": {"thread_id": thread} | more}


def say(agent: Any, *messages: AnyMessage, thread: str = "1", **more: str) -> list[AnyMessage]:
    return agent.invoke({"messages": list(messages)}, config=config(thread, **more))["messages"]


def human(text: str, id: str | None = None) -> HumanMessage:
    return HumanMessage(text, id=id)


def texts(memory: ContinuousMemory) -> list[str | None]:
    return sorted(hit.text for hit in memory.scan())


def test_turns_begin_with_the_user(memory: ContinuousMemory):
    summary = HumanMessage("A sum.", additional_kwargs={"lc_source": "summarization"})
    said = [summary, human("1"), AIMessage("2"), AIMessage("3"), human("4"), human("5"), AIMessage("6")]
    turns = turns_of(said, thread="", by="")
    assert [(turn.said.content, len(turn.messages)) for turn in turns] == [("1", 4), ("4", 5), ("5", 7)]
    assert turns_of([AIMessage("Hi.")], thread="", by="") == []


class TestWhatIsRemembered:
    def test_two_messages_at_once(self, memory: ContinuousMemory, saver: Any):
        say(agent_of(memory, "Fine.", saver=saver), human("My cat is Tom."), human("My dog is Rex."))
        assert texts(memory) == ["User: My cat is Tom.", "User: My dog is Rex.\nAssistant: Fine."]

    async def test_the_same_in_async(self, memory: ContinuousMemory, saver: Any):
        agent = agent_of(memory, "Fine.", RuntimeError("down"), saver=saver)
        await agent.ainvoke({"messages": [human("One."), human("Two.")]}, config=config())
        with pytest.raises(RuntimeError, match="down"):
            await agent.ainvoke({"messages": [human("Three.")]}, config=config())
        assert texts(memory) == ["User: One.", "User: Three.", "User: Two.\nAssistant: Fine."]

    def test_what_the_user_said_when_the_model_fails(self, memory: ContinuousMemory, saver: Any):
        agent = agent_of(memory, RuntimeError("down"), "Hello.", saver=saver)
        with pytest.raises(RuntimeError, match="down"):
            say(agent, human("My cat is Tom."))
        assert texts(memory) == ["User: My cat is Tom."]
        say(agent, human("Hi"))
        assert texts(memory) == ["User: Hi\nAssistant: Hello.", "User: My cat is Tom."]

    def test_an_attempt_that_failed_is_replaced_by_the_one_that_is_answered(self, memory: ContinuousMemory):
        agent = agent_of(memory, RuntimeError("down"), "Nice.")
        with pytest.raises(RuntimeError, match="down"):
            say(agent, human("My cat is Tom."))
        say(agent, human("My cat is Tom."))
        assert texts(memory) == ["User: My cat is Tom.\nAssistant: Nice."]
        retrying = ModelRetryMiddleware(max_retries=1, initial_delay=0, on_failure="error")
        say(agent_of(memory, RuntimeError("down"), "Good.", around=[retrying]), human("My dog is Rex."))
        assert texts(memory)[1:] == ["User: My dog is Rex.\nAssistant: Good."]

    def test_what_the_user_said_when_a_tool_fails(self, memory: ContinuousMemory):
        def broken() -> str:
            """Looks."""
            raise OSError("no disk")

        call = AIMessage("", tool_calls=[{"name": "broken", "args": {}, "id": "1"}])
        middleware = ComemMiddleware(memory, tools=False, remember=last_turn)
        agent = create_agent(Scripted(answers=[call]), tools=[broken], middleware=[middleware])
        with pytest.raises(OSError, match="no disk"):
            say(agent, human("My cat is Tom."))
        assert texts(memory) == ["User: My cat is Tom."]

    def test_a_run_that_was_cut_off_is_caught_up_after_a_restart(self, memory: ContinuousMemory):
        saver = InMemorySaver()
        cut = agent_of(memory, KeyboardInterrupt(), saver=saver)
        with pytest.raises(KeyboardInterrupt):
            say(cut, human("My cat is Tom."))
        assert texts(memory) == []
        say(agent_of(memory, "Fine.", saver=saver), human("And a dog."))
        assert texts(memory) == ["User: And a dog.\nAssistant: Fine.", "User: My cat is Tom."]

    def test_a_history_from_elsewhere(self, memory: ContinuousMemory):
        history = [human("My cat is Tom.", "1"), AIMessage("Nice.", id="2"), human("Hi", "3")]
        say(agent_of(memory, "Hello."), *history)
        expected = ["User: Hi\nAssistant: Hello.", "User: My cat is Tom.\nAssistant: Nice."]
        assert texts(memory) == expected

    def test_what_a_summary_takes_out_before_it_is_answered(self, memory: ContinuousMemory):
        summarize = SummarizationMiddleware(
            Scripted(answers=[AIMessage("A sum.")] * 4), trigger=("messages", 4), keep=("messages", 2)
        )
        saver = InMemorySaver()
        agent = agent_of(memory, *"abcdef", saver=saver, around=[summarize])
        for text in ("One", "Two", "Three", "Four"):
            say(agent, human(text))
        assert [text.splitlines()[0] for text in texts(memory) if text] == [
            "User: Four",
            "User: One",
            "User: Three",
            "User: Two",
        ]


class TestOnce:
    @pytest.mark.parametrize("with_ids", [True, False])
    def test_a_history_that_is_passed_again_and_again(self, memory: ContinuousMemory, with_ids: bool):
        asked: list[str] = []

        def remember(messages: Any) -> MemoryItem | None:
            asked.append(messages[-1].text)
            return None if "cat" in messages[-2].text else MemoryItem(text=f"{len(asked)} {messages[-2].text}")

        said: list[AnyMessage] = []
        agent = agent_of(memory, "a.", "b.", "c.", "d.", remember=remember)
        for number, text in enumerate(("A cat.", "A dog.", "A cat again.", "A cow.")):
            said.append(human(text, f"h{number}" if with_ids else None))
            answered = say(agent, *(m.model_copy(update={} if with_ids else {"id": None}) for m in said))
            said.append(answered[-1])
        assert asked == ["a.", "b.", "c.", "d."], "once each, also where nothing is remembered"
        assert texts(memory) == ["2 A dog.", "4 A cow."]

    def test_across_restarts(self, tmp_path: Path, saver: Any):
        history = [human("My cat is Tom.", "1"), AIMessage("Nice.", id="2"), human("Hi", "3")]
        for answer, last in (("Hello.", human("Hi", "3")), ("Bye.", human("Go.", "5"))):
            with tiny_memory(tmp_path) as memory:
                say(agent_of(memory, answer, saver=saver), *history, last)
                stored = texts(memory)
            history = [*history, AIMessage("Hello.", id="4")]
        assert stored == [
            "User: Go.\nAssistant: Bye.",
            "User: Hi\nAssistant: Hello.",
            "User: My cat is Tom.\nAssistant: Nice.",
        ]

    def test_what_is_deleted_does_not_come_back(self, memory: ContinuousMemory, saver: Any):
        agent = agent_of(memory, "Nice.", "Hello.", "Fine.", saver=saver)
        first = say(agent, human("My PIN is 1234.", "1"))
        memory.clear()
        second = say(agent, *([] if saver else first), human("Hi", "3"))
        assert texts(memory) == ["User: Hi\nAssistant: Hello."]
        restarted = agent_of(memory, "Fine.", saver=saver)
        say(restarted, *([] if saver else second), human("Go.", "5"))
        assert texts(memory) == ["User: Go.\nAssistant: Fine.", "User: Hi\nAssistant: Hello."]

    def test_turns_that_an_earlier_version_stored(self, memory: ContinuousMemory):
        memory.add(MemoryItem(text="User: My cat is Tom.\nAssistant: Nice."))
        say(agent_of(memory, "Hello."), human("My cat is Tom.", "1"), AIMessage("Nice."), human("Hi"))
        assert memory.count() == 2


class TestReplacing:
    def test_an_answer_that_is_made_again(self, memory: ContinuousMemory):
        saver = InMemorySaver()
        agent = agent_of(memory, "Nice.", "Hello.", "Hi there.", saver=saver)
        say(agent, human("My cat is Tom."))
        say(agent, human("Hi"))
        before = [state for state in agent.get_state_history(config()) if "model" in state.next]
        agent.invoke(None, before[0].config)
        assert texts(memory) == ["User: Hi\nAssistant: Hi there.", "User: My cat is Tom.\nAssistant: Nice."]

    def test_a_message_that_comes_back_with_other_words(self, memory: ContinuousMemory, saver: Any):
        agent = agent_of(memory, "Nice.", "Oh.", "Ah.", saver=saver)
        say(agent, human("My cat is Tom.", "1"))
        say(agent, human("My cat is Kit.", "1"))
        assert texts(memory) == ["User: My cat is Kit.\nAssistant: Oh."]
        say(agent, human("My cat is Max.", "1"), AIMessage("Oh.", id="2"), human("Well?", "3"))
        assert len(texts(memory)) == 2 and not any("Tom" in str(text) or "Kit" in str(text) for text in texts(memory))

    def test_an_edit_of_an_earlier_checkpoint(self, memory: ContinuousMemory):
        agent = agent_of(memory, "Nice.", "Oh.", saver=InMemorySaver())
        say(agent, human("My cat is Tom.", "1"))
        [start] = [state for state in agent.get_state_history(config()) if "model" in state.next]
        edited = agent.update_state(start.config, {"messages": [human("My cat is Kit.", "1")]})
        agent.invoke(None, edited)
        assert texts(memory) == ["User: My cat is Kit.\nAssistant: Oh."]

    def test_an_item_of_the_users_stays_when_a_turn_of_the_same_words_is_edited(self, memory: ContinuousMemory):
        def words(messages: Sequence[AnyMessage]) -> MemoryItem | None:
            return MemoryItem(text=messages[0].text)

        memory.add(MemoryItem(text="My cat is Tom.", metadata={"source": "profile"}))
        agent = agent_of(memory, "Nice.", "Oh.", saver=InMemorySaver(), remember=words)
        say(agent, human("My cat is Tom.", "1"))
        say(agent, human("My cat is Kit.", "1"))
        assert texts(memory) == ["My cat is Kit.", "My cat is Tom."]
        assert [hit.metadata for hit in memory.scan(where={"source": "profile"})] == [{"source": "profile"}]

    def test_a_turn_that_a_fact_took_the_place_of_is_not_remembered_again(self, memory: ContinuousMemory):
        messages = say(agent_of(memory, "Nice."), human("My cat is Tom.", "1"))
        [turn] = memory.scan()
        memory.add(MemoryItem(text="Ann's cat is Tom.", supersedes=turn.id))
        say(agent_of(memory, "Bye."), *messages, human("Good night.", "2"))
        assert texts(memory) == ["Ann's cat is Tom.", "User: Good night.\nAssistant: Bye."]

    def test_ids_of_conversations_without_a_thread_may_be_the_same(self, memory: ContinuousMemory):
        agent = agent_of(memory, "a", "b", "c")
        for text in ("My cat is Tom.", "My dog is Rex.", "My cat is Tom."):
            agent.invoke({"messages": [human(text, "1")]})
        assert texts(memory) == ["User: My cat is Tom.\nAssistant: c", "User: My dog is Rex.\nAssistant: b"]

    def test_ids_count_within_a_thread(self, memory: ContinuousMemory):
        agent = agent_of(memory, "a", "b", saver=InMemorySaver())
        say(agent, human("My cat is Tom.", "1"), thread="1")
        say(agent, human("My dog is Rex.", "1"), thread="2")
        assert memory.count() == 2

    def test_the_same_words_elsewhere_are_kept_when_one_is_edited(self, memory: ContinuousMemory):
        agent = agent_of(memory, "Nice.", "Nice.", "Oh.", saver=InMemorySaver())
        for thread in ("1", "2"):
            say(agent, human("My cat is Tom.", "1"), thread=thread)
        say(agent, human("My cat is Kit.", "1"), thread="2")
        assert "User: My cat is Tom.\nAssistant: Nice." in texts(memory) and memory.count() == 2

    def test_nothing_may_be_remembered_instead(self, memory: ContinuousMemory):
        def remember(messages: Any) -> MemoryItem | None:
            said = messages[-2].text
            return None if "secret" in said else MemoryItem(text=said)

        agent = agent_of(memory, "a", "b", remember=remember)
        say(agent, human("My cat is Tom.", "1"))
        say(agent, human("It is a secret.", "1"))
        assert texts(memory) == []

    def test_an_item_with_an_id_of_its_own_is_that_item_alone(self, memory: ContinuousMemory):
        agent = agent_of(memory, "a", "b", remember=lambda ms: MemoryItem(id="profile", text=f"{len(ms)} messages"))
        first = say(agent, human("One", "1"))
        say(agent, *first, human("Two", "3"))
        assert [(hit.id, hit.text, hit.metadata) for hit in memory.scan()] == [("profile", "4 messages", {})]


class TestRecall:
    def test_a_turn_that_is_shown_is_not_recalled_too(self, memory: ContinuousMemory, saver: Any):
        memory.add(MemoryItem(text="User: My cat has a name.\nAssistant: Which?"))
        first = say(agent_of(memory, "Nice.", saver=saver), human("My cat is called Tom.", "1"))
        scripted = Scripted(answers=[AIMessage("Tom.")])
        again = create_agent(scripted, middleware=[ComemMiddleware(memory, tools=False, k=1)], checkpointer=saver)
        say(again, *([] if saver else first), human("What is my cat called?", "3"))
        [system, *_] = scripted.seen[0]
        assert "My cat has a name." in system.text and "called Tom" not in system.text
        elsewhere = Scripted(answers=[AIMessage("Tom.")])
        say(create_agent(elsewhere, middleware=[ComemMiddleware(memory, tools=False, k=3)]), human("My cat is called?"))
        assert "called Tom" in elsewhere.seen[0][0].text


class TestTogether:
    def test_two_namespaces_and_threads_at_once(self, memory: ContinuousMemory):
        agent = agent_of(memory, *(["Fine."] * 8), saver=InMemorySaver())

        def talk(user: str, thread: str) -> None:
            for number in range(2):
                say(agent, human(f"{user} {thread} {number}", str(number)), thread=user + thread, user_id=user)

        threads = [threading.Thread(target=talk, args=(user, t)) for user in ("ada", "bob") for t in ("1", "2")]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        for user in ("ada", "bob"):
            assert texts(memory.namespace(user)) == sorted(
                f"User: {user} {t} {number}\nAssistant: Fine." for t in "12" for number in range(2)
            )
        assert memory.count() == 0

    def test_two_middlewares_in_one_agent(self, memory: ContinuousMemory):
        team = memory.namespace("bob")
        team.add(MemoryItem(text="Bob's blue door opens with a spoon."))
        memory.namespace("ada").add(MemoryItem(text="The blue door is Ada's."))
        model = Scripted(answers=[AIMessage("A spoon.")])
        mine = ComemMiddleware(memory.namespace("ada"), tools=False, k=1, remember=last_turn)
        theirs = ComemMiddleware(team, tools=False, k=1, name="team", remember=last_turn)
        say(create_agent(model, middleware=[mine, theirs]), human("What opens the blue door?"))
        assert "spoon" in model.seen[0][0].text and "Ada's" in model.seen[0][0].text
        for view in (team, memory.namespace("ada")):
            assert "User: What opens the blue door?\nAssistant: A spoon." in texts(view)

    def test_two_middlewares_remember_each_its_own(self, memory: ContinuousMemory):
        def fact(messages: Sequence[AnyMessage]) -> MemoryItem | None:
            return MemoryItem(text=f"Fact: {messages[0].text}")

        model = Scripted(answers=[AIMessage("Nice."), AIMessage("Oh.")])
        both = [
            ComemMiddleware(memory, tools=False, remember=last_turn),
            ComemMiddleware(memory, tools=False, name="facts", remember=fact),
        ]
        agent = create_agent(model, middleware=both, checkpointer=InMemorySaver())
        say(agent, human("My cat is Tom.", "1"))
        assert texts(memory) == ["Fact: My cat is Tom.", "User: My cat is Tom.\nAssistant: Nice."]
        say(agent, human("My cat is Kit.", "1"))
        assert texts(memory) == ["Fact: My cat is Kit.", "User: My cat is Kit.\nAssistant: Oh."]

    async def test_many_at_once_in_async(self, memory: ContinuousMemory):
        agent = agent_of(memory, *(["Fine."] * 6), saver=InMemorySaver())
        runs = [agent.ainvoke({"messages": [human(f"Fact {n}.")]}, config=config(str(n))) for n in range(6)]
        await asyncio.gather(*runs)
        assert texts(memory) == [f"User: Fact {n}.\nAssistant: Fine." for n in range(6)]
