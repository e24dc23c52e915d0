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
from helpers.proxy import one_answer_per_connection
from helpers.reads import Read, recorded_reads
from helpers.records import NEW, OLD, encoded_again, identity, key, migrate, record
from helpers.store_contract import StoreContract, assert_migrated, assert_unchanged, fill, ids_of

from comem_memory.errors import (
    EncoderMismatchError,
    InvalidItemError,
    StoreConnectionError,
    StoreLocationError,
)
from comem_memory.store import ChromaStore
from comem_memory.store.ids import chroma_id


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


class TestContract(StoreContract):
    """Chroma, wherever it is."""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with five thousand records."""
    directory = tmp_path_factory.mktemp("crowd")
    with closing(ChromaStore.embedded(directory, identity=identity())) as store:
        store.put([record(f"{i:04}", namespace="crowd", seed=i) for i in range(5000)])
    return directory


@pytest.mark.parametrize("few", [0, 1000])
def test_three_items_among_five_thousand_others_are_all_found(crowd: Path, few: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("comem_memory.store.chroma.FEW", few)
    store = ChromaStore.embedded(crowd, identity=identity())
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
            filtered.add(arguments["where"]["$and"][0]["comem.namespace"]["$eq"])
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


@pytest.mark.parametrize(("few", "compared"), [(1000, [Read(("embeddings",), 500)]), (100, [])])
def test_the_nearest_similarities_need_no_record(monkeypatch: pytest.MonkeyPatch, few: int, compared: list[Read]):
    monkeypatch.setattr("comem_memory.store.chroma.FEW", few)
    store = ChromaStore.in_memory(identity=identity())
    store.put([record(f"{i:03}", seed=i, metadata={"n": 1}) for i in range(500)])
    store.put([record(f"{i:03}", seed=i, namespace="bob") for i in range(500)])
    reads = recorded_reads(monkeypatch)
    assert len(store.nearest_similarities(key(3), namespace="ann", k=20)) == 20
    assert reads == [Read(("distances",), 84), Read((), 0)], "none of them has expired or is superseded"
    reads.clear()
    assert len(store.nearest_similarities(key(3), namespace="ann", k=20, where={"n": 1})) == 20
    assert [read for read in reads if read.parts == ("embeddings",)] == compared
    assert {read.parts for read in reads} <= {(), ("distances",), ("embeddings",)}
    store.close()


def test_of_equally_near_records_the_nearest_similarities_look_at_a_few(monkeypatch: pytest.MonkeyPatch):
    store = ChromaStore.in_memory(identity=identity())
    store.put([record(f"{i:03}", seed=5) for i in range(500)])
    reads = recorded_reads(monkeypatch)
    similarities = store.nearest_similarities(key(5), namespace="ann", k=20)
    np.testing.assert_allclose(similarities, [1] * 20, atol=1e-6)
    assert reads == [Read(("distances",), 84), Read((), 0)], "none of them has expired or is superseded"
    store.close()


def test_summaries_read_metadata_only_and_once(monkeypatch: pytest.MonkeyPatch):
    store = ChromaStore.in_memory(identity=identity())
    store.put([record(f"{i:03}") for i in range(100)])
    reads = recorded_reads(monkeypatch)
    summaries = store.summaries([f"{i:03}" for i in range(100)] + ["nothing"], namespace="ann")
    assert [(s.id, s.content_hash) for s in summaries] == [(f"{i:03}", f"hash of {i:03}") for i in range(100)]
    assert reads == [Read(("metadatas",), 64), Read(("metadatas",), 36)]
    store.close()


def test_a_migration_that_goes_on_reads_only_what_is_left(
    filled: Callable[[], ChromaStore], monkeypatch: pytest.MonkeyPatch
):
    store = filled()
    migrate(store, stop_after=4)
    with monkeypatch.context() as patch:
        reads = recorded_reads(patch)
        [left] = store.begin_migration(NEW).pending(batch_size=8)
    assert [r.id for r in left] == ["e"]
    assert [read.records for read in reads if "documents" in read.parts] == [1]
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


def test_records_without_vectors_are_kept_and_found():
    written = replace(record("a"), block="")
    with closing(ChromaStore.in_memory(identity=identity())) as store:
        for _ in range(2):
            store.put([written])
        assert store.search(written.key, namespace=written.namespace, k=1)[0][0].block == ""


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
    from comem_memory.store import ChromaStore
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
    assert f"chroma run --path {tmp_path / 'chroma'}" in run(OPEN_IN_ANOTHER, tmp_path, forked=True)
    first.close()
    assert ids_of(second) == ["a"]
    assert "Another process" in run(OPEN_IN_ANOTHER, tmp_path, forked=True)
    second.close()
    assert run(OPEN_IN_ANOTHER, tmp_path, forked=True) == "opened"


def test_what_was_acknowledged_survives_a_killed_process_and_its_lock_does_not(tmp_path: Path):
    acknowledged = run(
        """
        from helpers.records import identity, record
        from comem_memory.store import ChromaStore
        store = ChromaStore.embedded(sys.argv[1], identity=identity())
        store.put([record(f"{i:03}", seed=i) for i in range(200)])
        store.delete(namespace="ann", ids=["007"])
        print("acknowledged", flush=True)
        time.sleep(60)
        """,
        tmp_path,
        kill=True,
        forked=True,
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


def test_connections_that_a_server_closes_after_an_answer_are_no_error(server_url: str):
    """Requests that must not be sent twice, the renames of a migration, too."""
    with one_answer_per_connection(server_url) as url:
        store = ChromaStore.server(url, identity=OLD, collection_name="closed-connections")
        store.put([record(c) for c in "abc"])
        store.delete(namespace="ann", ids=["a"])
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: store.count(namespace="ann"), range(200))) == {2}
        assert store.get(["b"], namespace="ann") == [record("b")]
        assert [r.id for r, _ in store.search(record("b").key, namespace="ann", k=1)] == ["b"]
        assert migrate(store) == 2
        assert store.get(["b"], namespace="ann") == [encoded_again(record("b"))]
        store.close()


def test_large_records_go_to_a_server_one_by_one_and_one_too_large_is_named(server_url: str):
    with closing(ChromaStore.server(server_url, identity=identity(), collection_name="large")) as store:
        large = [replace(record(id), metadata={"message": "m" * 15_000_000}) for id in "abc"]
        store.put(large)
        assert store.ids(namespace="ann") == ["a", "b", "c"]
        with pytest.raises(InvalidItemError, match="larger than the Chroma server accepts.*max_payload_size_bytes"):
            store.put([replace(record("d"), metadata={"message": "m" * 45_000_000})])
        assert len(store.get(["a"], namespace="ann")[0].metadata["message"]) == 15_000_000


def test_records_of_earlier_versions_are_current_and_never_expire(tmp_path: Path):
    store = ChromaStore.embedded(tmp_path, identity=identity())
    store.put([record("a", text=None), record("b", text=None)])
    with store._opened.access() as collection:
        kept = collection.get(ids=[chroma_id("ann", "a")], include=["metadatas"])["metadatas"]
        names = ("id", "namespace", "block", "created_at", "content_hash", "truncated", "encoder", "moment")
        added = {"comem.key", "comem.names"}
        assert kept is not None and set(kept[0]) == {f"comem.{name}" for name in names} | added
        none: list[Any] = [dict.fromkeys(added), dict.fromkeys({*added, "comem.moment"})]
        collection.update(ids=[chroma_id("ann", id) for id in "ab"], metadatas=none)  # as earlier versions stored them
    old = store.get(["b"], namespace="ann")[0]
    assert (old.updated_at, old.said_at, old.expires, old.supersedes) == (old.created_at, None, None, ())
    assert store.count(namespace="ann") == 2 and old.superseded_by is None
    for name in ("comem.created_at", "comem.updated_at"):
        assert store.ids(namespace="ann", where={name: {"$gt": "2000-01-01T00:00:00Z"}}) == ["a"]
        assert store.ids(namespace="ann", where={name: {"$ne": "2000-01-01T00:00:00Z"}}) == ["a", "b"]
    store.close()


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
    fill(store)
    store.close()
    return lambda: ChromaStore.embedded(tmp_path / "memory", identity=None)


def assert_all_new(store: ChromaStore) -> None:
    assert_migrated(store)
    assert sorted(c.name for c in store._opened._client.list_collections()) == ["comem"]


def test_a_finished_migration_is_found_when_it_is_opened_again(filled: Callable[[], ChromaStore]):
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
    assert_unchanged(store)
    store.close()
    store = filled()
    assert_unchanged(store)
    assert store.begin_migration(NEW).done == 2
    assert migrate(store) == 3
    assert_all_new(store)
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
        assert_unchanged(store)
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
            store._opened._client.create_collection("comem", metadata={"comem.identity": NEW.model_dump_json()})

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
        from comem_memory.store import ChromaStore
        store = ChromaStore.embedded(sys.argv[1], identity=None)
        print(migrate(store, stop_after=2), flush=True)
        time.sleep(60)
        """,
        tmp_path / "memory",
        kill=True,
        forked=True,
    )
    assert moved == "2"
    store = filled()
    assert_unchanged(store)
    assert migrate(store) == 3
    assert_all_new(store)
    store.close()


def test_a_replaced_collection_alone_is_never_lost(filled: Callable[[], ChromaStore]):
    store = filled()
    store._opened._collection.modify(name="comem-replaced")
    store.close()
    store = filled()
    assert_unchanged(store)
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
