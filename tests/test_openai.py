"""OpenAI's API over a real server, with OpenAI's own client and LangChain's `ChatOpenAI`."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pytest
from helpers.memories import CAT, DOOR, FLAG
from helpers.servers import serving
from helpers.tools import ADD, WEATHER
from langchain_openai import ChatOpenAI
from openai import OpenAI
from pydantic import BaseModel

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.chat import ChatSettings
from comem_memory.server.app import create_app
from comem_memory.server.settings import ServerSettings
from comem_memory.server.tokens import Access, Tokens
from comem_memory.testing import tiny_memory, tiny_picture

ASKED = [{"role": "user", "content": "What opens the blue door?"}]
TOKENS = {
    "ada's": Access("ada", ("ada",)),
    "bob's": Access("bob", ("bob", "shared")),
    "reader's": Access("reader", ("ada",), writes=False),
}


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("served")) as memory:
        memory.namespace("ada").add([DOOR, CAT, FLAG])
        memory.namespace("shared").add(MemoryItem(id="shared", text="The shared door opens with a code."))
        yield memory


@pytest.fixture(scope="module")
def url(memory: ContinuousMemory) -> Iterator[str]:
    with serving(create_app(memory, ServerSettings(max_new_tokens=300), tokens=Tokens(others=TOKENS))) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(url: str) -> OpenAI:
    return OpenAI(base_url=url, api_key="ada's", max_retries=0)


@pytest.fixture
def model(client: OpenAI) -> str:
    [only] = client.models.list()
    return only.id


def data_url(seed: int) -> str:
    file = io.BytesIO()
    tiny_picture(seed).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def test_an_answer_is_the_memorys_own(client: OpenAI, model: str, memory: ContinuousMemory):
    own = memory.namespace("ada").reply(ASKED, ChatSettings(max_tokens=12), k=2)
    answer = client.chat.completions.create(model=model, messages=ASKED, max_tokens=12, extra_body={"memory": {"k": 2}})
    assert answer.choices[0].message.content == own.reply.text
    assert answer.choices[0].finish_reason == own.reply.finish_reason == "length"
    assert answer.usage.prompt_tokens == own.reply.prompt_tokens
    assert answer.usage.completion_tokens == own.reply.completion_tokens == 12
    assert answer.usage.total_tokens == own.reply.prompt_tokens + 12
    assert answer.memory == {"ids": [hit.id for hit in own.hits], "tokens": 16, "remembered": []}
    assert len(own.hits) == 2 and answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert abs(answer.created - time.time()) < 60


def test_a_stream_says_the_same(client: OpenAI, model: str):
    asked: dict[str, Any] = {"model": model, "messages": ASKED, "max_completion_tokens": 20}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-2].memory == whole.memory
    assert chunks[-1].usage == whole.usage and chunks[-1].choices == []
    assert {c.id for c in chunks} == {chunks[0].id} and {c.object for c in chunks} == {"chat.completion.chunk"}
    with httpx.stream(
        "POST",
        f"{client.base_url}chat/completions",
        json=asked | {"stream": True},
        headers={"Authorization": "Bearer ada's"},
    ) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in raw.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    first = json.loads(lines[0].removeprefix("data: "))["choices"][0]
    assert first == {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}


def test_options_of_the_memory(client: OpenAI, model: str, memory: ContinuousMemory):
    def used(**options: Any) -> list[str]:
        answer = client.chat.completions.create(
            model=model, messages=ASKED, max_tokens=2, extra_body={"memory": options}
        )
        assert bool(answer.memory["tokens"]) == (bool(answer.memory["ids"]) and options.get("mode") != "text")
        return answer.memory["ids"]

    assert used(k=1) == ["door"]
    assert used(k=0) == [] == used(mode="none")
    assert used(mode="text", k=1) == ["door"]
    assert used(where={"year": {"$gt": 2021}}) == ["flag"]
    assert used(ids=["cat", "flag"]) == ["cat", "flag"]
    with pytest.raises(openai.NotFoundError, match="holds no item 'never'"):
        used(ids=["never"])
    with pytest.raises(openai.BadRequestError, match=r"\$near"):
        used(where={"year": {"$near": 1}})


def test_a_token_answers_from_its_namespaces_alone(url: str, model: str):
    bob = OpenAI(base_url=url, api_key="bob's", max_retries=0)

    def used(**more: Any) -> list[str]:
        answer = bob.chat.completions.create(model=model, messages=ASKED, max_tokens=2, **more)
        return answer.memory["ids"]

    assert used() == []
    assert used(extra_body={"memory": {"namespace": "shared"}}) == ["shared"]
    assert used(extra_query={"namespace": "shared"}) == ["shared"]
    for more in ({"extra_body": {"memory": {"namespace": "ada"}}}, {"extra_query": {"namespace": "ada"}}):
        with pytest.raises(openai.PermissionDeniedError, match="does not open the namespace 'ada'"):
            used(**more)
    with pytest.raises(openai.PermissionDeniedError):
        used(extra_body={"memory": {"namespace": ""}})
    with pytest.raises(openai.NotFoundError):
        used(extra_body={"memory": {"ids": ["door"]}})
    with pytest.raises(openai.AuthenticationError, match="unknown"):
        OpenAI(base_url=url, api_key="nobody's").models.list()


def test_settings_reach_the_model(client: OpenAI, model: str, memory: ContinuousMemory):
    def said(**settings: Any) -> str:
        answer = client.chat.completions.create(model=model, messages=ASKED, max_tokens=20, **settings)
        return answer.choices[0].message.content

    greedy = said()
    assert said(temperature=0) == greedy == said(temperature=None)
    assert said(temperature=1.5, seed=1) == said(temperature=1.5, seed=1) != said(temperature=1.5, seed=2)
    assert said(temperature=1.5, seed=1) != greedy == said(temperature=1.5, top_p=1e-6)
    stop = greedy[len(greedy) // 2 :][:4]
    assert said(stop=stop) == greedy[: greedy.find(stop)].rstrip() == said(stop=[stop])
    long = client.chat.completions.create(model=model, messages=ASKED, max_tokens=10_000)
    assert long.usage.completion_tokens <= 300
    instructed = [{"role": "developer", "content": "Be brief."}, *ASKED]
    own = memory.namespace("ada").reply(
        [{"role": "system", "content": "Be brief."}, *ASKED], ChatSettings(max_tokens=20)
    )
    answer = client.chat.completions.create(model=model, messages=instructed, max_tokens=20)
    assert answer.choices[0].message.content == own.reply.text


def test_pictures_as_data_urls(client: OpenAI, model: str, memory: ContinuousMemory):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": data_url(2), "detail": "low"}},
    ]
    shown = [{"role": "user", "content": [content[0], {"type": "image", "image": tiny_picture(2)}]}]
    own = memory.namespace("ada").reply(shown, ChatSettings(max_tokens=8), k=1)
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], max_tokens=8, extra_body={"memory": {"k": 1}}
    )
    assert answer.choices[0].message.content == own.reply.text
    assert answer.usage.prompt_tokens == own.reply.prompt_tokens
    assert answer.memory["ids"] == ["flag"], "the picture is searched with"
    for url, why in (
        ("http://127.0.0.1:1/a.png", "image_url.url"),
        ("file:///etc/passwd", "image_url.url"),
        ("data:image/png;base64,AAAA", "cannot be read"),
    ):
        bad = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
        with pytest.raises(openai.BadRequestError, match=why):
            client.chat.completions.create(model=model, messages=bad)


def test_tools(client: OpenAI, model: str, memory: ContinuousMemory):
    asked: dict[str, Any] = {"model": model, "messages": ASKED, "tools": [ADD, WEATHER], "max_tokens": 100}
    answer = client.chat.completions.create(**asked, tool_choice="required", parallel_tool_calls=False)
    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls" and answer.choices[0].message.content is None
    assert call.type == "function" and call.function.name in ("add", "weather")
    named = client.chat.completions.create(**asked, tool_choice={"type": "function", "function": {"name": "add"}})
    [call] = named.choices[0].message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "add" and {type(arguments["a"]), type(arguments["b"])} == {int}

    chunks = list(client.chat.completions.create(**asked, tool_choice="required", stream=True))
    [made] = [one for c in chunks for one in c.choices[0].delta.tool_calls or ()]
    assert made.index == 0 and made.function.arguments == answer.choices[0].message.tool_calls[0].function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"

    followed = [
        *ASKED,
        named.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "The brass key."},
    ]
    answer = client.chat.completions.create(model=model, messages=followed, max_tokens=5)
    made = {"type": "function", "id": call.id, "function": {"name": "add", "arguments": arguments}}
    turns = [
        *ASKED,
        {"role": "assistant", "content": "", "tool_calls": [made]},
        {"role": "tool", "content": "The brass key.", "tool_call_id": call.id, "name": "add"},
    ]
    own = memory.namespace("ada").reply(turns, ChatSettings(max_tokens=5))
    assert answer.choices[0].message.content == own.reply.text
    assert answer.usage.prompt_tokens == own.reply.prompt_tokens
    none = client.chat.completions.create(**asked | {"max_tokens": 5}, tool_choice="none")
    assert none.choices[0].message.tool_calls is None
    with pytest.raises(openai.BadRequestError, match="divide"):
        client.chat.completions.create(**asked, tool_choice={"type": "function", "function": {"name": "divide"}})


class Key(BaseModel):
    colour: Literal["blue", "red"]
    worn: bool


def test_structured_output(client: OpenAI, model: str):
    completion = client.chat.completions.parse(model=model, messages=ASKED, response_format=Key, max_tokens=150)
    parsed = completion.choices[0].message.parsed
    assert isinstance(parsed, Key) and isinstance(parsed.worn, bool)
    answer = client.chat.completions.create(
        model=model, messages=ASKED, response_format={"type": "json_object"}, max_tokens=100
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict), "it ends in time"
    unknown = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=ASKED, response_format=unknown)


def test_what_would_be_silently_wrong_is_refused(client: OpenAI, model: str):
    for field, value in (
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"5": 100}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("modalities", ["text", "audio"]),
        ("temperature", 3),
        ("max_tokens", 0),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model=model, messages=ASKED, **{field: value})
        assert refused.value.param.split(".")[0] == field and refused.value.type == "invalid_request_error"
    for field, value in (("functions", []), ("temprature", 1), ("memory", {"kk": 1}), ("memory", {"mode": "vectors"})):
        with pytest.raises(openai.BadRequestError, match=field):
            client.chat.completions.create(model=model, messages=ASKED, extra_body={field: value})
    audio = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}]
    for messages in (audio, [], [{"role": "function", "name": "f", "content": "1"}]):
        with pytest.raises(openai.BadRequestError, match="messages"):
            client.chat.completions.create(model=model, messages=messages)
    with pytest.raises(openai.NotFoundError, match="There is no model 'gpt-5'") as missing:
        client.chat.completions.create(model="gpt-5", messages=ASKED)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "key " * 20_000}])
    assert long.value.code == "context_length_exceeded"
    answer = client.chat.completions.create(
        model=model, messages=ASKED, max_tokens=2, n=1, user="ada", metadata={"a": "b"}, store=False,
        service_tier="auto", logprobs=False, frequency_penalty=0, presence_penalty=0.0, reasoning_effort="low",
        logit_bias={},
    )  # fmt: skip
    assert answer.usage.completion_tokens == 2


def test_what_the_user_said_is_remembered_if_asked(url: str, model: str, memory: ContinuousMemory):
    bob = OpenAI(base_url=url, api_key="bob's", max_retries=0)

    def say(text: str, **more: Any) -> dict[str, Any]:
        answer = bob.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": text}],
            max_tokens=2,
            extra_body={"memory": {"remember": True} | more},
        )
        return answer.memory

    [locker] = say("My locker is number 58. What was it again?")["remembered"]
    view = memory.namespace("bob")
    assert [hit.text for hit in view.get(locker)] == ["My locker is number 58."]
    assert say("My locker is number 58.")["remembered"] == [locker]
    assert say("Where is my locker?")["remembered"] == []
    assert view.count() == 1
    stream = bob.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "My bicycle is the green one."}],
        max_tokens=2,
        stream=True,
        extra_body={"memory": {"remember": True}},
    )
    [bicycle] = list(stream)[-1].memory["remembered"]
    assert [hit.text for hit in view.get(bicycle)] == ["My bicycle is the green one."]
    reader = OpenAI(base_url=url, api_key="reader's", max_retries=0)
    with pytest.raises(openai.PermissionDeniedError, match="reading only"):
        reader.chat.completions.create(model=model, messages=ASKED, extra_body={"memory": {"remember": True}})


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_the_model(client: OpenAI, model: str, stream: bool):
    """The tiny model is made to write 300 letters; whoever asks next would wait for it."""
    letters = {"type": "string", "pattern": "^[a-z]{400}$"}
    asked: dict[str, Any] = {
        "model": model,
        "messages": ASKED,
        "max_tokens": 300,
        "response_format": {"type": "json_schema", "json_schema": {"name": "letters", "schema": letters}},
    }
    client.chat.completions.create(**asked)
    started = time.monotonic()
    assert client.chat.completions.create(**asked).usage.completion_tokens == 300
    whole = time.monotonic() - started

    if stream:
        pieces = client.chat.completions.create(**asked, stream=True)
        next(pieces)
        pieces.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**asked, timeout=whole / 5)
    left = time.monotonic()
    while any(thread.name == "comem" for thread in threading.enumerate()):
        time.sleep(0.001)
    assert time.monotonic() - left < whole / 3


def test_nothing_is_remembered_of_a_client_that_went_away(url: str, model: str, memory: ContinuousMemory):
    bob, before = OpenAI(base_url=url, api_key="bob's", max_retries=0), memory.namespace("bob").count()
    words = {"type": "string", "pattern": "^([a-z] ){200}$"}
    pieces = bob.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "My boat is the third one."}],
        max_tokens=300,
        stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "words", "schema": words}},
        extra_body={"memory": {"remember": True}},
    )
    next(pieces)
    pieces.close()
    while any(thread.name == "comem" for thread in threading.enumerate()):
        time.sleep(0.001)
    assert memory.namespace("bob").count() == before


def test_langchain_with_openais_adapter(url: str, model: str, memory: ContinuousMemory):
    chat = ChatOpenAI(
        base_url=url, api_key="ada's", model=model, max_tokens=100, extra_body={"memory": {"k": 1}}, max_retries=0
    )
    own = memory.namespace("ada").reply(ASKED, ChatSettings(max_tokens=100), k=1)
    answer = chat.invoke("What opens the blue door?")
    assert answer.content == own.reply.text and answer.usage_metadata["input_tokens"] == own.reply.prompt_tokens
    assert "".join(str(chunk.content) for chunk in chat.stream("What opens the blue door?")) == own.reply.text
    called = chat.bind_tools([ADD], tool_choice="any").invoke("What is 2 and 3?")
    assert [call["name"] for call in called.tool_calls] == ["add"]
    for method in ("json_schema", "function_calling"):
        assert isinstance(chat.with_structured_output(Key, method=method).invoke("Which key?"), Key)
    with pytest.raises(openai.BadRequestError, match="messages"):
        chat.invoke([("human", [{"type": "image", "url": "http://127.0.0.1:1/a.png"}])])
