"""Nobody reads, changes, deletes or detects what another's token opens, over every route.

Each user gets the very answers that they would get if they were alone, whatever others do and ask before.
"""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from helpers.servers import serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comem_memory import ContinuousMemory
from comem_memory.server.app import create_app
from comem_memory.server.settings import ServerSettings
from comem_memory.server.tokens import Access, Tokens
from comem_memory.testing import tiny_memory, tiny_picture

USERS = ("ada", "bob")
TOKENS = {
    "ada": Access("ada", ("ada", "ada/*", "common")),
    "bob": Access("bob", ("bob",)),
}
LIMITS = ServerSettings(max_new_tokens=3, rate="1000000/minute")

IDS = st.sampled_from(["door", "cat", "pin"])
TEXTS = st.sampled_from(["The blue door opens with the brass key.", "The cat sleeps.", "My PIN is 7781."])
NAMESPACES = st.sampled_from([None, None, None, None, "ada", "bob", "ada/work", "bob/work", "common", "default"])
WHERE = st.sampled_from([None, {"year": 2020}, {"comem.created_at": {"$gt": "2000-01-01"}}])


def png(seed: int) -> str:
    file = io.BytesIO()
    tiny_picture(seed, size=(32, 32)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


PICTURES = st.sampled_from([png(1), png(2)])
ITEMS = st.lists(
    st.fixed_dictionaries(
        {"text": TEXTS},
        optional={
            "id": IDS,
            "image": PICTURES,
            "content": st.just([{"type": "text", "text": "Click."}, {"type": "image", "image": png(2)}]),
            "metadata": st.just({"year": 2020}),
            "expires": st.just("P30D"),
            "supersedes": st.lists(IDS, max_size=1),
        },
    ),
    min_size=1,
    max_size=2,
)
MODES = st.sampled_from(["memory", "text"])
LISTED = st.lists(IDS, min_size=1, max_size=2)
NO_BODY = st.none()


def body(**fields: Any) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(fields)


def turns() -> st.SearchStrategy[Any]:
    return st.lists(body(role=st.just("user"), content=TEXTS), min_size=1, max_size=1)


def completion(**memory: Any) -> st.SearchStrategy[Any]:
    return body(messages=turns(), model=st.just("tiny-llava-0"), stream=st.booleans(), memory=body(**memory))


def tool(name: str, **arguments: Any) -> st.SearchStrategy[Any]:
    called = body(name=st.just(name), arguments=body(**arguments))
    return body(jsonrpc=st.just("2.0"), id=st.just(1), method=st.just("tools/call"), params=called)


WRITING: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("POST", "/v1/items"): body(items=ITEMS),
    ("PATCH", "/v1/items"): body(id=IDS, text=TEXTS),
    ("POST", "/v1/items/delete"): st.one_of(body(ids=LISTED), body(where=st.just({"year": 2020}))),
    ("POST", "/v1/items/clear"): NO_BODY,
    ("POST", "/v1/items/postpone"): body(ids=LISTED, duration=st.just("P60D")),
    ("POST", "/mcp"): st.one_of(
        tool("remember", text=TEXTS, supersedes=st.lists(IDS, max_size=1)), tool("forget", ids=LISTED)
    ),
    ("POST", "/v1/chat/completions"): completion(remember=st.just(True)),
}
"""What is asked of routes that change something."""
READING: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("GET", "/health"): NO_BODY,
    ("GET", "/ready"): NO_BODY,
    ("GET", "/metrics"): NO_BODY,
    ("GET", "/openapi.json"): NO_BODY,
    ("GET", "/docs"): NO_BODY,
    ("GET", "/docs/oauth2-redirect"): NO_BODY,
    ("GET", "/v1/memory"): NO_BODY,
    ("GET", "/v1/moment"): NO_BODY,
    ("GET", "/v1/namespaces"): NO_BODY,
    ("GET", "/v1/stats"): NO_BODY,
    ("GET", "/v1/models"): NO_BODY,
    ("GET", "/v1/pictures"): NO_BODY,
    ("GET", "/v1/audio"): NO_BODY,
    ("POST", "/v1/items/get"): body(ids=LISTED, skip_missing=st.booleans(), vectors=st.booleans()),
    ("POST", "/v1/items/list"): body(where=WHERE),
    ("POST", "/v1/items/newest"): body(where=WHERE),
    ("POST", "/v1/items/ids"): body(where=WHERE, history=st.booleans()),
    ("POST", "/v1/items/count"): body(where=WHERE),
    ("POST", "/v1/items/history"): body(id=IDS),
    ("POST", "/v1/items/same"): body(items=ITEMS),
    ("POST", "/v1/answer"): body(question=TEXTS, mode=MODES),
    ("POST", "/v1/reply"): body(messages=turns(), ids=st.none() | LISTED, found=st.none() | LISTED, mode=MODES),
    ("POST", "/v1/describe"): body(id=IDS),
    ("POST", "/v1/encode"): body(items=ITEMS),
    ("POST", "/v1/embed"): body(texts=st.lists(TEXTS, min_size=1, max_size=2)),
    ("POST", "/v1/tokens"): body(text=TEXTS),
    ("POST", "/v1/search"): body(text=TEXTS, min_similarity=st.just(-1)),
    ("POST", "/mcp"): tool("recall", query=TEXTS),
    ("POST", "/v1/chat/completions"): completion(ids=st.none() | LISTED, mode=MODES, namespace=NAMESPACES),
}
"""What is asked of routes that give something."""


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@st.composite
def asked_of(draw: st.DrawFn, routes: dict[tuple[str, str], st.SearchStrategy[Any]], *which: tuple[str, str]) -> Asked:
    method, path = draw(st.sampled_from(which))
    namespace = draw(NAMESPACES)
    query = {} if namespace is None else {"namespace": namespace}
    if path in ("/v1/pictures", "/v1/audio"):
        query["id"] = draw(IDS)
        query |= draw(st.sampled_from([{}, {"part": "0"}, {"part": "1"}]))
    return Asked(method, path, query, draw(routes[method, path]))


