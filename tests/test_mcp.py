"""The memory as an MCP server, with the SDK's own client and LangChain's adapters."""

import asyncio
import base64
import io
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers.mcp_clients import call, http_session, refused, stdio_session
from helpers.programs import comem, comem_serve, environment
from helpers.scripted import Scripted
from helpers.servers import serving
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_mcp_adapters.client import MultiServerMCPClient

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.retrieval import RetrievalKey
from comem_memory.server.app import create_app
from comem_memory.server.settings import ServerSettings
from comem_memory.server.tokens import Access, Tokens
from comem_memory.store import ChromaStore, identity_of
from comem_memory.testing import (
    ColourEmbedder,
    LetterEmbedder,
    tiny_backbone,
    tiny_encoder,
    tiny_key,
    tiny_memory,
    tiny_picture,
)


def png(seed: int, **options: Any) -> str:
    file = io.BytesIO()
    tiny_picture(seed, **options).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


async def test_a_life_over_stdio(folders: tuple[Path, Path], tmp_path: Path):
    command = comem("-d", tmp_path / "memory", "-n", "ada", "mcp")
    async with stdio_session(command, environment(folders)) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) == {"remember", "recall", "forget"}
        assert tools["recall"].annotations.readOnlyHint and not tools["remember"].annotations.readOnlyHint
        assert tools["forget"].annotations.destructiveHint and not tools["remember"].annotations.destructiveHint

        door = (await call(session, "remember", text="The blue door opens with the brass key."))["id"]
        assert await call(session, "remember", text="The blue door opens with the brass key.") == {"id": door}
        flag = (await call(session, "remember", text="A flag — 旗.", picture=png(1)))["id"]
        later = (await call(session, "remember", text="A second flag.", picture=f"data:image/png;base64,{png(2)}"))[
            "id"
        ]

        [hit] = (await call(session, "recall", query="Which key opens the blue door?", k=1))["items"]
        assert (hit["id"], hit["text"], hit["pictures"]) == (door, "The blue door opens with the brass key.", 0)
        assert hit["similarity"] > 0.5 and hit["created_at"] and "expires" not in hit
        result = await session.call_tool("recall", {"query": "旗"})
        assert "旗" in result.content[0].text, "models read the characters, not their numbers"
        assert json.loads(result.content[0].text) == result.structuredContent
        assert "embeddings" not in result.content[0].text

        new = (await call(session, "remember", text="The blue door opens with the steel key.", supersedes=[door]))["id"]
        soon = (await call(session, "remember", text="The blue door is open today.", expires="P1D"))["id"]
        found = {one["id"]: one for one in (await call(session, "recall", query="the blue door"))["items"]}
        assert door not in found and {new, soon} <= set(found)
        assert found[soon]["expires"]

        assert await call(session, "forget", ids=[flag, later, "never stored"]) == {"forgotten": 2}
        assert flag not in [one["id"] for one in (await call(session, "recall", query="flag"))["items"]]

    with ContinuousMemory.from_pretrained(
        *folders, persist_directory=tmp_path / "memory", key=tiny_key(), namespace="ada"
    ) as memory:
        assert memory.count() == 2


async def test_assistants_share_the_memory_of_a_running_server(folders: tuple[Path, Path], tmp_path: Path):
    with comem_serve(folders, tmp_path / "memory") as url:
        async with stdio_session(comem("--url", url, "-n", "ada", "mcp"), environment(folders)) as session:
            door = (await call(session, "remember", text="The blue door opens with the brass key."))["id"]
            assert "holds no item" in await refused(session, "remember", text="New.", supersedes=["never"])
        async with stdio_session(comem("-d", tmp_path / "memory", "-n", "ada", "mcp"), environment(folders)) as session:
            [hit] = (await call(session, "recall", query="blue door"))["items"]
            assert hit["id"] == door
            assert await call(session, "forget", ids=[door]) == {"forgotten": 1}


