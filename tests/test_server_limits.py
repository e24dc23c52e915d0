"""What a server refuses because it is too much: a body, items, a picture, requests; and when to come back."""

import base64
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from helpers.servers import serving
from PIL import Image

from comem_memory import ContinuousMemory
from comem_memory.server.app import create_app
from comem_memory.server.settings import ServerSettings
from comem_memory.server.tokens import Tokens, new_token
from comem_memory.testing import tiny_memory


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("served")) as memory:
        yield memory


def picture(width: int, height: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_what_is_too_large_is_refused(memory: ContinuousMemory):
    settings = ServerSettings(
        max_body_bytes=20_000,
        max_items=2,
        max_picture_bytes=1000,
        max_picture_pixels=4000,
        max_parts=3,
        max_item_pixels=5000,
    )
    text = {"type": "text", "text": "A."}
    small, large = ({"type": "image", "image": picture(*size)} for size in ((50, 60), (100, 50)))
    client = TestClient(create_app(memory, settings))
    noise = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(2000)).decode()
    for body in (
        {"items": [{"text": "long " * 5000}]},
        {"items": [{"text": str(number)} for number in range(3)]},
        {"items": [{"image": noise}]},
        {"items": [{"image": picture(100, 50)}]},
        {"items": [{"text": "A."}, {"text": "B.", "image": picture(100, 50)}]},
        {"items": [{"content": [text, large]}]},
        {"items": [{"content": [text, small, small]}]},
        {"items": [{"content": [text, small], "image": picture(60, 50)}]},
        {"items": [{"content": [text] * 4}]},
    ):
        refused = client.post("/v1/items", json=body)
        assert (refused.status_code, refused.json()["type"]) == (413, "LimitError"), refused.text
    assert client.post("/v1/search", json={"image": picture(100, 50)}).status_code == 413
    for changed in ({"content": [text, small, small]}, {"content": [text, small], "image": picture(60, 50)}):
        assert client.patch("/v1/items", json={"id": "a"} | changed).status_code == 413
    shown = {"role": "user", "content": [{"type": "image", "image": picture(100, 50)}]}
    assert client.post("/v1/reply", json={"messages": [shown]}).status_code == 413
    assert memory.count() == 0
    assert client.get("/v1/memory").json()["limits"]["max_items"] == 2
    assert client.post("/v1/items", json={"items": [{"image": picture(50, 40)}]}).status_code == 200
    memory.clear()


def test_a_body_that_does_not_tell_its_length_is_cut(memory: ContinuousMemory):
    client = TestClient(create_app(memory, ServerSettings(max_body_bytes=20_000)))
    long = (b'{"items": [{"text": "' + b"a" * 1000 if part == 0 else b"a" * 1000 for part in range(100))
    refused = client.post("/v1/items", content=long, headers={"Content-Type": "application/json"})
    assert "content-length" not in refused.request.headers
    assert (refused.status_code, refused.json()["type"]) == (413, "LimitError")


def test_a_picture_that_is_none_or_a_bomb_is_refused(memory: ContinuousMemory):
    client = TestClient(create_app(memory))
    for image, status, kind in (
        ("AAAA", 422, "InvalidItemError"),
        ("no base64!", 422, "RequestError"),
        (picture(6000, 5000), 413, "LimitError"),
    ):
        refused = client.post("/v1/items", json={"items": [{"text": "A.", "image": image}]})
        assert (refused.status_code, refused.json()["type"]) == (status, kind), refused.text
    assert memory.count() == 0


def test_whoever_asks_too_often_is_told_when_to_come_back(memory: ContinuousMemory, tmp_path: Path):
    file = tmp_path / "tokens.json"
    often, seldom = (new_token(file, name=name, namespaces=["a"], writes=True) for name in ("often", "seldom"))
    client = TestClient(create_app(memory, ServerSettings(rate="5/minute"), tokens=Tokens(file)))
    answers = [client.get("/v1/memory", headers={"Authorization": f"Bearer {often}"}) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].json()["type"] == "RateLimitError" and 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert client.get("/v1/memory", headers={"Authorization": f"Bearer {seldom}"}).status_code == 200


def test_writes_beyond_those_that_may_wait_are_refused_and_reads_go_on(memory: ContinuousMemory):
    settings = ServerSettings(writes_at_once=1, writes_waiting=1)
    items = [{"text": f"Note {number}."} for number in range(40)]
    statuses: list[int] = []
    with serving(app := create_app(memory, settings)) as url, httpx.Client(base_url=url, timeout=60) as client:

        def add(part: int) -> None:
            own = [{"text": f"{item['text']} {part}"} for item in items]
            statuses.append(client.post("/v1/items", json={"items": own}).status_code)

        threads = [threading.Thread(target=add, args=(part,)) for part in range(5)]
        with memory.backbone.lock:  # while it is held, nothing is encoded
            for thread in threads:
                thread.start()
            until = time.monotonic() + 30
            while len(statuses) < 3 and time.monotonic() < until:
                assert client.post("/v1/items/count", json={}).json() == {"count": 0}
            queue = app.state.served.writes
            assert (queue.running, queue.waiting, statuses) == (1, 1, [503] * 3)
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200, 200, 503, 503, 503] and memory.clear() == 80
