"""A memory whose Chroma server stops and comes back: what is gone on with, and what is kept."""

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import chroma_server
from helpers.scripted import Scripted
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.base.llms.types import ChatMessage

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import InvalidItemError, QueryError, StoreConnectionError
from comem_memory.integrations import failures
from comem_memory.integrations.failures import Job, deliver
from comem_memory.integrations.langchain import ChatComem, ComemChatMessageHistory, ComemMiddleware, last_turn
from comem_memory.integrations.llama_index import ComemMemory, ComemMemoryBlock
from comem_memory.integrations.llama_index.messages import MEMORY_IDS
from comem_memory.memory import ContinuousMemory as Memory
from comem_memory.store import ChromaStore, identity_of
from comem_memory.testing import tiny_memory


class Server:
    """A Chroma server on loopback that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.running = folder, ExitStack()

    def start(self) -> str:
        return self.running.enter_context(chroma_server(self.folder, self.port))

    def stop(self) -> None:
        self.running.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("chroma"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def opened(server: Server) -> Iterator[ContinuousMemory]:
    with tiny_memory() as local:
        store = ChromaStore.server(f"http://127.0.0.1:{server.port}", identity=identity_of(local.encoder, local.key))
        with Memory(local.encoder, local.key, store) as memory:
            yield memory


@pytest.fixture
def memory(opened: ContinuousMemory, request: pytest.FixtureRequest) -> ContinuousMemory:
    """A namespace of the test's own."""
    return opened.namespace(request.node.name)


def texts(memory: ContinuousMemory) -> list[str | None]:
    return sorted(hit.text for hit in memory.scan())


def ask(agent: Any, text: str) -> str:
    return agent.invoke({"messages": [HumanMessage(text)]})["messages"][-1].text


def test_agents_answer_without_it_and_nothing_is_lost(
    server: Server, memory: ContinuousMemory, caplog: pytest.LogCaptureFixture
):
    memory.add(MemoryItem(id="key", text="The brass key opens the blue door."))
    others = create_agent(
        Scripted(answers=[AIMessage("Brass."), AIMessage("Fine.")]),
        middleware=[ComemMiddleware(memory, remember=last_turn)],
    )
    middleware = ComemMiddleware(memory, tools=False, remember=last_turn)
    ours = create_agent(ChatComem(memory=memory, max_tokens=4), middleware=[middleware])
    strict = create_agent(
        Scripted(answers=[AIMessage("Brass.")] * 2),
        middleware=[ComemMiddleware(memory, on_error="raise", k=0, remember=last_turn)],
    )
    history = ComemChatMessageHistory(memory, "s1", on_error="log", older=0)
    block = ComemMemoryBlock(memory=memory, across_sessions=True)
    chats = ComemMemory(memory=memory, session_id="s2", on_error="log")
    server.stop()
    with caplog.at_level(logging.WARNING):
        assert ask(others, "What opens the blue door?") == "Brass."
        answer = ours.invoke({"messages": [HumanMessage("And the red one?")]})["messages"][-1]
        assert answer.response_metadata["memory_ids"] == []
    assert "so what the memory holds is left out" in caplog.text and "wait for the next chance" in caplog.text
    with pytest.raises(StoreConnectionError, match="does not answer"):
        ask(strict, "Who knows?")
    history.add_messages([HumanMessage("My cat is Tom."), AIMessage("Nice.")])
    assert history.messages == []
    with pytest.raises(StoreConnectionError, match="does not answer"):
        ComemChatMessageHistory(memory, "s1").add_messages([HumanMessage("Not kept.")])
    chats.put(ChatMessage("My dog is Rex."))
    chats.set([ChatMessage("My dog is Max.")])
    assert [message.content for message in chats.get()] == ["You remember nothing about this."]

    server.start()
    assert ask(others, "Thanks.") == "Fine."
    again = ComemChatMessageHistory(memory, "s1", older=0)
    assert [message.text for message in again.messages] == ["My cat is Tom.", "Nice."]
    assert [message.content for message in chats.get_all()] == ["My dog is Max."]
    assert [text for text in texts(memory) if text] == sorted(
        [
            "The brass key opens the blue door.",
            "User: What opens the blue door?\nAssistant: Brass.",
            f"User: And the red one?\nAssistant: {answer.text}".strip(),
            "User: Thanks.\nAssistant: Fine.",
            "User: My cat is Tom.",
            "Assistant: Nice.",
            "User: My dog is Max.",
        ]
    )
    assert block.memory.count() == 7


