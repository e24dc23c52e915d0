"""Tokens: each opens what it names and nothing else, is known by its hash alone, and is revoked at once."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from comem_memory import ContinuousMemory
from comem_memory.cli.app import app as command_line
from comem_memory.errors import QueryError, TokenError
from comem_memory.server.app import create_app
from comem_memory.server.tokens import Access, Tokens, new_token
from comem_memory.testing import tiny_memory


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("served")) as memory:
        for name in ("ada", "ada/notes", "bob"):
            memory.namespace(name).add(f"A secret of {name}.")
        yield memory


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def client_of(memory: ContinuousMemory, file: Path, token: str | None) -> TestClient:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return TestClient(create_app(memory, tokens=Tokens(file)), headers=headers)


def test_a_token_opens_what_it_names_and_those_below_if_it_says_so(memory: ContinuousMemory, file: Path):
    ada = client_of(memory, file, new_token(file, name="ada", namespaces=["ada", "ada/*"], writes=True))
    assert ada.get("/v1/memory").json()["namespace"] == "ada"
    assert ada.get("/v1/namespaces").json() == {"namespaces": ["ada", "ada/notes"]}
    assert ada.get("/v1/stats").json()["items"] == {"ada": 1, "ada/notes": 1}
    [found] = ada.post("/v1/search?namespace=ada/notes", json={"text": "secret"}).json()["hits"]
    assert found["text"] == "A secret of ada/notes."
    there = ada.post("/v1/items/count?namespace=bob", json={})
    absent = ada.post("/v1/items/count?namespace=eve", json={})
    assert there.status_code == absent.status_code == 403 and there.json()["type"] == "AccessError"
    assert there.text.replace("bob", "eve") == absent.text, "whether it holds anything is not told"
    alone = client_of(memory, file, new_token(file, name="only ada", namespaces=["ada"], writes=True))
    assert alone.post("/v1/items/count?namespace=ada/notes", json={}).status_code == 403
    everyone = client_of(memory, file, new_token(file, name="root", namespaces=None, writes=True))
    assert everyone.get("/v1/namespaces").json() == {"namespaces": ["ada", "ada/notes", "bob"]}
    assert everyone.get("/v1/memory").json()["namespace"] == "default"


def test_no_token_and_an_unknown_one_open_nothing(memory: ContinuousMemory, file: Path):
    token = new_token(file, name="ada", namespaces=["ada"], writes=True)
    for wrong in (None, "", "comem_", token[:-1], token + "x", token.lower()):
        for method, path in (("GET", "/v1/memory"), ("POST", "/v1/items"), ("GET", "/metrics"), ("GET", "/v1/stats")):
            refused = client_of(memory, file, wrong).request(method, path, json={} if method == "POST" else None)
            assert (refused.status_code, refused.json()["type"]) == (401, "TokenError"), (wrong, path)
            assert refused.headers["WWW-Authenticate"] == "Bearer"
            assert refused.headers["Content-Type"] == "application/problem+json"
    health = client_of(memory, file, None)
    assert health.get("/health").status_code == health.get("/ready").status_code == 200


def test_a_token_for_reading_writes_nothing(memory: ContinuousMemory, file: Path):
    reader = client_of(memory, file, new_token(file, name="reader", namespaces=["bob"], writes=False))
    [secret] = reader.post("/v1/items/list", json={}).json()["hits"]
    assert reader.get("/v1/memory").json()["writable"] is False
    for method, path, body in (
        ("POST", "/v1/items", {"items": [{"text": "A."}]}),
        ("PATCH", "/v1/items", {"id": secret["id"], "text": "Changed."}),
        ("POST", "/v1/items/delete", {"ids": [secret["id"]]}),
        ("POST", "/v1/items/clear", None),
        ("POST", "/v1/items/postpone", {"ids": [secret["id"]], "duration": "P1D"}),
    ):
        assert reader.request(method, path, json=body).status_code == 403, path
    assert [hit.text for hit in memory.namespace("bob").scan()] == ["A secret of bob."]


def test_numbers_are_for_whoever_opens_everything(memory: ContinuousMemory, file: Path):
    ada = client_of(memory, file, new_token(file, name="ada", namespaces=["ada"], writes=True))
    assert ada.get("/metrics").status_code == 403
    root = client_of(memory, file, new_token(file, name="root", namespaces=None, writes=False))
    root.post("/v1/search?namespace=bob", json={"text": "a secret question"})
    told = root.get("/metrics").text
    assert 'comem_requests_total{method="POST",route="/v1/search",status="200"} 1.0' in told
    assert "comem_searches_total 1.0" in told and "comem_answers_waiting 0.0" in told
    assert not re.search("bob|secret|root", told)


def test_a_token_is_revoked_and_given_while_the_server_runs(memory: ContinuousMemory, file: Path):
    token = new_token(file, name="ada", namespaces=["ada"], writes=True)
    client = client_of(memory, file, token)
    assert client.get("/v1/memory").status_code == 200
    other = new_token(file, name="bob", namespaces=["bob"], writes=True)
    assert client.get("/v1/memory", headers={"Authorization": f"Bearer {other}"}).json()["namespace"] == "bob"
    file.write_text(json.dumps({"tokens": json.loads(file.read_text())["tokens"][1:]}))
    assert client.get("/v1/memory").status_code == 401
    assert client.get("/v1/memory", headers={"Authorization": f"Bearer {other}"}).status_code == 200
    file.write_text("{")
    refused = client.get("/v1/memory", headers={"Authorization": f"Bearer {other}"})
    assert refused.status_code == 401 and str(file) not in refused.text


def test_the_command_prints_a_token_once_and_the_file_keeps_its_hash(file: Path):
    made = CliRunner().invoke(command_line, ["token", str(file), "--name", "ada", "--namespaces", "ada, ada/*"])
    token = made.output.strip()
    assert made.exit_code == 0 and len(token) > 40 and token not in file.read_text()
    assert Tokens(file).find(token) == Access("ada", ("ada", "ada/*"), True)
    with pytest.raises(TokenError, match="unknown"):
        Tokens(file).find(token[:-1])
    neither = CliRunner().invoke(command_line, ["token", str(file), "--name", "bob"])
    assert neither.exit_code == 2 and "--all" in neither.output
    with pytest.raises(QueryError, match="has a token named 'ada'"):
        new_token(file, name="ada", namespaces=None, writes=True)
    with pytest.raises(QueryError, match="namespace"):
        new_token(file, name="eve", namespaces=[""], writes=True)
    with pytest.raises(TokenError, match="comem token"):
        Tokens(file.with_name("missing.json"))


def test_tokens_made_at_once_are_all_there(tmp_path: Path):
    file = tmp_path / "etc" / "tokens.json"
    with ThreadPoolExecutor(16) as threads:
        made = list(
            threads.map(lambda n: new_token(file, name=f"user {n}", namespaces=[f"{n}"], writes=True), range(16))
        )
    known = Tokens(file)
    assert [known.find(token).name for token in made] == [f"user {n}" for n in range(16)]


def test_pages_of_other_sites_do_not_reach_a_server_without_tokens(memory: ContinuousMemory, file: Path):
    asked = [("POST", "/v1/items/clear"), ("POST", "/mcp"), ("POST", "/v1/chat/completions"), ("GET", "/v1/stats")]
    view = memory.namespace("clear")
    view.add("Kept.")
    with TestClient(create_app(memory)) as client:
        client.params = {"namespace": "clear"}
        for method, path in asked:
            for origin in ("https://evil.example", "null", "http://testserver.evil.example", "http://testserver:1"):
                refused = client.request(method, path, headers={"Origin": origin})
                assert (refused.status_code, refused.json()["type"]) == (403, "AccessError"), (path, origin)
        assert view.count() == 1
        assert client.post("/v1/items/clear", headers={"Origin": "http://testserver"}).json() == {"deleted": 1}
    token = new_token(file, name="ada", namespaces=["ada"], writes=True)
    elsewhere = client_of(memory, file, token).get("/v1/memory", headers={"Origin": "https://app.example"})
    assert elsewhere.status_code == 200, "what has the token may ask from anywhere"
