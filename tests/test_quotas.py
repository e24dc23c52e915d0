"""Chroma Cloud's quotas, enforced by a proxy before a real server: what is sent stays within them."""

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from helpers.gateway import Answer, Asked, Gateway, gateway
from helpers.records import NEW, identity, key, record
from helpers.store_contract import ids_of

from comem_memory import ChromaServer
from comem_memory.errors import InvalidItemError
from comem_memory.store import ChromaStore, MemoryRecord, Quotas, encode_block
from comem_memory.store.ids import SEPARATOR

QUOTAS = Quotas()


def refusal(asked: Asked) -> str | None:
    """What Chroma Cloud would say against a request (docs.trychroma.com/cloud/quotas-limits)."""
    body = asked.body or {}
    ids, metadatas = body.get("ids") or [], body.get("metadatas") or []
    if asked.path.endswith(("/upsert", "/update", "/get", "/delete")) and len(ids) > 300:
        return f"{len(ids)} records"
    if asked.path.endswith("/get") and not ids and (body.get("limit") or 10**9) > 300:
        return f"{body.get('limit')} results"
    if asked.path.endswith("/query") and body["n_results"] > 300:
        return f"{body['n_results']} results"
    if any(len(id.encode()) > 128 for id in ids):
        return "id"
    if any(len((document or "").encode()) > 16384 for document in body.get("documents") or []):
        return "document"
    for metadata in metadatas:
        kept = {name: value for name, value in (metadata or {}).items() if value is not None}
        if len(kept) > 32 or any(len(name.encode()) > 36 for name in kept):
            return f"keys: {sorted(kept)}"
        if long := [name for name, value in kept.items() if isinstance(value, str) and len(value.encode()) > 4096]:
            return f"value of {long}"
    of_collection = body.get("metadata") or {}
    if len(of_collection) > 32 or any(len(str(value)) > 256 for value in of_collection.values()):
        return "metadata of the collection"
    return f"predicates: {predicates}" if (predicates := predicates_in(body.get("where"))) > 8 else None


def predicates_in(where: Any) -> int:
    if not isinstance(where, dict):
        return 0
    return sum(sum(map(predicates_in, value)) if name in ("$and", "$or") else 1 for name, value in where.items())


def enforce(asked: Asked) -> Answer | None:
    said = refusal(asked)
    return None if said is None else (422, f'{{"error": "QuotaExceeded", "message": "{said}"}}')


@pytest.fixture(scope="module")
def proxy(server_url: str) -> Iterator[Gateway]:
    with gateway(server_url, enforce) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: Gateway, request: pytest.FixtureRequest) -> Iterator[ChromaStore]:
    name = f"quotas-{abs(hash(request.node.name))}"
    server = ChromaServer(url=proxy.url, quotas=QUOTAS)
    with closing(ChromaStore.server(server, identity=identity(), collection_name=name)) as store:
        yield store


def real(id: str, precision: Any, h: int, **fields: Any) -> MemoryRecord:
    vectors = torch.randn(8, h, generator=torch.Generator().manual_seed(len(id)))
    return record(id, block=encode_block(vectors, precision), **fields)


def test_the_proxy_refuses_what_is_beyond(proxy: Gateway):
    store = ChromaStore.server(proxy.url, identity=identity(), collection_name="beyond")
    with closing(store), pytest.raises(Exception, match="None results"):
        store.put([real("a", "int8", 3584)])


@pytest.mark.parametrize(
    ("precision", "h"), [("int8", 576), ("int8", 3584), ("bf16", 3584), ("int4", 8192), ("fp32", 576)]
)
def test_blocks_are_in_parts(store: ChromaStore, precision: str, h: int):
    whole = [real("a", precision, h, metadata={"n": 1}), record("b", block="short")]
    store.put(whole)
    assert store.get(["a", "b"], namespace="ann") == whole
    shorter = record("a", block="now short")
    store.put([shorter])
    assert store.get(["a"], namespace="ann") == [shorter]


def test_packed_blocks_and_their_reference_are_in_parts(store: ChromaStore):
    generator = np.random.default_rng(0)
    common = generator.standard_normal((8, 3584), np.float32)
    made = [common + 0.2 * generator.standard_normal((8, 3584), np.float32) for _ in range(40)]
    whole = [record(f"{n:02}", block=encode_block(torch.from_numpy(one), "int8")) for n, one in enumerate(made)]
    store.put(whole)
    assert store.get([one.id for one in whole], namespace="ann") == whole


def test_long_texts_and_metadata_are_in_parts(store: ChromaStore):
    text = "Ein längerer Text. " * 1000  # 20,000 bytes
    metadata = {"long": "é" * 2100, "dict": {"deep": ["x" * 3000, "y" * 3000]}, "short": "s"}
    whole = record("a", text=text, metadata=metadata, supersedes=tuple(f"{n:040}" for n in range(120)))
    store.put([whole])
    assert store.get(["a"], namespace="ann") == [whole]
    assert store.summaries(["a"], namespace="ann")[0].metadata == metadata
    assert store.ids(namespace="ann", where={"short": "s"}) == ["a"]


