"""Answers over HTTP: the same as of the memory itself, whole and as they are made, one at a time, stopped when left."""

import asyncio
import gc
import json
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from helpers.servers import serving

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.chat import ChatSettings
from comem_memory.errors import BusyError, TimeLimitError
from comem_memory.server.answering import events as sent
from comem_memory.server.answering import in_turn
from comem_memory.server.app import create_app
from comem_memory.server.served import Served
from comem_memory.server.settings import ServerSettings
from comem_memory.server.wire import TextEvent, Vectors
from comem_memory.testing import tiny_memory

DOOR = MemoryItem(id="door", text="The blue door opens with the brass key.")
ASKED = "Which key opens the blue door?"
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("served")) as memory:
        memory.add([DOOR, MemoryItem(id="cat", text="The cat sleeps on the oven.")])
        yield memory


@pytest.fixture(scope="module")
def client(memory: ContinuousMemory) -> Iterator[TestClient]:
    with TestClient(create_app(memory)) as client:
        yield client


def events(text: str) -> list[tuple[str, Any]]:
    """Names and contents of server-sent events."""
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.strip().split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def test_an_answer_is_the_memorys_own_whole_and_streamed(client: TestClient, memory: ContinuousMemory):
    own = memory.answer(ASKED, k=1, max_new_tokens=12)
    ask = {"question": ASKED, "k": 1, "max_new_tokens": 12}
    whole = client.post("/v1/answer", json=ask).json()
    assert (whole["text"], whole["prompt_tokens"]) == (own.text, own.prompt_tokens) and own.text
    assert 0 < whole["completion_tokens"] <= 12
    assert [hit["id"] for hit in whole["hits"]] == ["door"] and whole["hits"][0]["memory_embeddings"] is None
    *pieces, (last, answer) = events(client.post("/v1/answer", json=ask, headers=EVENTS).text)
    assert last == "answer" and answer == whole
    assert {name for name, _ in pieces} == {"text"}
    assert "".join(piece["text"] for _, piece in pieces).strip() == own.text


def test_a_conversation_is_answered_as_the_memory_does(client: TestClient, memory: ContinuousMemory):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": ASKED}]},
    ]
    sampling = {"temperature": 1.0, "seed": 7, "max_tokens": 10}
    own = memory.reply(messages, ChatSettings(**sampling), k=1, mode="both")
    ask = {"messages": messages, "settings": sampling, "k": 1, "mode": "both", "vectors": True}
    whole = client.post("/v1/reply", json=ask).json()
    assert whole["reply"]["text"] == own.reply.text
    assert whole["reply"]["memory_tokens"] == own.reply.memory_tokens == 8
    [hit] = whole["hits"]
    assert (Vectors(**hit["memory_embeddings"]).array() == own.hits[0].memory_embeddings.numpy()).all()
    *_, (last, replied) = events(client.post("/v1/reply", json=ask, headers=EVENTS).text)
    assert last == "reply" and replied == whole
    named = {"role": "user", "content": "", "named": {"ids": ["cat"]}}
    given = client.post("/v1/reply", json={"messages": [*messages, named], "settings": {"max_tokens": 2}}).json()
    assert [hit["id"] for hit in given["hits"]] == ["cat"]


def test_a_tool_is_called_and_a_schema_followed(client: TestClient):
    tool = {"type": "function", "function": {"name": "open_door", "parameters": {"type": "object", "properties": {}}}}
    ask = {"messages": [{"role": "user", "content": "Open it."}], "k": 0}
    settings = {"tools": [tool], "tool_choice": "any", "max_tokens": 60}
    called = client.post("/v1/reply", json=ask | {"settings": settings}).json()["reply"]
    assert [call["name"] for call in called["tool_calls"]] == ["open_door"]
    schema = {"type": "object", "properties": {"open": {"type": "boolean"}}, "required": ["open"]}
    said = client.post("/v1/reply", json=ask | {"settings": {"schema": schema, "max_tokens": 60}}).json()["reply"]
    assert isinstance(json.loads(said["text"])["open"], bool)


def test_an_answer_is_no_longer_than_the_server_lets_it_be(memory: ContinuousMemory):
    with TestClient(create_app(memory, ServerSettings(max_new_tokens=3))) as client:
        generation = {"min_new_tokens": 3}
        answer = client.post("/v1/answer", json={"question": ASKED, "generation": generation}).json()
        settings = {"max_tokens": 9, "generation": generation}
        reply = client.post("/v1/reply", json={"messages": [{"role": "user", "content": ASKED}], "settings": settings})
        assert (answer["completion_tokens"], reply.json()["reply"]["completion_tokens"]) == (3, 3)
        assert reply.json()["reply"]["finish_reason"] == "length"


def test_what_is_wrong_is_said_before_a_stream_begins(client: TestClient):
    for body, status, kind in (
        ({"question": " "}, 422, "QueryError"),
        ({"question": ASKED, "mode": "nothing"}, 422, "RequestError"),
        ({"question": "long " * 5000, "mode": "none"}, 422, "PromptTooLongError"),
    ):
        answer = client.post("/v1/answer", json=body, headers=EVENTS)
        assert (answer.status_code, answer.json()["type"]) == (status, kind)
    unknown = client.post("/v1/reply", json={"messages": [{"role": "user", "content": "?"}], "ids": ["none"]})
    assert (unknown.status_code, unknown.json()["type"]) == (404, "ItemNotFoundError")


