"""Servers with tokens, TLS, tenants and databases, before which a real proxy stands; and servers that fail."""

import json
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import chromadb
import pytest
from helpers.gateway import Answer, Asked, BreakOffError, Gateway, Rule, gateway, self_signed
from helpers.records import NEW, identity, key, record
from helpers.store_contract import ids_of
from typer.testing import CliRunner

from comem_memory import ChromaServer
from comem_memory.cli.app import app
from comem_memory.errors import ModelConnectionError, StoreAccessError, StoreConnectionError, StoreLocationError
from comem_memory.model import ServedModel
from comem_memory.store import ChromaStore
from comem_memory.store.servers import ATTEMPTS

TOKEN = "a-secret-token"
UPSERT, GET, COUNT = "/upsert", "/get", "/count"


def opened(server: ChromaServer, name: str = "served") -> ChromaStore:
    return ChromaStore.server(server, identity=identity(), collection_name=name)


def with_token(asked: Asked) -> Answer | None:
    return None if asked.headers.get("authorization") == f"Bearer {TOKEN}" else (401, "Who are you?")


def test_a_token_goes_with_each_request_and_without_it_nothing_is_told(server_url: str):
    with gateway(server_url, with_token) as proxy:
        for server in (ChromaServer(url=proxy.url), ChromaServer(url=proxy.url, token="another")):
            with pytest.raises(StoreAccessError, match=r"refuses this token.*ChromaServer\(token=...\)"):
                opened(server, "tokens")
        with closing(opened(ChromaServer(url=proxy.url, token=TOKEN), "tokens")) as store:
            store.put([record("a")])
            assert store.get(["a"], namespace="ann") == [record("a")]
            proxy.rule = lambda _: (403, "No longer.")
            with pytest.raises(StoreAccessError, match="403"):
                store.put([record("b")])
            with pytest.raises(StoreAccessError):
                store.search(key(1), namespace="ann", k=1)


def test_a_secret_is_not_shown():
    server = ChromaServer(url="http://localhost:8000", token=TOKEN, headers={"x-key": TOKEN})
    assert TOKEN not in f"{server!r} {server}"


def test_a_secret_that_cannot_be_sent_is_refused_and_not_shown(server_url: str):
    with gateway(server_url, with_token) as proxy:
        opened(ChromaServer(url=proxy.url, token=f"{TOKEN}\n"), "tokens").close()  # as a file's last line ends
        for one in ({"token": "s3\ncret"}, {"token": "s3cr\u00e9t"}, {"headers": {"x-key": "s3\rcret"}}):
            with pytest.raises(StoreAccessError, match="'(Authorization|x-key)'.*cannot be sent") as refused:
                opened(ChromaServer(url=proxy.url, **one), "tokens")
            assert "s3" not in "".join(traceback.format_exception_only(refused.value)) and not refused.value.__cause__
    with pytest.raises(ModelConnectionError, match="cannot be sent") as of_model:
        ServedModel("http://127.0.0.1:9/v1", "any", token="s3\ncret")
    assert "s3" not in str(of_model.value)


def test_headers_of_ones_own_go_with_each_request(server_url: str):
    def rule(asked: Asked) -> Answer | None:
        return None if asked.headers.get("x-team") == "blue" else (401, "")

    with (
        gateway(server_url, rule) as proxy,
        closing(opened(ChromaServer(url=proxy.url, headers={"X-Team": "blue"}), "headers")) as store,
    ):
        store.put([record("a")])
        assert ids_of(store) == ["a"]


def test_tls_with_an_authority_of_ones_own(server_url: str, tmp_path: Path):
    certificate, private = self_signed(tmp_path)
    with gateway(server_url, with_token, tls=(certificate, private)) as proxy:
        with pytest.raises(StoreLocationError, match="certificate"):
            opened(ChromaServer(url=proxy.url, token=TOKEN), "tls")
        with closing(opened(ChromaServer(url=proxy.url, token=TOKEN, certificates=certificate), "tls")) as store:
            store.put([record("a")])
            assert store.get(["a"], namespace="ann") == [record("a")]
    with pytest.raises(StoreLocationError, match="no file of certificates"):
        opened(ChromaServer(url=proxy.url, certificates=tmp_path / "missing.pem"), "tls")