async def test_a_block_remembers_later_what_a_window_let_go(server: Server, memory: ContinuousMemory):
    block = ComemMemoryBlock(memory=memory)
    server.stop()
    await block.aput([ChatMessage("My cat is Tom.")], session_id="s1")
    [message] = await block.aget([ChatMessage("cat")], session_id="s1")
    assert message.additional_kwargs[MEMORY_IDS] == []
    with pytest.raises(StoreConnectionError, match="does not answer"):
        await ComemMemoryBlock(memory=memory, on_error="raise").aput(
            [ChatMessage("This is not kept.")], session_id="s1"
        )
    server.start()
    [message] = await block.aget([ChatMessage("cat")], session_id="s1")
    assert "- My cat is Tom." in (message.content or "")
    assert texts(memory) == ["My cat is Tom."]
    await block.aput([ChatMessage("My cat is Tom.")], session_id="s1")
    assert memory.count() == 1, "the same message in the same session is one item"


def test_a_memory_that_goes_between_search_and_answer(server: Server, memory: ContinuousMemory):
    memory.add(MemoryItem(id="key", text="The brass key opens the blue door."))

    class Stopping(ChatComem):
        def _generate(self, *arguments: Any, **named: Any) -> Any:
            server.stop()
            return super()._generate(*arguments, **named)

    agent = create_agent(
        Stopping(memory=memory, max_tokens=4),
        middleware=[ComemMiddleware(memory, tools=False, remember=lambda _: None)],
    )
    try:
        answer = agent.invoke({"messages": [HumanMessage("What opens the blue door?")]})["messages"][-1]
        assert answer.response_metadata["memory_ids"] == []
    finally:
        server.start()


def test_a_wrong_question_is_raised_all_the_same(memory: ContinuousMemory):
    agent = create_agent(Scripted(answers=[AIMessage("Hi.")]), middleware=[ComemMiddleware(memory, where={"$no": 1})])
    with pytest.raises(QueryError, match="cannot be understood"):
        ask(agent, "Hi")


def test_what_can_never_be_stored_holds_nothing_up(memory: ContinuousMemory, caplog: pytest.LogCaptureFixture):
    def gone(view: ContinuousMemory) -> None:
        view.add(MemoryItem(image="gone.png"))

    jobs = {"bad": gone, "good": lambda view: view.add(MemoryItem(text="Good."))}
    assert deliver(memory, jobs, "log")
    assert texts(memory) == ["Good."] and "is dropped" in caplog.text
    with pytest.raises(InvalidItemError, match="gone.png does not exist"):
        deliver(memory, {"bad": gone}, "raise")
    assert deliver(memory, {}, "raise"), "it was taken back"


def test_sessions_write_at_once(memory: ContinuousMemory):
    def write(number: int) -> None:
        history = ComemChatMessageHistory(memory, str(number), older=0)
        for at in range(3):
            history.add_messages([HumanMessage(f"{number}-{at}"), AIMessage("Yes.")])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    for number in range(6):
        said = [message.text for message in ComemChatMessageHistory(memory, str(number), older=0).messages]
        assert said == [text for at in range(3) for text in (f"{number}-{at}", "Yes.")]


def test_what_waits_is_stored_once_by_many_at_once(server: Server, memory: ContinuousMemory):
    server.stop()
    histories = [ComemChatMessageHistory(memory, str(number), older=0, on_error="log") for number in range(6)]
    for history in histories:
        history.add_messages([HumanMessage("Hello."), AIMessage("Yes.")])
    server.start()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda history: history.add_messages([HumanMessage("Still there?")]), histories))
    for number in range(6):
        history = ComemChatMessageHistory(memory, str(number), older=0)
        assert [message.text for message in history.messages] == ["Hello.", "Yes.", "Still there?"]


def test_of_many_that_wait_the_oldest_go(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(failures, "MOST_WAITING", 3)
    done: list[int] = []
    up = False

    def job(number: int) -> Job:
        def store(_: ContinuousMemory) -> None:
            if not up:
                raise StoreConnectionError("The server does not answer.")
            done.append(number)

        return store

    assert not any(deliver(memory, {str(number): job(number)}, "log") for number in range(5))
    up = True
    assert deliver(memory, {}, "log") and done == [2, 3, 4]


def test_on_error_is_one_of_two(memory: ContinuousMemory):
    for make in (ComemMiddleware, lambda memory, **named: ComemChatMessageHistory(memory, "s1", **named)):
        with pytest.raises(ValueError, match="on_error is 'ignore'. Use one of raise, log"):
            make(memory, on_error="ignore")