def test_more_records_than_a_request_may_name_or_return(store: ChromaStore):
    whole = [record(f"{n:04}", seed=n, metadata={"even": n % 2 == 0}) for n in range(700)]
    store.put(whole)
    assert ids_of(store) == [one.id for one in whole]
    assert store.count(namespace="ann", where={"even": True}) == 350
    assert [one.id for one, _ in store.search(key(3), namespace="ann", k=1)] == ["0003"]
    keys = np.stack([one.key for one in whole])
    best = np.argsort(-(keys @ key(9999)))[:400]
    assert [one.id for one, _ in store.search(key(9999), namespace="ann", k=400)] == [f"{n:04}" for n in best]
    assert store.namespaces() == ["ann"]
    assert len(store.delete(namespace="ann", where={"even": True})) == 350
    assert store.count(namespace="ann") == 350


def test_a_migration_stays_within(store: ChromaStore):
    store.put([record(f"{n:03}", seed=n) for n in range(320)])
    migration = store.begin_migration(NEW)
    for some in migration.pending(batch_size=64):
        migration.put([record(one.id, key=key(7, 5)) for one in some])
    migration.commit()
    assert store.identity == NEW and store.count(namespace="ann") == 320


@contextmanager
def deleting(proxy: Gateway, server_url: str, store: ChromaStore, ids: list[str], after: int) -> Iterator[None]:
    """Another process deletes records after so many pages of a collection have been read."""
    name = store._opened.name
    pages = itertools.count()

    def rule(asked: Asked) -> Answer | None:
        is_page = asked.path.endswith("/get") and not (asked.body.get("ids") or asked.body.get("where"))
        if is_page and next(pages) == after:
            with closing(ChromaStore.server(server_url, identity=identity(), collection_name=name)) as other:
                other.delete(namespace="ann", ids=ids)
        return enforce(asked)

    proxy.rule = rule
    try:
        yield
    finally:
        proxy.rule = enforce
    assert next(pages) > after


@pytest.mark.parametrize(
    ("gone", "limit"), [(range(1), None), (range(299, 300), 650), (range(250, 310), None), (range(700), None)], ids=str
)
def test_no_record_is_passed_over_while_others_are_deleted(
    proxy: Gateway, server_url: str, store: ChromaStore, gone: range, limit: int | None
):
    names = [f"{n:03}" for n in range(700)]
    store.put([record(name, seed=n) for n, name in enumerate(names)])
    deleted = [names[n] for n in gone]
    with deleting(proxy, server_url, store, deleted, after=1), store._opened.access() as collection:
        answer = collection.get(limit=limit, include=["documents"])
    found = [id.partition(SEPARATOR)[2] for id in answer["ids"]]
    assert len(set(found)) == len(found) == len(answer["documents"] or []) and len(found) <= (limit or 700)
    assert answer["documents"] == [f"text of {id}" for id in found]
    left = [name for name in names if name not in deleted]
    assert set(found) >= set(left[: limit and limit - len(deleted)])


def test_a_migration_loses_nothing_while_others_delete(proxy: Gateway, server_url: str, store: ChromaStore):
    store.put([record(f"{n:03}", seed=n) for n in range(320)])
    migration = store.begin_migration(NEW)
    for some in migration.pending(batch_size=64):
        migration.put([record(one.id, key=key(7, 5)) for one in some])
    with deleting(proxy, server_url, store, ["000"], after=5):  # while the staged are compared with those that are left
        migration.commit()
    assert set(ids_of(store)) | {"000"} == {f"{n:03}" for n in range(320)}


def test_one_record_a_request_is_too_few():
    with pytest.raises(ValueError, match="at least 2"):
        Quotas(results=1)


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (record("a", metadata={f"k{n}": n for n in range(30)}), "takes [0-9]+ metadata keys .*, and 32 are the most"),
        (record("a", metadata={"k" * 37: 1}), "'k{37}' has more than 36 bytes"),
        (record("a" * 130), "namespace and id have 134 bytes"),
        (real("a", "fp32", 3584), "takes 47 metadata keys .*, and 32 are the most"),
    ],
)
def test_what_cannot_be_sent_is_named_before_it_is(proxy: Gateway, store: ChromaStore, one: MemoryRecord, problem: str):
    proxy.asked.clear()
    with pytest.raises(InvalidItemError, match=problem):
        store.put([record("good"), one])
    assert not [asked for asked in proxy.asked if asked.path.endswith("/upsert")]


def test_chroma_cloud_is_recognised_by_its_url():
    for url, header, quotas in (
        ("https://api.trychroma.com", "x-chroma-token", QUOTAS),
        ("https://nottrychroma.com", "Authorization", None),
    ):
        server = ChromaServer(url=url, token="t")
        assert header in server.sent_headers() and server.limits() == quotas
