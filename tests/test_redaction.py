"""Secrets that `redact` takes out, and those that LangChain's PIIMiddleware hid: no byte of them is stored."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.scripted import Scripted
from langchain.agents import create_agent
from langchain.agents.middleware import PIIMiddleware
from langchain.tools import tool
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import TextNode

from comem_memory import ContinuousMemory, MemoryItem, Step, Trajectory
from comem_memory.content import texts_of
from comem_memory.encoder import MemoryEncoder
from comem_memory.errors import InvalidItemError
from comem_memory.files import trajectory_of
from comem_memory.integrations.langchain import (
    ComemChatMessageHistory,
    ComemMiddleware,
    ComemStore,
    ComemTrajectoryMiddleware,
    ComemVectorStore,
    last_turn,
)
from comem_memory.integrations.llama_index import ComemLlamaVectorStore, ComemMemory, ComemMemoryBlock
from comem_memory.redaction import Redact, redacted
from comem_memory.store import ChromaStore, identity_of
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_picture
from comem_memory.testing.stand_ins import tiny_key
from comem_memory.types import with_notes

SECRET = 'hüp"fburg\\7'
"""With characters that JSON escapes."""
FORMS = [SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET, ensure_ascii=False)[1:-1]]


def without_secret(text: str) -> str:
    return text.replace(SECRET, "[hidden]")


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone())


def opened(encoder: MemoryEncoder, directory: Path, redact: Redact | None) -> ContinuousMemory:
    key = tiny_key()
    store = ChromaStore.embedded(directory, identity=identity_of(encoder, key))
    return ContinuousMemory(encoder, key, store, picture_directory=directory / "pictures", redact=redact)


@pytest.fixture
def memory(encoder: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    with opened(encoder, tmp_path, without_secret) as memory:
        yield memory


def leaks(directory: Path, *secrets: str) -> list[str]:
    """The files of a closed memory that hold the secret, in any form.

    Not looked at is Chroma's data_level0.bin, which it writes from memory of this process that it has not cleared: what
    the test itself holds may stand there.
    """
    for database in directory.rglob("*.sqlite3"):
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    forms = [form.encode(encoding) for form in secrets or FORMS for encoding in ("utf-8", "utf-16-le")]
    files = (file for file in directory.rglob("*") if file.is_file() and file.name != "data_level0.bin")
    return [str(file) for file in files if any(form in file.read_bytes() for form in forms)]


def test_what_is_added_and_updated(encoder: MemoryEncoder, memory: ContinuousMemory, tmp_path: Path):
    said = f"The password is {SECRET}."
    metadata = {"by": SECRET, "more": {"lines": [SECRET, 7]}}
    [first, *_] = memory.add(
        [MemoryItem(text=said, id="a", metadata=metadata), said, Document(page_content=said, id="d")]
    )
    memory.add(TextNode(text=said, id_="n", metadata={"by": SECRET}))
    memory.add(Trajectory(task=said, steps=[Step(picture=tiny_picture(), action=said), Step(action=SECRET)]))
    own = MemoryItem(content=[tiny_picture(1), said, tiny_picture(2), "Tea."])
    memory.update(memory.add(own)[0], content=[said, tiny_picture(1), SECRET])
    hidden = "The password is [hidden]."
    assert [(hit.text, texts_of(hit.content or ())) for hit in memory.newest(limit=2)] == [
        (f"{hidden}\n[hidden]", [hidden, "[hidden]"]),
        (hidden, [hidden, "[hidden]"]),
    ]
    memory.add("Tea.")
    memory.update(memory.add("Salt.")[0], text=said + SECRET, metadata={"by": SECRET})
    [hit] = memory.get(first)
    assert (hit.text, hit.metadata) == (
        "The password is [hidden].",
        {"by": "[hidden]", "more": {"lines": ["[hidden]", 7]}},
    )
    assert memory.same_content([MemoryItem(text=said)]) == memory.same_content([MemoryItem(text=hit.text)]) != [[]]
    assert memory.encode(said).content_hashes == memory.encode("The password is [hidden].").content_hashes
    assert [hit.id for hit in memory.search("[hidden]", k=1)]
    memory.close()
    assert leaks(tmp_path) == []


def test_what_is_left_of_content_is_the_item_that_it_would_be(memory: ContinuousMemory):
    def emptied(text: str) -> str:
        return text.replace(SECRET, "")

    picture = tiny_picture()
    for given, left in (
        (MemoryItem(content=[picture, SECRET, SECRET]), MemoryItem(image=picture)),
        (MemoryItem(content=[picture, "Tea.", SECRET]), MemoryItem(text="Tea.", image=picture)),
        (MemoryItem(content=["Tea.", SECRET]), MemoryItem(text="Tea.")),
        (MemoryItem(text="Tea.", content=[SECRET, SECRET]), MemoryItem(text="Tea.")),
        (MemoryItem(text=SECRET, content=["Tea.", "Milk."]), MemoryItem(content=["Tea.", "Milk."])),
    ):
        noted = redacted(with_notes(given, {"comem.chat.role": SECRET, "comem.chat.message": SECRET}), emptied)
        assert noted == with_notes(left, {"comem.chat.role": SECRET, "comem.chat.message": ""})
        assert memory.encode(noted).content_hashes == memory.encode(left).content_hashes
    with pytest.raises(InvalidItemError, match="Nothing is left of an item's text"):
        redacted(MemoryItem(content=[SECRET, SECRET]), emptied)


def test_the_search_for_leaks_finds_them(encoder: MemoryEncoder, tmp_path: Path):
    with opened(encoder, tmp_path, None) as memory:
        ComemStore(memory).put(("a",), "b", {"content": SECRET})
    assert leaks(tmp_path)


async def test_what_the_integrations_keep(memory: ContinuousMemory, tmp_path: Path):
    said = f"My password is {SECRET}."
    ComemStore(memory).put(("ada",), "key", {"content": said, "deep": {"list": [SECRET]}})
    ComemChatMessageHistory(memory, "1").add_messages([HumanMessage(said), AIMessage(f"I see: {SECRET}.")])
    ComemVectorStore(memory).add_texts([said], [{"by": SECRET}])
    ComemLlamaVectorStore(memory).add([TextNode(text=said, metadata={"by": SECRET})])
    ComemMemory(memory=memory, session_id="2").put(ChatMessage(said))
    await ComemMemoryBlock(memory=memory, remember=lambda message: MemoryItem(text=message.content)).aput(
        [ChatMessage(said)]
    )
    agent = create_agent(
        Scripted(answers=[AIMessage("Noted.")]), middleware=[ComemMiddleware(memory, remember=last_turn)]
    )
    agent.invoke({"messages": [HumanMessage(said)]})

    assert ComemStore(memory).get(("ada",), "key").value == {
        "content": "My password is [hidden].",
        "deep": {"list": ["[hidden]"]},
    }
    told = [message.content for message in ComemChatMessageHistory(memory, "1", older=0).messages]
    assert told == ["My password is [hidden].", "I see: [hidden]."]
    assert "User: My password is [hidden].\nAssistant: Noted." in [hit.text for hit in memory.scan()]
    memory.close()
    assert leaks(tmp_path) == []


def test_what_an_agent_typed(memory: ContinuousMemory, tmp_path: Path):
    typed = {"text": SECRET, "form": json.dumps({"field": SECRET}), "lines": [f'5" {SECRET}']}
    call = AIMessage(
        f'The 5" field takes {json.dumps(SECRET)}.', tool_calls=[{"name": "type", "args": typed, "id": "1"}]
    )
    messages = [HumanMessage("Log in."), call, AIMessage("Done.")]
    read = trajectory_of(messages)
    assert read is not None
    memory.add(read)

    @tool("type")
    def enter(text: str, form: str, lines: list[str]) -> str:
        """Types."""
        return "Typed."

    middleware = [ComemTrajectoryMiddleware(memory)]
    create_agent(Scripted(answers=messages[1:]), tools=[enter], middleware=middleware).invoke(
        {"messages": [HumanMessage("Log in again.")]}
    )
    kept = """type(text="[hidden]", form="{\\"field\\": \\"[hidden]\\"}", lines=["5\\" [hidden]"])"""
    assert [f'The 5" field takes "[hidden]".\n{kept}' in (hit.full_text or "") for hit in memory.scan()] == [True, True]
    memory.close()
    assert leaks(tmp_path) == []


def test_where_it_fails_nothing_is_stored(encoder: MemoryEncoder, tmp_path: Path):
    def failing(text: str) -> Any:
        if "no" in text:
            raise RuntimeError("down")
        return None if "bad" in text else "" if "all" in text else text

    with opened(encoder, tmp_path, failing) as memory:
        for text, error in [("no", RuntimeError), ("bad", InvalidItemError), ("all", InvalidItemError)]:
            with pytest.raises(error, match=r"down|redact gave a NoneType|Nothing is left of an item's text"):
                memory.add(["Fine.", text])
        [id] = memory.add("Fine.")
        for changed in ({"text": "no"}, {"metadata": {"a": ["no"]}}):
            with pytest.raises(RuntimeError, match="down"):
                memory.update(id, **changed)
        assert [(hit.text, hit.metadata) for hit in memory.scan()] == [("Fine.", {})]


# -- PIIMiddleware ----------------------------------------------------------------------------------------------

MAIL = "ada@example.org"
HIDDEN = "[REDACTED_EMAIL]"


@pytest.mark.parametrize("hidden_first", [True, False], ids=["PIIMiddleware first", "ComemMiddleware first"])
@pytest.mark.parametrize("saver", [None, InMemorySaver()], ids=["no checkpointer", "checkpointer"])
def test_what_pii_middleware_hid_stays_hidden(
    memory: ContinuousMemory, tmp_path: Path, hidden_first: bool, saver: InMemorySaver | None
):
    model = Scripted(answers=[AIMessage("Noted."), RuntimeError("down"), AIMessage("Fine.")])
    both = [PIIMiddleware("email"), ComemMiddleware(memory, remember=last_turn, tools=False)]
    agent = create_agent(model, middleware=both if hidden_first else both[::-1], checkpointer=saver)
    config: Any = {"configurable": {"thread_id": str(tmp_path), "user_id": "ada"}}

    def say(*messages: AnyMessage) -> Sequence[AnyMessage]:
        return agent.invoke({"messages": list(messages)}, config=config)["messages"]

    before = say(HumanMessage(f"My mail is {MAIL}."))
    with pytest.raises(RuntimeError, match="down"):
        say(*([] if saver else before), HumanMessage(f"Write to {MAIL}."))
    say(*([] if saver else before), HumanMessage(f"Not to {MAIL}, please."))
    kept = sorted(str(hit.text) for hit in memory.namespace("ada").scan())
    assert kept == [
        f"User: My mail is {HIDDEN}.\nAssistant: Noted.",
        f"User: Not to {HIDDEN}, please.\nAssistant: Fine.",
        f"User: Write to {HIDDEN}.",
    ]
    assert MAIL not in str(model.seen)
    memory.close()
    assert leaks(tmp_path, MAIL) == []