async def test_a_tool_says_what_is_wrong(folders: tuple[Path, Path], tmp_path: Path):
    async with stdio_session(comem("-d", tmp_path, "mcp"), environment(folders)) as session:
        assert "neither text nor image" in await refused(session, "remember")
        assert "base64 is damaged" in await refused(session, "remember", picture="no base64!")
        assert "cannot be read" in await refused(session, "remember", picture=base64.b64encode(b"text").decode())
        assert "holds no item 'never'" in await refused(session, "remember", text="New.", supersedes=["never"])
        assert "timezone" in await refused(session, "remember", text="Soon gone.", expires="tomorrow")
        assert "'query' is a required property" in await refused(session, "recall")
        assert "greater than the maximum" in await refused(session, "recall", query="door", k=1000)
        assert "'where' was unexpected" in await refused(session, "recall", query="door", where={"a": 1})
        assert "should be non-empty" in await refused(session, "forget", ids=[])
        assert "no tool 'erase'" in await refused(session, "erase")


async def test_a_memory_that_does_not_open_says_why_where_a_tool_is_called(folders: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "file").touch()
    async with stdio_session(comem("-d", tmp_path / "file", "mcp"), environment(folders)) as session:
        assert (await session.list_tools()).tools
        assert str(tmp_path / "file") in await refused(session, "recall", query="door")


TOKENS = {
    "ada's": Access("ada", ("ada", "shared")),
    "bob's": Access("bob", ("bob",)),
    "reader's": Access("reader", ("ada",), writes=False),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ContinuousMemory, str]]:
    with tiny_memory(tmp_path_factory.mktemp("served")) as memory:
        app = create_app(
            memory, ServerSettings(max_body_bytes=100_000, max_picture_pixels=4000), tokens=Tokens(others=TOKENS)
        )
        with serving(app) as url:
            yield memory, url


async def test_a_life_over_http(served: tuple[ContinuousMemory, str]):
    memory, url = served
    async with http_session(url, "ada's") as session:
        assert {tool.name for tool in (await session.list_tools()).tools} == {"remember", "recall", "forget"}
        door = (await call(session, "remember", text="The blue door opens with the brass key.", picture=png(1)))["id"]
        assert [hit.text for hit in memory.namespace("ada").get(door)] == ["The blue door opens with the brass key."]
        [hit] = (await call(session, "recall", query="What opens the blue door?"))["items"]
        assert (hit["id"], hit["pictures"]) == (door, 1)
        assert "neither text nor image" in await refused(session, "remember")
        assert await call(session, "forget", ids=[door]) == {"forgotten": 1}
        assert memory.namespace("ada").count() == 0


async def test_a_token_reaches_its_namespaces_alone_over_http(served: tuple[ContinuousMemory, str]):
    memory, url = served
    memory.namespace("bob").add(MemoryItem(id="pin", text="Bob's PIN is 7781."))
    memory.namespace("shared").add(MemoryItem(id="code", text="The gate's code is 12."))
    async with http_session(url, "ada's") as session:
        assert (await call(session, "recall", query="Bob's PIN"))["items"] == []
        assert await call(session, "forget", ids=["pin"]) == {"forgotten": 0}
        assert "holds no item" in await refused(session, "remember", text="Another PIN.", supersedes=["pin"])
    async with http_session(url, "ada's", namespace="shared") as session:
        assert [one["id"] for one in (await call(session, "recall", query="the gate"))["items"]] == ["code"]
    async with http_session(url, "reader's") as session:
        assert (await call(session, "recall", query="door"))["items"] == []
        assert "reading only" in await refused(session, "remember", text="A door.")
        assert "reading only" in await refused(session, "forget", ids=["code"])
    assert memory.namespace("bob").count() == 1 == memory.namespace("shared").count()


def test_what_is_no_call_of_a_tool_is_refused_over_http(served: tuple[ContinuousMemory, str]):
    _, url = served
    hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Accept": "application/json, text/event-stream"}
    for token, namespace, status in ((None, None, 401), ("nobody's", None, 401), ("ada's", "bob", 403)):
        authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
        query = {} if namespace is None else {"namespace": namespace}
        answer = httpx.post(f"{url}/mcp", json=hello, headers=headers | authorization, params=query)
        assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
        assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)
    headers |= {"Authorization": "Bearer ada's"}
    assert httpx.post(f"{url}/mcp", json=hello, headers=headers).json()["result"]["tools"]
    assert httpx.post(f"{url}/mcp", json=hello | {"x": "y" * 100_000}, headers=headers).status_code == 413
    for method in ("GET", "DELETE", "PUT"):
        assert httpx.request(method, f"{url}/mcp", headers=headers).status_code == 405


