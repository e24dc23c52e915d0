"""`comem serve` over REST: what is stored and found, who may do what, what is refused."""

import base64
import io
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from helpers.servers import serving
from PIL import Image

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.chat import ChatSettings
from comem_memory.memory import RecallOptions
from comem_memory.retrieval import SearchOptions
from comem_memory.server import wire
from comem_memory.server.app import create_app
from comem_memory.server.wire import Vectors
from comem_memory.testing import tiny_memory, tiny_picture
from comem_memory.types import MemoryHit, with_notes


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


def test_nothing_that_the_memory_has_is_lost_on_the_wire(memory: ContinuousMemory):
    assert {field.name for field in fields(MemoryHit)} == set(wire.Hit.model_fields)
    assert {*MemoryItem.model_fields, "notes"} == set(wire.Item.model_fields)
    assert set(SearchOptions.__annotations__) == set(wire.SearchOptions.model_fields)
    assert set(RecallOptions.__annotations__) <= set(wire.ReplyRequest.model_fields)
    settings = {field.name for field in fields(ChatSettings)} - {"schema", "generation_kwargs"}
    assert settings <= set(wire.ChatSettings.model_fields)
    given = MemoryItem(
        text="Text.", id="a", metadata={"a": {"b": [1, 2.5]}}, said_at="2026-05-03T18:30:00+02:00", expires="P1D",
        supersedes=["b"],
    )  # fmt: skip
    noted = with_notes(given, {"comem.chat.turn": 1})
    sent = wire.Item.of(noted, None).model_dump_json(exclude_unset=True)
    assert wire.Item.model_validate_json(sent).item() == noted
    unset = wire.Item.model_validate_json(
        wire.Item.of(MemoryItem(text="A.", expires=None), None).model_dump_json(exclude_unset=True)
    )
    assert unset.item().model_fields_set == {"text", "expires"}, "a time that is taken away is told from none given"
    memory.add(MemoryItem(text="Text.", id="b", image=tiny_picture(3)))
    memory.add(given)
    for hit in (*memory.search("Text."), *memory.history("a")):
        sent = wire.Hit.of(hit, where=lambda kind, place: f"/{kind}/{place}", vectors=True)
        back = wire.Hit.model_validate_json(sent.model_dump_json())
        assert back == sent and back.memory_embeddings is not None
        assert (back.memory_embeddings.array() == hit.memory_embeddings.numpy()).all()
        assert back.image == (hit.image and "/pictures/None")
        for field in {field.name for field in fields(MemoryHit)} - {"image", "memory_embeddings", "content"}:
            value = getattr(hit, field)
            assert getattr(back, field) == (list(value) if isinstance(value, tuple) else value), field


def test_items_are_listed_changed_superseded_and_deleted(client: TestClient, memory: ContinuousMemory):
    items = [{"id": f"{n:02}", "text": f"Note {n}.", "metadata": {"even": n % 2 == 0}} for n in range(10)]
    post(client, "/items", {"items": items})
    first = post(client, "/items/list", {"limit": 4, "where": {"even": True}})
    second = post(client, "/items/list", {"limit": 4, "where": {"even": True}, "after": first["next"]})
    assert [hit["id"] for hit in first["hits"] + second["hits"]] == ["00", "02", "04", "06", "08"]
    assert (first["next"], second["next"]) == ("06", None)
    newest = post(client, "/items/newest", {"limit": 2, "offset": 1, "where": {"even": True}})["hits"]
    assert [hit["id"] for hit in newest] == ["06", "04"]
    assert post(client, "/items/count", {"where": {"even": False}}) == {"count": 5}
    assert post(client, "/items/same", {"items": [{"text": "Note 3."}, {"text": "?"}]}) == {"ids": [["03"], []]}
    assert client.patch("/v1/items", json={"id": "03", "metadata": {"changed": True}}).status_code == 204
    assert client.patch("/v1/items", json={"id": "04", "text": "Changed."}).status_code == 204
    changed = post(client, "/items/get", {"ids": ["04", "03"]})["hits"]
    assert [(hit["text"], hit["metadata"]) for hit in changed] == [
        ("Changed.", {"even": True}),
        ("Note 3.", {"changed": True}),
    ]
    post(client, "/items", {"items": [{"id": "new", "text": "Newer.", "supersedes": "05"}]})
    history = post(client, "/items/history", {"id": "05"})["hits"]
    assert [(hit["id"], hit["superseded_by"]) for hit in history] == [("05", "new"), ("new", None)]
    assert "05" in post(client, "/items/ids", {"history": True})["ids"]
    assert post(client, "/items/delete", {"where": {"even": True}}) == {"deleted": 5}
    for body, status, kind in (
        ({"ids": ["04"]}, 404, "ItemNotFoundError"),
        ({"ids": ["04"], "skip": True}, 422, "RequestError"),
    ):
        refused = client.post("/v1/items/get", json=body)
        assert (refused.status_code, refused.json()["type"]) == (status, kind)
    assert client.post("/v1/items/delete", json={}).json()["type"] == "QueryError"
    assert post(client, "/items/clear", None) == {"deleted": 6} and memory.count() == 0


def test_many_clients_at_once_leave_what_one_after_the_other_would(memory: ContinuousMemory):
    failures: list[str] = []
    with serving(create_app(memory)) as url:

        def work(client: int) -> None:
            with httpx.Client(base_url=url, params={"namespace": f"user {client % 2}"}, timeout=60) as http:
                for n in range(6):
                    shared, own = {"text": f"Shared {n}."}, {"id": f"{client}-{n}", "text": f"Own {client} {n}."}
                    answers = [
                        http.post("/v1/items", json={"items": [shared, own]}),
                        http.post("/v1/search", json={"text": f"Own {client} {n}.", "k": 1, "min_similarity": -1}),
                        http.patch("/v1/items", json={"id": f"{client}-{n}", "metadata": {"by": client}}),
                    ]
                    failures.extend(answer.text for answer in answers if answer.status_code >= 300)
                    [found] = answers[1].json()["hits"]
                    if found["id"] != f"{client}-{n}":
                        failures.append(f"{client}-{n}: {found['id']}")

        threads = [threading.Thread(target=work, args=(client,)) for client in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    for user in range(2):
        hits = list(memory.namespace(f"user {user}").scan())
        own = {hit.id: hit.metadata for hit in hits if hit.text and hit.text.startswith("Own")}
        assert own == {f"{client}-{n}": {"by": client} for client in range(8) if client % 2 == user for n in range(6)}
        assert sorted(hit.text for hit in hits if hit.id not in own) == [f"Shared {n}." for n in range(6)]