SHOWN = [{"type": "image", "image": png(3)}, {"type": "text", "text": "Click."}, {"type": "image", "image": png(4)}]


def remembering(text: str) -> Asked:
    called = {"name": "remember", "arguments": {"text": text}}
    return Asked("POST", "/mcp", {}, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": called})


FIRST = [
    ("ada", Asked("POST", "/v1/items", {}, {"items": [{"id": "door", "text": "Ada's door.", "image": png(1)}]})),
    ("bob", Asked("POST", "/v1/items", {}, {"items": [{"id": "pin", "text": "Bob's PIN.", "image": png(2)}]})),
    ("ada", Asked("POST", "/v1/items", {}, {"items": [{"id": "steps", "content": SHOWN}]})),
    ("ada", remembering("Ada's cat.")),
    ("bob", remembering("Bob's cat.")),
]
"""What everyone has before the rest, so that there is something to read."""
WRITES = st.lists(st.tuples(st.sampled_from(USERS), asked_of(WRITING, *WRITING)), max_size=6)
READS = st.tuples(*(st.tuples(st.just(user), asked_of(READING, route)) for route in READING for user in USERS))
"""Each route is read by everyone."""


class World:
    """A server of its own.

    Args:
        memory: What it serves.
        url: Where.
    """

    def __init__(self, memory: ContinuousMemory, url: str) -> None:
        self.memory, self.client = memory, httpx.Client(base_url=url, timeout=60)

    def forget_all(self) -> None:
        for name in self.memory.namespaces():
            self.memory.namespace(name).clear()

    def answer(self, user: str, asked: Asked) -> tuple[int, str | bytes]:
        """What a user is told, without times and random numbers."""
        headers = {"Authorization": f"Bearer {user}", "Accept": "application/json, text/event-stream"}
        answer = self.client.request(asked.method, asked.path, params=asked.query, json=asked.body, headers=headers)
        if answer.headers.get("content-type", "").startswith("image/"):
            return answer.status_code, answer.content
        return answer.status_code, PASSING.sub("...", answer.text)


PASSING = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)?|chatcmpl-[0-9a-f]{32}|call_[0-9a-f]{24}|(?<=\"created\":)\d+|(?<=\"moment\":)\d+"
)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """One that all use, and one for each user alone."""
    with ExitStack() as opened:
        made = {}
        for name in ("all", *USERS):
            memory = opened.enter_context(tiny_memory(tmp_path_factory.mktemp(name)))
            app = create_app(memory, LIMITS, tokens=Tokens(others=TOKENS))
            made[name] = World(memory, opened.enter_context(serving(app)))
        yield made


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """Every route of an app, in its documentation or not."""
    found = list(app.routes)
    for route in found:
        found += getattr(getattr(route, "original_router", None), "routes", [])
    paths = [route for route in found if hasattr(route, "path")]
    assert {route.path for route in paths if isinstance(route, APIRoute)} == set(app.openapi()["paths"])
    return {(method, route.path) for route in paths for method in route.methods - {"HEAD"}}


def test_no_route_is_forgotten(worlds: dict[str, World]):
    """Whoever adds a route says here what is asked of it."""
    assert routes(create_app(worlds["all"].memory)) == {*WRITING, *READING}


@given(WRITES, READS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_nobody_notices_anybody(
    worlds: dict[str, World], writes: list[tuple[str, Asked]], reads: tuple[tuple[str, Asked], ...]
):
    for world in worlds.values():
        world.forget_all()
    for user, asked in [*FIRST, *writes, *reads]:
        among_others, alone = worlds["all"].answer(user, asked), worlds[user].answer(user, asked)
        assert among_others == alone, (user, asked)


def test_a_part_picture_is_given_to_those_alone_who_may_read_its_item(worlds: dict[str, World]):
    world = worlds["all"]
    world.forget_all()
    for user, asked in FIRST:
        world.answer(user, asked)
    for part, status in ((0, 200), (1, 404), (2, 200), (3, 404)):
        where = {"namespace": "ada", "id": "steps", "part": str(part)}
        assert world.answer("ada", Asked("GET", "/v1/pictures", where, None))[0] == status
        assert world.answer("bob", Asked("GET", "/v1/pictures", where, None))[0] == 403
        own = {"id": "steps", "part": str(part)}
        assert world.answer("bob", Asked("GET", "/v1/pictures", own, None))[0] == 404
