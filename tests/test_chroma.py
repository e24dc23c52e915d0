"""The store's contract on real Chroma: embedded, in memory, behind a server; crashes, locks, migrations."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.api.client import Client
from chromadb.api.models.Collection import Collection
from helpers.processes import chroma_server, run
from helpers.records import NEW, OLD, THIRD, encoded_again, identity, key, migrate, record

from comem_memory.errors import (
    DuplicateIdError,
    EncoderMismatchError,
    InvalidItemError,
    QueryError,
    StoreClosedError,
    StoreConnectionError,
    StoreLocationError,
)
from comem_memory.store.chroma import ChromaStore
from comem_memory.store.contract import MemoryStore


def ids_of(store: MemoryStore, namespace: str = "ann") -> list[str]:
    return [r.id for batch in store.scan(namespace=namespace) for r in batch]


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(params=["embedded", "in_memory", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChromaStore]:
    if request.param == "embedded":
        store = ChromaStore.embedded(tmp_path / "memory", identity=identity())
    elif request.param == "in_memory":
        store = ChromaStore.in_memory(identity=identity())
    else:
        name = f"test-{abs(hash(request.node.name))}-{os.getpid()}"
        store = ChromaStore.server(request.getfixturevalue("server_url"), identity=identity(), collection_name=name)
    yield store
    store.close()


class TestContract:
    def test_records_come_back_as_they_were_put(self, store: ChromaStore):
        full = record("a", image="images/a.png", truncated=True, metadata={"s": "é", "i": 3, "f": 2.0, "b": True})
        bare = record("b", text=None)
        store.put([full, bare])
        back = store.get(["a", "b"], namespace="ann")
        assert back == [full, bare]
        for r, original in zip(back, [full, bare], strict=True):
            assert r.key.dtype == np.float32
            np.testing.assert_array_equal(r.key, original.key)
        assert [type(v) for v in back[0].metadata.values()] == [type(full.metadata[name]) for name in back[0].metadata]

    def test_get_keeps_the_order_asked_and_leaves_out_what_is_missing(self, store: ChromaStore):
        store.put([record(c) for c in "abcd"])
        assert [r.id for r in store.get(["d", "nothing", "a", "c"], namespace="ann")] == ["d", "a", "c"]
        assert store.get([], namespace="ann") == []

    def test_putting_again_replaces_everything(self, store: ChromaStore):
        store.put([record("a", metadata={"old": 1, "both": 1}, image="a.png")])
        newer = record("a", metadata={"both": 2}, text=None, seed=99, block="other")
        store.put([newer])
        assert store.get(["a"], namespace="ann") == [newer]
        assert store.count(namespace="ann", where={"old": 1}) == 0
        assert store.count(namespace="ann") == 1
        store.put([])

    def test_one_id_is_put_once_a_call(self, store: ChromaStore):
        store.put([record("a"), record("a", namespace="bob")])
        with pytest.raises(DuplicateIdError, match="Store each id once"):
            store.put([record("a"), record("a")])

    def test_more_records_than_a_batch(self, store: ChromaStore):
        records = [record(f"{i:04}") for i in range(150)]
        store.put(records)
        assert store.count(namespace="ann") == 150
        hashes = store.content_hashes([r.id for r in records] + ["nothing"], namespace="ann")
        assert hashes == {r.id: r.content_hash for r in records}
        assert len(store.search(key(1), namespace="ann", k=150)) == 150

    def test_scan_is_ordered_and_in_batches(self, store: ChromaStore):
        store.put([record(f"{i:02}") for i in reversed(range(20))])
        store.put([record("elsewhere", namespace="bob")])
        batches = list(store.scan(namespace="ann", batch_size=8))
        assert [len(batch) for batch in batches] == [8, 8, 4]
        assert [r.id for batch in batches for r in batch] == [f"{i:02}" for i in range(20)]

    def test_namespaces_do_not_see_each_other(self, store: ChromaStore):
        store.put([record("a", seed=1), record("b", namespace="bob", seed=1), record("a", namespace="eve")])
        assert store.namespaces() == ["ann", "bob", "eve"]
        assert [r.id for r in store.get(["a", "b"], namespace="bob")] == ["b"]
        assert store.content_hashes(["a"], namespace="bob") == {}
        assert [r.namespace for r, _ in store.search(key(1), namespace="bob", k=9)] == ["bob"]
        everything = {"$or": [{"nothing": {"$ne": 1}}, {"other": {"$ne": 1}}]}
        assert store.count(namespace="bob", where=everything) == 1
        assert store.delete(namespace="bob", ids=["a"]) == []
        assert len(store.delete(namespace="bob", where=everything)) == 1
        assert store.namespaces() == ["ann", "eve"]
        assert ids_of(store, "bob") == []

    @pytest.mark.parametrize("namespace", ["", "ann\x1fa", "a\nb"])
    def test_a_namespace_that_could_be_mistaken_is_refused(self, store: ChromaStore, namespace: str):
        for call in (
            lambda: store.put([record("a", namespace=namespace)]),
            lambda: store.get(["a"], namespace=namespace),
            lambda: store.search(key(1), namespace=namespace, k=1),
            lambda: store.delete(namespace=namespace),
            lambda: store.count(namespace=namespace),
        ):
            with pytest.raises(QueryError, match="not printable"):
                call()

    def test_search_ranks_by_inner_product_with_negative_ones_too(self, store: ChromaStore):
        records = [record(f"{i:02}", seed=i) for i in range(30)]
        store.put(records)
        query = key(1000)
        expected = sorted(((float(r.key @ query), r.id) for r in records), key=lambda pair: (-pair[0], pair[1]))
        hits = store.search(query, namespace="ann", k=30)
        assert [r.id for r, _ in hits] == [id for _, id in expected]
        np.testing.assert_allclose([s for _, s in hits], [s for s, _ in expected], atol=1e-6)
        assert hits[-1][1] < 0
        assert store.search(query, namespace="ann", k=3) == hits[:3]
        assert store.search(-query, namespace="ann", k=1)[0][0].id == expected[-1][1]

    def test_keys_need_not_have_unit_length(self, store: ChromaStore):
        store.put(
            [
                record("long", key=3 * key(1)),
                record("short", key=0.1 * key(1)),
                record("zero", key=0 * key(1)),
            ]
        )
        hits = store.search(key(1), namespace="ann", k=5)
        assert [r.id for r, _ in hits] == ["long", "short", "zero"]
        np.testing.assert_allclose([s for _, s in hits], [3, 0.1, 0], atol=1e-5)

    def test_equal_scores_are_ordered_by_id_wherever_the_cut_is(self, store: ChromaStore):
        names = [f"{(i * 37) % 100:02}" for i in range(100)]
        store.put([record(name, seed=5) for name in names])
        assert [r.id for r, _ in store.search(key(5), namespace="ann", k=7)] == sorted(names)[:7]

    def test_empty_places(self, store: ChromaStore):
        assert store.search(key(1), namespace="ann", k=3) == []
        assert store.namespaces() == []
        assert store.count(namespace="ann") == 0
        assert store.delete(namespace="ann", ids=["a"]) == []
        assert list(store.scan(namespace="ann")) == []

    def test_search_refuses_what_cannot_be_answered(self, store: ChromaStore):
        with pytest.raises(QueryError, match="k is 0"):
            store.search(key(1), namespace="ann", k=0)
        with pytest.raises(QueryError, match=r"shape \(5,\)"):
            store.search(key(1, 5), namespace="ann", k=1)
        with pytest.raises(QueryError, match="not finite"):
            store.search(key(1) * np.nan, namespace="ann", k=1)

    def test_put_refuses_keys_of_another_dimension_before_storing_anything(self, store: ChromaStore):
        with pytest.raises(EncoderMismatchError, match="letters-v1"):
            store.put([record("a"), record("b", key=key(1, 5))])
        assert store.count(namespace="ann") == 0

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ({}, "abc"),
            ({"year": 2020}, "a"),
            ({"year": {"$gte": 2021}}, "bc"),
            ({"year": {"$gt": 2020, "$lt": 2022.5}}, "b"),
            ({"year": {"$lte": 2021}, "kind": "note"}, "a"),
            ({"kind": {"$in": ["note", "mail"]}}, "abc"),
            ({"kind": {"$nin": ["note"]}}, "b"),
            ({"kind": {"$ne": "note"}}, "b"),
            ({"$or": [{"year": 2020}, {"kind": "mail"}]}, "ab"),
            ({"$and": [{"year": {"$gt": 2020}}, {"$or": [{"kind": "note"}]}]}, "c"),
            ({"done": True}, "c"),
            ({"year": {"$eq": 1999}}, ""),
        ],
    )
    def test_filters(self, store: ChromaStore, where: dict[str, Any], expected: str):
        store.put(
            [
                record("a", metadata={"year": 2020, "kind": "note"}),
                record("b", metadata={"year": 2021, "kind": "mail"}),
                record("c", metadata={"year": 2023, "kind": "note", "done": True}),
                record("x", namespace="bob", metadata={"year": 2020, "kind": "note"}),
            ]
        )
        assert sorted(r.id for r, _ in store.search(key(1), namespace="ann", k=9, where=where)) == list(expected)
        assert store.count(namespace="ann", where=where) == len(expected)
        assert set(store.delete(namespace="ann", ids=["a", "b"], where=where)) == set(expected) & set("ab")
        assert set(store.delete(namespace="ann", where=where)) == set(expected) - set("ab")

    @pytest.mark.parametrize(
        "where",
        [
            {"year": {"$near": 2020}},
            {"$not": [{"a": 1}]},
            {"comem.namespace": "bob"},
            {"$or": [{"a": 1}, {"comem.namespace": {"$eq": "bob"}}]},
            {"#document": "x"},
            {"$and": []},
            {"$or": [{}]},
            {"$or": {"a": 1}},
            {"a": {"$in": []}},
            {"a": {"$in": [1, "b"]}},
            {"a": {"$gt": "x"}},
            {"a": {}},
            {"a": None},
            {"a": [1]},
            ["a"],
        ],
    )
    def test_filters_that_cannot_be_understood(self, store: ChromaStore, where: Any):
        with pytest.raises(QueryError, match=r"\$eq, \$ne, \$gt.*\$and or \$or"):
            store.search(key(1), namespace="ann", k=1, where=where)


@pytest.mark.parametrize("few", [0, 1000])
def test_three_items_among_five_thousand_others_are_all_found(
    tmp_path: Path, few: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("comem_memory.store.chroma.FEW", few)
    store = ChromaStore.embedded(tmp_path, identity=identity())
    store.put([record(f"{i:04}", namespace="crowd", seed=i) for i in range(5000)])
    query = key(4)
    far = [record(c, seed=9000 + i, key=(-query + 0.1 * key(i)).astype(np.float32)) for i, c in enumerate("abc")]
    store.put(far)
    hits = store.search(query, namespace="ann", k=10)
    assert sorted(r.id for r, _ in hits) == ["a", "b", "c"]
    assert all(s < 0 for _, s in hits)
    assert store.search(query, namespace="ann", k=10) == hits
    assert len(store.search(query, namespace="crowd", k=5000)) == 5000
    assert store.search(query, namespace="crowd", k=1)[0][0].id == "0004"
    keys = np.stack([key(i) for i in range(5000)])
    for seed in range(10_000, 10_010):
        best = np.argsort(-(keys @ key(seed)))[:10]
        found = [int(r.id) for r, _ in store.search(key(seed), namespace="crowd", k=10)]
        assert found == best.tolist()
    store.close()


def test_mixed_namespaces_are_searched_apart_and_the_filter_is_spared_where_it_can_be(monkeypatch: pytest.MonkeyPatch):
    store = ChromaStore.in_memory(identity=identity())
    sizes = {"most": 300, "some": 60, "few": 6}
    namespaces = [name for name, size in sizes.items() for _ in range(size)]
    store.put([record(f"{i:03}", namespace=name, seed=i) for i, name in enumerate(namespaces)])
    keys = np.stack([key(i) for i in range(len(namespaces))])
    filtered: set[str] = set()
    real_query = Collection.query

    def query(self: Collection, **arguments: Any) -> Any:
        if arguments["where"] is not None:
            filtered.add(arguments["where"]["comem.namespace"]["$eq"])
        return real_query(self, **arguments)

    monkeypatch.setattr(Collection, "query", query)
    monkeypatch.setattr("comem_memory.store.chroma.FEW", 30)
    for seed in range(1000, 1020):
        order = np.argsort(-(keys @ key(seed)))
        for name in sizes:
            best = [f"{i:03}" for i in order if namespaces[i] == name][:10]
            assert [r.id for r, _ in store.search(key(seed), namespace=name, k=10)] == best
    assert filtered == {"some"}, "most are among the nearest of all, few are compared one by one"
    store.close()


def test_a_search_reads_keys_and_blocks_of_its_results_only(monkeypatch: pytest.MonkeyPatch):
    store = ChromaStore.in_memory(identity=identity())
    store.put([record(f"{i:03}", seed=i) for i in range(500)])
    read: list[int] = []
    real_get = Collection.get

    def get(self: Collection, **arguments: Any) -> Any:
        answer = real_get(self, **arguments)
        if arguments["include"]:
            read.append(len(answer["ids"]))
        return answer

    monkeypatch.setattr(Collection, "get", get)
    assert len(store.search(key(3), namespace="ann", k=5)) == 5
    assert read == [5]
    store.close()


def test_stores_in_memory_are_apart_and_end_with_close():
    one, two = ChromaStore.in_memory(identity=identity()), ChromaStore.in_memory(identity=identity("b"))
    one.put([record("a")])
    assert two.namespaces() == []
    one.close()
    one.close()
    two.put([record("b")])
    assert ids_of(two) == ["b"]
    two.close()


# Directories


def test_a_directory_keeps_its_records(tmp_path: Path):
    store = ChromaStore.embedded(tmp_path / "new" / "memory", identity=identity())
    store.put([record("a", metadata={"n": 1})])
    store.close()
    store.close()
    again = ChromaStore.embedded(tmp_path / "new" / "memory", identity=None)
    assert again.identity == identity()
    assert again.get(["a"], namespace="ann") == [record("a", metadata={"n": 1})]
    again.close()


def test_what_is_not_a_memory_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreLocationError, match="empty or new directory"):
        ChromaStore.embedded(tmp_path, identity=identity())
    with pytest.raises(StoreLocationError, match="is a file"):
        ChromaStore.embedded(tmp_path / "thesis.tex", identity=identity())
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("marker", "message"),
    [('{"format_version": 2}', "Upgrade"), ("{", "Restore"), ("[]", "Restore"), ("{}", "Restore")],
)
def test_a_marker_from_elsewhere(tmp_path: Path, marker: str, message: str):
    (tmp_path / "comem.json").write_text(marker)
    with pytest.raises(StoreLocationError, match=message):
        ChromaStore.embedded(tmp_path, identity=identity())


def test_a_crash_before_the_marker_leaves_a_directory_that_opens(tmp_path: Path):
    (tmp_path / "comem.lock").touch()
    (tmp_path / "comem.json.partial").write_text("{")
    ChromaStore.embedded(tmp_path, identity=identity()).close()


def test_opening_nothing_as_it_is(tmp_path: Path):
    with pytest.raises(StoreLocationError, match="no collection 'comem'"):
        ChromaStore.embedded(tmp_path, identity=None)
    ChromaStore.embedded(tmp_path, identity=identity()).close()  # the failure let go of the lock


OPEN_IN_ANOTHER = """
    from helpers.records import identity
    from comem_memory.errors import StoreInUseError
    from comem_memory.store.chroma import ChromaStore
    try:
        ChromaStore.embedded(sys.argv[1], identity=identity()).close()
        print("opened")
    except StoreInUseError as error:
        print(error)
