"""`comem serve` over REST: what is stored and found, who may do what, what is refused."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from comem_memory import ContinuousMemory
from comem_memory.server.app import create_app
from comem_memory.server.wire import Vectors
from comem_memory.testing import tiny_memory, tiny_picture


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("served")) as memory:
        yield memory


@pytest.fixture
def memory(opened: ContinuousMemory) -> ContinuousMemory:
    for name in opened.namespaces():
        opened.namespace(name).clear()
    return opened


@pytest.fixture
def client(memory: ContinuousMemory) -> Iterator[TestClient]:
    with TestClient(create_app(memory), raise_server_exceptions=False) as client:
        yield client


def encoded(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def post(client: TestClient, path: str, body: Any, **params: Any) -> Any:
    answer = client.post(f"/v1{path}", json=body, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_item_comes_back_as_it_was_given(client: TestClient, memory: ContinuousMemory):
    item = {
        "text": "The blue door opens with the brass key.",
        "image": encoded(tiny_picture(1)),
        "id": "a/door #1?",
        "metadata": {"year": 2020, "author": {"name": "Ada"}, "open": True, "tags": ["a", "b"]},
        "said_at": "2026-05-03T18:30:00+02:00",
        "expires": "P30D",
        "notes": {"comem.chat.role": "user"},
    }
    assert post(client, "/items", {"items": [item]}) == {"ids": ["a/door #1?"]}
    [hit] = post(client, "/items/get", {"ids": ["a/door #1?"], "vectors": True})["hits"]
    assert hit["said_at"] == "2026-05-03T18:30:00.000000+02:00"
    assert {name: hit[name] for name in ("id", "text", "metadata")} == {
        name: item[name] for name in ("id", "text", "metadata")
    }
    [own] = memory.get("a/door #1?")
    assert hit["created_at"] == own.created_at and hit["expires"] == own.expires is not None
    assert np.array_equal(Vectors(**hit["memory_embeddings"]).array(), own.memory_embeddings.numpy())
    picture = client.get(hit["image"])
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).tobytes() == tiny_picture(1).tobytes()
    [record] = memory.store.get(["a/door #1?"], namespace="default")
    assert record.metadata["comem.chat.role"] == "user"
    found = post(client, "/search", {"text": "Which key opens the blue door?", "where": {"author.name": "Ada"}})
    assert [hit["id"] for hit in found["hits"]] == ["a/door #1?"] and "meaning" in found["hits"][0]["found_by"]


def test_no_path_of_the_server_is_opened(client: TestClient, memory: ContinuousMemory, tmp_path: Path):
    path = tmp_path / "secret.png"
    tiny_picture(2).save(path)
    for image in (str(path), f"file://{path}", "http://127.0.0.1:1/a.png"):
        answer = client.post("/v1/items", json={"items": [{"text": "A.", "image": image}]})
        assert answer.status_code == 422 and answer.json()["type"] in ("RequestError", "InvalidItemError")
    assert memory.count() == 0