@pytest.mark.parametrize("answer", [(404, "<html>Not here.</html>"), (200, "<html>Welcome!</html>"), (500, "")])
def test_what_is_no_chroma_server_is_named(server_url: str, answer: Answer):
    with gateway(server_url, lambda _: answer) as proxy, pytest.raises(StoreLocationError, match="No Chroma server"):
        opened(ChromaServer(url=proxy.url))


def test_tenants_and_databases_are_apart(server_url: str):
    host, _, port = server_url.rpartition(":")
    admin = chromadb.AdminClient(
        chromadb.config.Settings(
            chroma_api_impl="chromadb.api.fastapi.FastAPI",
            chroma_server_host=host.removeprefix("http://"),
            chroma_server_http_port=int(port),
            anonymized_telemetry=False,
        )
    )
    admin.create_tenant("acme")
    for database in ("one", "two"):
        admin.create_database(database, "acme")
    servers = [ChromaServer(url=server_url, tenant="acme", database=name) for name in ("one", "two")]
    with (
        closing(opened(servers[0])) as one,
        closing(opened(servers[1])) as two,
        closing(opened(ChromaServer(url=server_url), "served")) as default,
    ):
        one.put([record("a")])
        two.put([record("b")])
        assert (ids_of(one), ids_of(two), ids_of(default)) == (["a"], ["b"], [])
    for wrong in (ChromaServer(url=server_url, tenant="acme"), ChromaServer(url=server_url, database="three")):
        with pytest.raises(StoreLocationError, match="no such tenant and database"):
            opened(wrong)


def test_the_command_line_takes_secrets_from_the_environment(server_url: str):
    def rule(asked: Asked) -> Answer | None:
        return with_token(asked) or (None if asked.headers.get("x-team") == "blue" else (401, ""))

    with gateway(server_url, rule) as proxy:
        server = ChromaServer(url=proxy.url, token=TOKEN, headers={"X-Team": "blue"})
        with closing(opened(server, "comem")) as store:
            store.put([record("a")])
        secrets = {"COMEM_SERVER_TOKEN": TOKEN, "COMEM_SERVER_HEADER": "X-Team:blue"}
        stats = ["--server", proxy.url, "--namespace", "ann", "stats", "--json"]
        result = CliRunner().invoke(app, stats, env=secrets)
        assert json.loads(result.output)["items"] == 1
        for missing in secrets:
            result = CliRunner().invoke(app, stats, env=secrets | {missing: None})
            assert isinstance(result.exception, StoreAccessError)
    result = CliRunner().invoke(app, ["--server", server_url, "--server-header", "no-colon", "stats"])
    assert result.exit_code == 2 and "'no-colon' is not Name:value" in result.output


def test_what_is_stored_anew_while_a_migration_ends_is_not_taken_for_deleted(server_url: str):
    reads: list[Asked] = []
    anew: list[Asked] = []

    with (
        gateway(server_url) as proxy,
        closing(opened(ChromaServer(url=proxy.url), "anew")) as store,
        closing(opened(ChromaServer(url=server_url), "anew")) as other,
    ):
        store.put([record("a"), record("b")])
        migration = store.begin_migration(NEW)
        for some in migration.pending(batch_size=2):
            migration.put([record(one.id, key=key(7, 5)) for one in some])
        old = str(store._opened._collection.id)

        def rule(asked: Asked) -> None:
            if old in asked.path and asked.path.endswith(GET) and not asked.body.get("ids"):
                reads.append(asked)
                if len(reads) == 2:  # which tells what has been deleted since it was staged
                    other.delete(namespace="ann", ids=["a"])
            elif len(reads) == 2 and not anew:
                anew.append(asked)
                other.put([record("a")])

        proxy.rule = rule
        migration.commit()
        assert len(reads) == 2 and ids_of(store) == ["a", "b"]


# Servers that fail


@pytest.fixture
def failing(server_url: str, request: pytest.FixtureRequest) -> Iterator[tuple[Gateway, ChromaStore]]:
    """A store of the record a, and the proxy before it."""
    with gateway(server_url) as proxy:
        server = ChromaServer(url=proxy.url, timeout=2)
        with closing(opened(server, f"failing-{abs(hash(request.node.name))}")) as store:
            store.put([record("a")])
            proxy.asked.clear()
            yield proxy, store