"""


def test_one_process_at_a_time_which_may_open_it_twice(tmp_path: Path):
    first = ChromaStore.embedded(tmp_path, identity=identity())
    second = ChromaStore.embedded(str(tmp_path), identity=identity())
    first.put([record("a")])
    assert ids_of(second) == ["a"]
    assert f"chroma run --path {tmp_path / 'chroma'}" in run(OPEN_IN_ANOTHER, tmp_path)
    first.close()
    assert ids_of(second) == ["a"]
    assert "Another process" in run(OPEN_IN_ANOTHER, tmp_path)
    second.close()
    assert run(OPEN_IN_ANOTHER, tmp_path) == "opened"


def test_what_was_acknowledged_survives_a_killed_process_and_its_lock_does_not(tmp_path: Path):
    acknowledged = run(
        """
        from helpers.records import identity, record
        from comem_memory.store.chroma import ChromaStore
        store = ChromaStore.embedded(sys.argv[1], identity=identity())
        store.put([record(f"{i:03}", seed=i) for i in range(200)])
        store.delete(namespace="ann", ids=["007"])
        print("acknowledged", flush=True)
        time.sleep(60)
        """,
        tmp_path,
        kill=True,
    )
    assert acknowledged == "acknowledged"
    store = ChromaStore.embedded(tmp_path, identity=identity())
    assert ids_of(store) == [f"{i:03}" for i in range(200) if i != 7]
    assert store.search(key(150), namespace="ann", k=1)[0][0].id == "150"
    assert store.get(["150"], namespace="ann") == [record("150", seed=150)]
    store.close()


def test_threads_write_and_search_together():
    store = ChromaStore.in_memory(identity=identity())

    def work(worker: int) -> int:
        for i in range(10):
            store.put([record(f"{worker}-{i}", namespace=f"n{worker}")])
            store.search(key(i), namespace=f"n{worker}", k=3)
        return store.count(namespace=f"n{worker}")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [10] * 8
    store.close()


def test_reading_goes_on_while_others_delete(tmp_path: Path):
    store = ChromaStore.embedded(tmp_path, identity=identity())
    store.put([record("kept")])
    passing = [record(f"passing {i}") for i in range(20)]
    ended = threading.Event()

    def come_and_go() -> None:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            store.put(passing)
            for one in passing:
                store.delete(namespace="ann", ids=[one.id])
        ended.set()

    def read() -> int:
        reads = 0
        while not ended.is_set():
            found = store.get([one.id for one in passing], namespace="ann")
            assert all(one in passing for one in found)
            assert [one.id for one, _ in store.search(record("kept").key, namespace="ann", k=1)] == ["kept"]
            assert "kept" in ids_of(store)
            reads += 1
        return reads

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        pool.submit(come_and_go).result()
        assert all(reader.result() > 5 for reader in readers)
    store.close()


def test_a_closed_store_says_so(store: ChromaStore):
    store.put([record("a")])
    store.close()
    store.close()
    for use in (
        lambda: store.put([record("b")]),
        lambda: store.get(["a"], namespace="ann"),
        lambda: store.search(key(1), namespace="ann", k=1),
        lambda: ids_of(store),
        lambda: store.count(namespace="ann"),
        lambda: store.delete(namespace="ann", ids=["a"]),
        lambda: store.begin_migration(identity("other")),
    ):
        with pytest.raises(StoreClosedError, match="was closed. Open it again"):
            use()


# Servers


def test_a_server_that_is_gone_and_back(tmp_path: Path):
    with chroma_server(tmp_path) as url:
        store = ChromaStore.server(url, identity=identity())
        store.put([record("a")])
    with pytest.raises(StoreConnectionError, match="does not answer: .*Try again when it does"):
        store.search(key(1), namespace="ann", k=1)
    with pytest.raises(StoreConnectionError):
        store.put([record("b")])
    with chroma_server(tmp_path, port=int(url.rpartition(":")[2])):
        assert ids_of(store) == ["a"]
        store.close()


def test_a_server_is_shared(server_url: str):
    one = ChromaStore.server(server_url, identity=identity(), collection_name="shared")
    two = ChromaStore.server(server_url, identity=identity(), collection_name="shared")
    one.put([record("a")])
    assert two.get(["a"], namespace="ann") == [record("a")]
    with pytest.raises(EncoderMismatchError):
        ChromaStore.server(server_url, identity=identity("other"), collection_name="shared")
    one.close()
    two.close()


def test_large_records_go_to_a_server_one_by_one_and_one_too_large_is_named(server_url: str):
    with closing(ChromaStore.server(server_url, identity=identity(), collection_name="large")) as store:
        large = [replace(record(id), metadata={"message": "m" * 15_000_000}) for id in "abc"]
        store.put(large)
        assert store.ids(namespace="ann") == ["a", "b", "c"]
        with pytest.raises(InvalidItemError, match="larger than the Chroma server accepts.*max_payload_size_bytes"):
            store.put([replace(record("d"), metadata={"message": "m" * 45_000_000})])
        assert len(store.get(["a"], namespace="ann")[0].metadata["message"]) == 15_000_000


def test_a_directory_can_move_to_a_server(tmp_path: Path):
    store = ChromaStore.embedded(tmp_path, identity=identity())
    store.put([record("a")])
    store.close()
    with chroma_server(tmp_path / "chroma") as url:
        store = ChromaStore.server(url, identity=identity())
        assert store.get(["a"], namespace="ann") == [record("a")]
        assert len(store.search(key(1), namespace="ann", k=2)) == 1
        store.close()


def test_a_client_whose_empty_collection_went_to_another_encoder_cannot_write(server_url: str):
    one = ChromaStore.server(server_url, identity=identity(), collection_name="contested")
    two = ChromaStore.server(server_url, identity=identity("other"), collection_name="contested")
    with pytest.raises(EncoderMismatchError, match="Open it again"):
        one.put([record("a")])
    two.put([record("a")])
    one.close()
    two.close()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "", "http://127.0.0.1:9", "http://127.0.0.1:9/chroma"])
def test_no_server_there(url: str):
    with pytest.raises(StoreLocationError, match="http://localhost:8000|chroma run"):
        ChromaStore.server(url, identity=identity())


def test_a_foreign_collection_is_left_alone(tmp_path: Path):
    ChromaStore.embedded(tmp_path, identity=identity()).close()
    client = chromadb.PersistentClient(
        tmp_path / "chroma", settings=chromadb.config.Settings(anonymized_telemetry=False)
    )
    client.create_collection("theirs")
    client.close()  # type: ignore[attr-defined]
    with pytest.raises(StoreLocationError, match="another collection_name"):
        ChromaStore.embedded(tmp_path, identity=identity(), collection_name="theirs")


# Identity and migration


def test_another_encoder_or_key_is_refused_once_there_is_something(tmp_path: Path):
    ChromaStore.embedded(tmp_path, identity=identity()).close()
    store = ChromaStore.embedded(tmp_path, identity=identity("bbbbbbbb", dimension=5))
    store.put([record("a", key=key(1, 5))])
    store.close()
    with pytest.raises(EncoderMismatchError) as caught:
        ChromaStore.embedded(tmp_path, identity=identity())
    for part in ("bbbbbbbb", "aaaaaaaa", "reencode()"):
        assert part in str(caught.value)
    renamed = identity("bbbbbbbb", dimension=5)
    renamed = renamed.model_copy(update={"encoder": renamed.encoder.model_copy(update={"base_model": "/copy"})})
    store = ChromaStore.embedded(tmp_path, identity=renamed)
    store.delete(namespace="ann")
    store.close()
    ChromaStore.embedded(tmp_path, identity=identity()).close()  # emptied: free for any encoder and dimension


@pytest.fixture
def filled(tmp_path: Path) -> Callable[[], ChromaStore]:
    """Opens a directory with five old records in two namespaces."""
    store = ChromaStore.embedded(tmp_path / "memory", identity=OLD)
    store.put([record(c, metadata={"n": 1}) for c in "abc"] + [record(c, namespace="bob") for c in "de"])
    store.close()
    return lambda: ChromaStore.embedded(tmp_path / "memory", identity=None)


def assert_all_new(store: ChromaStore) -> None:
    assert store.identity == NEW
    assert store.get(list("abc"), namespace="ann") == [encoded_again(record(c, metadata={"n": 1})) for c in "abc"]
    assert store.get(list("de"), namespace="bob") == [encoded_again(record(c, namespace="bob")) for c in "de"]
    assert [r.id for r, _ in store.search(key(7, 5), namespace="ann", k=9)] == ["a", "b", "c"]
    assert sorted(c.name for c in store._client.list_collections()) == ["comem"]


def assert_all_old(store: ChromaStore) -> None:
    assert store.identity == OLD
    assert store.get(list("abc"), namespace="ann") == [record(c, metadata={"n": 1}) for c in "abc"]
    assert store.count(namespace="bob") == 2


def test_a_migration_moves_every_namespace(filled: Callable[[], ChromaStore]):
    store = filled()
    migration = store.begin_migration(NEW)
    assert (migration.total, migration.done) == (5, 0)
    assert migrate(store) == 5
    assert_all_new(store)
    store.put([record("f", key=key(1, 5))])
    store.close()
    store = filled()
    assert store.identity == NEW and store.count(namespace="ann") == 4
    store.close()


def test_a_migration_resumes_where_it_stopped(filled: Callable[[], ChromaStore]):
    store = filled()
    assert migrate(store, stop_after=2) == 2
    assert_all_old(store)
    store.close()
    store = filled()
    assert_all_old(store)
    assert store.begin_migration(NEW).done == 2
    assert migrate(store) == 3
    assert_all_new(store)
    store.close()


def test_a_migration_to_a_third_encoder_starts_anew(filled: Callable[[], ChromaStore]):
    store = filled()
    migration = store.begin_migration(THIRD)
    migration.put([record("a", metadata={"n": 1})])
    assert store.begin_migration(NEW).done == 0
    assert migrate(store) == 5
    assert_all_new(store)
    store.close()


def test_an_unfinished_migration_does_not_commit(filled: Callable[[], ChromaStore]):
    store = filled()
    migrate(store, stop_after=2)
    with pytest.raises(EncoderMismatchError, match="3 of 5 items"):
        store.begin_migration(NEW).commit()
    assert_all_old(store)
    store.close()


def test_what_changes_during_a_migration_is_taken_along(filled: Callable[[], ChromaStore]):
    store = filled()
    migrate(store, stop_after=4)
    store.delete(namespace="ann", ids=["b"])
    store.put([record("c", text="changed", content_hash="changed"), record("new", metadata={"n": 2})])
    store.put([record("a", metadata={"n": 3})])
    assert migrate(store) == 4  # a, c and new; e was still to come
    assert ids_of(store) == ["a", "c", "new"]
    assert [r.metadata for r in store.get(["a", "c"], namespace="ann")] == [{"n": 3}, {}]
    assert store.get(["c"], namespace="ann")[0].text == "changed"
    store.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_crash_in_a_commit_leaves_the_old_or_the_complete_new(
    filled: Callable[[], ChromaStore], monkeypatch: pytest.MonkeyPatch, step: int, when: str
):
    """Steps that change Chroma in a commit: rename away, rename in, delete what was replaced."""
    store, count = filled(), 0

    def crashing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if (count, when) == (step, "before"):
                raise KeyboardInterrupt
            answer = real(*arguments, **options)
            if (count, when) == (step, "after"):
                raise KeyboardInterrupt
            return answer

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "modify", crashing(Collection.modify))
        patch.setattr(Client, "delete_collection", crashing(Client.delete_collection))
        with pytest.raises(KeyboardInterrupt):
            migrate(store)
    store.close()
    assert count == step

    store = filled()
    if (step, when) == (1, "before"):
        assert_all_old(store)
        assert migrate(store) == 0
    assert_all_new(store)
    store.close()


def test_someone_who_opens_the_memory_between_the_renames_takes_nothing_away(
    filled: Callable[[], ChromaStore], monkeypatch: pytest.MonkeyPatch
):
    store, real = filled(), Collection.modify

    def modify(collection: Collection, *arguments: Any, **options: Any) -> None:
        real(collection, *arguments, **options)
        if options["name"].endswith("-replaced"):
            store._client.create_collection("comem", metadata={"comem.identity": NEW.model_dump_json()})

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "modify", modify)
        migrate(store)
    assert_all_new(store)
    store.close()


def test_after_anothers_migration_reading_says_so(filled: Callable[[], ChromaStore]):
    store, other = filled(), filled()
    migrate(other)
    for call in (
        lambda: store.get(["a"], namespace="ann"),
        lambda: store.search(key(1), namespace="ann", k=1),
        lambda: store.count(namespace="ann"),
        lambda: store.namespaces(),
        lambda: list(store.scan(namespace="ann")),
        lambda: store.delete(namespace="ann", ids=["a"]),
        lambda: store.put([record("a")]),
    ):
        with pytest.raises(EncoderMismatchError, match="was replaced since. Open it again"):
            call()
    store.close()
    other.close()


def test_a_killed_process_leaves_the_old_collection_until_its_commit(filled: Callable[[], ChromaStore], tmp_path: Path):
    moved = run(
        """
        from helpers.records import migrate
        from comem_memory.store.chroma import ChromaStore
        store = ChromaStore.embedded(sys.argv[1], identity=None)
        print(migrate(store, stop_after=2), flush=True)
        time.sleep(60)
        """,
        tmp_path / "memory",
        kill=True,
    )
    assert moved == "2"
    store = filled()
    assert_all_old(store)
    assert migrate(store) == 3
    assert_all_new(store)
    store.close()


def test_a_replaced_collection_alone_is_never_lost(filled: Callable[[], ChromaStore]):
    store = filled()
    store._collection.modify(name="comem-replaced")
    store.close()
    store = filled()
    assert_all_old(store)
    store.close()


def test_a_migration_on_a_server(server_url: str):
    store = ChromaStore.server(server_url, identity=OLD, collection_name="moving")
    other = ChromaStore.server(server_url, identity=OLD, collection_name="moving")
    store.put([record(c) for c in "abc"])
    assert migrate(store) == 3
    assert store.get(["b"], namespace="ann") == [encoded_again(record("b"))]
    with pytest.raises(EncoderMismatchError, match="Open it again"):
        other.put([record("d")])
    store.close()
    other.close()