async def test_pictures_over_http_are_within_the_limits_of_all_routes(served: tuple[ContinuousMemory, str]):
    memory, url = served
    async with http_session(url, "bob's") as session:
        before = memory.namespace("bob").count()
        said = await refused(session, "remember", text="A flag.", picture=png(1, size=(100, 50)))
        assert "100 x 50 pixels, more than 4000" in said
        assert "cannot be read" in await refused(session, "remember", picture=base64.b64encode(b"text").decode())
        assert memory.namespace("bob").count() == before


async def test_how_a_server_is_set_up_is_not_told_over_http(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    directory = tmp_path / "memory"
    with tiny_memory(directory) as memory, serving(create_app(memory)) as url:
        memory.add("A door.")
        shutil.rmtree(directory)
        async with http_session(url) as session:
            said = await refused(session, "recall", query="door")
    assert said == "The server failed. Its log says how."
    [record] = [record for record in caplog.records if record.name == "comem_memory.server.problems"]
    assert record.getMessage() == "POST /mcp failed"
    assert record.exc_info is not None and str(directory) in str(record.exc_info[1])


class Held(LetterEmbedder):
    """Counts how many embed at once, and holds them up until it is told."""

    def __init__(self) -> None:
        self.free, self.waiting = threading.Event(), 0

    def embed(self, inputs: Sequence[str]) -> np.ndarray:
        self.waiting += 1
        self.free.wait(30)
        return super().embed(inputs)


async def test_many_recalls_at_once_share_few_threads():
    encoder, key = tiny_encoder(tiny_backbone()), RetrievalKey(held := Held(), ColourEmbedder())
    store = ChromaStore.in_memory(identity=identity_of(encoder, key))
    with ContinuousMemory(encoder, key, store) as memory, serving(create_app(memory)) as url:
        held.free.set()
        memory.add("The blue door opens with the brass key.")
        held.free.clear()
        held.waiting = 0
        async with http_session(url) as session:
            recalls = asyncio.gather(*(call(session, "recall", query=f"door {n}") for n in range(60)))
            while held.waiting < 40 and not recalls.done():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            most = held.waiting
            held.free.set()
            found = await recalls
    assert most == 40 and all(len(one["items"]) == 1 for one in found)


async def test_an_agent_of_langchain_has_the_tools(served: tuple[ContinuousMemory, str]):
    memory, url = served
    memory.namespace("ada").clear()
    connection = {"transport": "streamable_http", "url": f"{url}/mcp", "headers": {"Authorization": "Bearer ada's"}}
    tools = await MultiServerMCPClient({"memory": connection}).get_tools()
    text = "The blue door opens with the brass key."
    script = [
        AIMessage("", tool_calls=[{"name": "remember", "args": {"text": text}, "id": "1"}]),
        AIMessage("", tool_calls=[{"name": "recall", "args": {"query": "blue door"}, "id": "2"}]),
        AIMessage("", tool_calls=[{"name": "forget", "args": {"ids": []}, "id": "3"}]),
        AIMessage("Done."),
    ]
    model = Scripted(answers=script)
    agent = create_agent(model, tools)
    messages = (await agent.ainvoke({"messages": [HumanMessage("Remember the door.")]}))["messages"]
    stored, recalled, wrong = (message for message in messages if message.type == "tool")
    [hit] = memory.namespace("ada").search("blue door")
    assert hit.text == text and hit.id in str(stored.content)
    assert text in str(recalled.content) and "similarity" in str(recalled.content)
    assert wrong.status == "error" and "non-empty" in str(wrong.content)


def test_nothing_but_messages_is_on_stdout(folders: tuple[Path, Path], tmp_path: Path):
    hello = {
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    asked = {"method": "tools/call", "params": {"name": "recall", "arguments": {"query": "door"}}}
    process = subprocess.Popen(
        comem("-d", tmp_path, "mcp"),
        env=environment(folders),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    answers = []
    for number, message in enumerate([hello, {"method": "notifications/initialized"}, asked]):
        numbered = {} if "notifications" in message["method"] else {"id": number}
        process.stdin.write(json.dumps({"jsonrpc": "2.0"} | numbered | message) + "\n")
        process.stdin.flush()
        answers += [json.loads(process.stdout.readline())] if numbered else []
    process.stdin.close()
    assert [one["id"] for one in answers] == [0, 2]
    assert answers[1]["result"]["structuredContent"] == {"items": []}
    assert process.stdout.read() == ""
    assert "a library that prints" in process.stderr.read()
    assert process.wait(30) == 0