def times(count: int, ending: str, answer: Answer | BreakOffError) -> Rule:
    """Fails the first requests whose path ends so."""
    left = [count]

    def rule(asked: Asked) -> Answer | None:
        if not asked.path.endswith(ending) or not left[0]:
            return None
        left[0] -= 1
        if isinstance(answer, BreakOffError):
            raise answer
        return answer

    return rule


def asked_for(proxy: Gateway, ending: str) -> int:
    return sum(asked.path.endswith(ending) for asked in proxy.asked)


@pytest.mark.parametrize("status", [429, 503])
def test_what_a_server_did_not_begin_is_sent_again(failing: tuple[Gateway, ChromaStore], status: int):
    proxy, store = failing
    proxy.rule = times(2, UPSERT, (status, "busy"))
    store.put([record("b")])
    assert asked_for(proxy, UPSERT) == 3
    proxy.rule = times(2, GET, (status, "busy"))
    assert ids_of(store) == ["a", "b"]


@pytest.mark.parametrize("failure", [BreakOffError(), (502, "bad gateway"), (504, "late")])
def test_what_only_reads_is_sent_again_when_it_broke_off(
    failing: tuple[Gateway, ChromaStore], failure: Answer | BreakOffError
):
    proxy, store = failing
    proxy.rule = times(2, GET, failure)
    assert store.get(["a"], namespace="ann") == [record("a")]


@pytest.mark.parametrize("failure", [BreakOffError(after=True), (502, "bad gateway"), (504, "late")])
def test_a_write_that_broke_off_is_not_and_says_so(
    failing: tuple[Gateway, ChromaStore], failure: Answer | BreakOffError
):
    proxy, store = failing
    proxy.rule = times(1, UPSERT, failure)
    with pytest.raises(StoreConnectionError, match="does not answer"):
        store.put([record("b")])
    assert asked_for(proxy, UPSERT) == 1
    store.put([record("b")])  # again is safe
    assert store.get(["a", "b"], namespace="ann") == [record("a"), record("b")]


def test_a_server_that_stays_away_is_given_up_soon(failing: tuple[Gateway, ChromaStore]):
    proxy, store = failing
    proxy.rule = lambda _: (503, "away")
    began = time.monotonic()
    with pytest.raises(StoreConnectionError, match="503.*Try again when it does"):
        store.get(["a"], namespace="ann")
    assert len(proxy.asked) == ATTEMPTS and time.monotonic() - began < 20
    proxy.rule = lambda _: None
    assert store.get(["a"], namespace="ann") == [record("a")]


def test_a_server_that_hangs_is_not_waited_for_without_end(failing: tuple[Gateway, ChromaStore]):
    proxy, store = failing
    release = threading.Event()

    def hang(asked: Asked) -> Answer:
        release.wait(60)
        return 200, "{}"

    proxy.rule = hang
    for call in (lambda: store.search(key(1), namespace="ann", k=1), lambda: store.put([record("b")])):
        began = time.monotonic()
        with pytest.raises(StoreConnectionError, match=r"did not answer in time.*ChromaServer\(timeout=...\)"):
            call()
        assert 1.5 < time.monotonic() - began < 20
    release.set()
    proxy.rule = lambda _: None
    assert ids_of(store) == ["a"]


def test_a_slow_server_is_waited_for(failing: tuple[Gateway, ChromaStore]):
    proxy, store = failing

    def slow(asked: Asked) -> None:
        time.sleep(0.3)

    proxy.rule = slow
    assert store.get(["a"], namespace="ann") == [record("a")]


def test_nothing_acknowledged_is_lost_where_every_third_request_fails(server_url: str):
    count = 0

    def rule(asked: Asked) -> Answer | None:
        nonlocal count
        count += 1
        if count % 3 == 0:
            raise BreakOffError(after=count % 2 == 0)
        return None if count % 3 == 1 or count % 7 else (503, "busy")

    with gateway(server_url) as proxy, closing(opened(ChromaServer(url=proxy.url), "every-third")) as store:
        proxy.rule = rule
        acknowledged = []
        for n in range(40):
            try:
                store.put([record(f"{n:02}")])
                acknowledged.append(f"{n:02}")
            except StoreConnectionError:
                pass
        proxy.rule = lambda _: None
        assert 5 < len(acknowledged) < 40
        found = store.get(acknowledged, namespace="ann")
        assert found == [record(id) for id in acknowledged]