def test_a_description_vectors_and_tokens_are_the_memorys_own(client: TestClient, memory: ContinuousMemory):
    described = client.post("/v1/describe", json={"id": "door", "max_new_tokens": 5}).json()
    assert described == {"text": DOOR.text, "restated": memory.describe("door", max_new_tokens=5).restated}
    made = client.post("/v1/encode", json={"items": [{"text": "New."}]}).json()
    own = memory.encode(["New."])
    assert (Vectors(**made["vectors"]).array() == own.vectors.numpy()).all()
    assert (Vectors(**made["keys"]).array() == own.keys).all()
    embedded = client.post("/v1/embed", json={"texts": ["a", "b"], "questions": True}).json()
    assert (Vectors(**embedded["vectors"]).array() == memory.embed(["a", "b"], questions=True)).all()
    assert client.post("/v1/tokens", json={"text": "a b"}).json()["ids"] == memory.token_ids("a b")
    assert memory.count() == 2


def test_a_client_that_goes_away_stops_the_model(memory: ContinuousMemory):
    ask = {"question": ASKED, "max_new_tokens": 400, "generation": {"min_new_tokens": 400}}
    app = create_app(memory)
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        begun = time.perf_counter()
        whole = client.post("/v1/answer", json=ask).json()
        long = time.perf_counter() - begun
        assert whole["completion_tokens"] == 400
        with client.stream("POST", "/v1/answer", json=ask, headers=EVENTS) as answer:
            next(answer.iter_lines())
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/answer", json=ask, timeout=long / 10)
        begun = time.perf_counter()
        client.post("/v1/answer", json={"question": ASKED, "max_new_tokens": 1})
        assert time.perf_counter() - begun < long / 2, "the model was free at once"
    assert app.state.served.answers.running == app.state.served.answers.waiting == 0


def test_one_answer_at_a_time_and_no_more_waiting_than_allowed(memory: ContinuousMemory):
    settings = ServerSettings(answers_waiting=2, answer_seconds=60)
    ask = {"question": ASKED, "max_new_tokens": 200, "generation": {"min_new_tokens": 200}}
    seen: list[int] = []
    with serving(app := create_app(memory, settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        answers: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/v1/answer", json=ask))) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            seen.append(app.state.served.answers.running)
            assert client.post("/v1/search", json={"text": ASKED}).status_code == 200, "searches do not wait"
        assert max(seen) == 1
        refused = [answer for answer in answers if answer.status_code == 503]
        assert len(refused) == 3 and len({answer.text for answer in answers if answer.status_code == 200}) == 1
        assert refused[0].json()["type"] == "BusyError" and int(refused[0].headers["Retry-After"]) > 0


async def test_an_answer_that_takes_too_long_is_given_up(memory: ContinuousMemory):
    served = Served(memory, ServerSettings(answer_seconds=0.5), None)
    ended = threading.Event()

    def pieces(stopped: threading.Event) -> Iterator[str]:
        yield "The"
        stopped.wait(60)
        ended.set()

    said = in_turn(served, pieces)
    assert await anext(said) == "The"
    with pytest.raises(TimeLimitError, match=r"longer than 0.5 seconds"):
        await anext(said)
    assert ended.wait(10) and served.answers.running == 0


async def test_the_time_of_an_answer_is_that_of_its_waiting_too(memory: ContinuousMemory):
    served = Served(memory, ServerSettings(answer_seconds=1), None)

    def pieces(stopped: threading.Event) -> Iterator[str]:
        stopped.wait(60)
        yield "Late."

    begun = time.monotonic()
    async with served.answers.turn():
        waiting = asyncio.create_task(anext(in_turn(served, pieces)))
        await asyncio.sleep(0.6)
    with pytest.raises(TimeLimitError):
        await waiting
    assert 0.9 < time.monotonic() - begun < 1.5
    async with served.answers.turn():
        with pytest.raises(BusyError, match=r"No turn came within 1 seconds"):
            await anext(in_turn(served, pieces))


def test_an_answer_that_takes_too_long_is_not_asked_for_again(memory: ContinuousMemory):
    app = create_app(memory, ServerSettings(answer_seconds=0.001))
    with serving(app) as url, ContinuousMemory.connect(url) as connected:
        refused = httpx.post(f"{url}/v1/answer", json={"question": ASKED})
        assert (refused.status_code, refused.json()["type"]) == (504, "TimeLimitError")
        assert "Retry-After" not in refused.headers
        with pytest.raises(TimeLimitError, match=r"longer than 0.001 seconds"):
            connected.answer(ASKED)
        told = httpx.get(f"{url}/metrics").text
    assert 'comem_requests_total{method="POST",route="/v1/answer",status="504"} 2.0' in told


async def test_whoever_does_not_read_holds_nobody_up(memory: ContinuousMemory):
    served = Served(memory, ServerSettings(answers_at_once=1), None)
    stalled = in_turn(served, lambda _: iter(["The", " key."]))
    assert await anext(stalled) == "The"
    async with asyncio.timeout(10):
        assert [piece async for piece in in_turn(served, lambda _: iter(["Yes."]))] == ["Yes."]
    assert [piece async for piece in stalled] == [" key."]


async def test_a_stream_that_is_given_up_leaves_nothing_behind(caplog: pytest.LogCaptureFixture):
    closed = asyncio.Event()

    async def pieces() -> AsyncGenerator[str]:
        try:
            yield "One"
            await asyncio.sleep(60)
        finally:
            closed.set()

    async def read() -> None:
        async for _ in sent("First", pieces(), lambda piece: ("text", TextEvent(text=piece))):
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert closed.is_set()
    gc.collect()
    await asyncio.sleep(0)
    assert not caplog.records
