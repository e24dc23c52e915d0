"""Bytes on disk: blocks kept as differences from their collection's mean, and space that is given back."""

import logging
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.records import identity, key, record
from helpers.store_contract import ids_of
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from comem_memory import progress
from comem_memory.cli.app import app
from comem_memory.errors import CorruptBlockError, StoreInUseError, StoreLocationError
from comem_memory.store import ChromaStore, MemoryRecord, decode_block, encode_block
from comem_memory.store.ids import chroma_id, is_item, reference_id
from comem_memory.store.packing import ENOUGH, is_packed, mean_of, pack, unpack
from comem_memory.store.parts import split
from comem_memory.store.references import find_reference

H = 576


def alike(count: int, *, q: int = 8, h: int = H, seed: int = 0) -> list[torch.Tensor]:
    """(q, h) vectors that differ by a fifth of what they have in common, as an encoder's do."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(q, h, generator=generator)
    common[:, 0] = 6
    return [common + 0.2 * torch.randn(q, h, generator=generator) for _ in range(count)]


def blocks_of(vectors: list[torch.Tensor], precision: Any = "int8") -> list[str]:
    return [encode_block(one, precision) for one in vectors]


def records(blocks: list[str], first: int = 0) -> list[MemoryRecord]:
    return [record(f"{n:03}", block=block, seed=n) for n, block in enumerate(blocks, first)]


def stored(store: ChromaStore) -> dict[str, Any]:
    """Metadata in Chroma by its id, references too."""
    with store._opened.access() as collection:
        answer = collection.get(include=["metadatas"])
    return dict(zip(answer["ids"], answer["metadatas"] or [], strict=True))


@settings(max_examples=60, deadline=None)
@given(
    q=st.integers(1, 9),
    h=st.integers(1, 120),
    seed=st.integers(0, 10_000),
    magnitude=st.sampled_from([1e-30, 1e-3, 1.0, 1e6, 1e37]),
    zeros=st.booleans(),
)
def test_a_packed_block_comes_back_character_by_character(q: int, h: int, seed: int, magnitude: float, zeros: bool):
    vectors = [magnitude * one for one in alike(ENOUGH, q=q, h=h, seed=seed)]
    if zeros:
        vectors[1] = torch.zeros(q, h)
    *mean, other = blocks_of([*vectors, magnitude * torch.randn(q, h)])
    reference = mean_of(mean)
    assert reference is not None
    for block in (*mean, other):
        packed = pack(block, reference)
        assert unpack(packed, lambda id: reference if id == reference.id else None) == block
        assert len(packed) <= len(block)


def test_vectors_that_are_alike_take_less_than_two_thirds_and_others_no_more():
    *mean, other = blocks_of(alike(ENOUGH + 1))
    reference = mean_of(mean)
    assert reference is not None
    assert len(pack(other, reference)) < 0.65 * len(other)
    [random] = blocks_of([torch.randn(8, H)])
    assert len(pack(random, reference)) <= len(random)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int4"])
def test_other_precisions_and_shapes_stay_as_they_are(precision: str):
    reference = mean_of(blocks_of(alike(ENOUGH)))
    assert reference is not None
    for block in (*blocks_of(alike(1), precision), *blocks_of(alike(1, h=64)), "no block", ""):
        assert pack(block, reference) == block


def test_no_damaged_character_of_a_packed_block_goes_unnoticed():
    *mean, other = blocks_of(alike(ENOUGH + 1, q=2, h=40))
    reference = mean_of(mean)
    assert reference is not None
    packed = pack(other, reference)
    assert is_packed(packed)
    for position in range(len(packed)):
        for character in ("0", "~", " ", "é"):
            damaged = packed[:position] + character + packed[position + 1 :]
            if damaged != packed:
                found = unpack(damaged, lambda _: reference)
                if found != other:  # bits beyond the last step tell nothing
                    with pytest.raises(CorruptBlockError, match="'door-7'"):
                        decode_block(found, item_id="door-7")
    with pytest.raises(CorruptBlockError, match="'door-7'"):
        decode_block(unpack(packed, lambda _: None), item_id="door-7")


def test_a_store_packs_from_the_write_on_with_which_it_has_enough(tmp_path: Path):
    blocks = blocks_of(alike(ENOUGH + 20))
    whole = records(blocks)
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        for one in whole[: ENOUGH - 1]:
            store.put([one])
        assert store.repack() == 0
        assert not any(is_packed(one["comem.block"]) for one in stored(store).values())
        store.put(whole[ENOUGH - 1 :])
        packed = {id for id, one in stored(store).items() if is_packed(one["comem.block"])}
        assert packed == {chroma_id("ann", one.id) for one in whole[ENOUGH - 1 :]}
        assert store.get([one.id for one in whole], namespace="ann") == whole
        assert store.repack() == ENOUGH - 1 and store.repack() == 0
        assert all(is_packed(one["comem.block"]) for id, one in stored(store).items() if is_item(id))
    with closing(ChromaStore.embedded(tmp_path, identity=None)) as store:
        assert store.get([one.id for one in whole], namespace="ann") == whole
        assert [one.block for one, _ in store.search(key(7), namespace="ann", k=1)] == [blocks[7]]


def test_records_of_earlier_versions_are_read_and_packed_when_asked(tmp_path: Path):
    metadata = {"n": 1, "author": {"name": "Ada"}, "mixed": [1, "a"], "tags": ["p", "q"]}
    blocks = blocks_of(alike(ENOUGH + 5))
    whole = [record(f"{n:03}", block=block, seed=n, metadata=metadata) for n, block in enumerate(blocks)]
    ids = [chroma_id("ann", one.id) for one in whole]
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        store.put(whole)
        with store._opened.access() as collection:  # as version 0.1.0 stored them
            collection.delete(ids=[id for id in stored(store) if not is_item(id)])
            added: dict[str, Any] = {"comem.names": None, "comem.key": None}
            collection.update(ids=ids, metadatas=[{"comem.block": block} | added for block in blocks])
        assert store.get([one.id for one in whole], namespace="ann") == whole
        assert store.ids(namespace="ann", where={"author.name": "Ada", "tags": {"$contains": "q"}})[:1] == ["000"]
        assert store.repack() == len(whole)
        assert store.get([one.id for one in whole], namespace="ann") == whole
        assert all(is_packed(stored(store)[id]["comem.block"]) for id in ids)


def test_two_references_that_were_made_at_the_same_time_are_both_read(tmp_path: Path):
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        first = records(blocks_of(alike(ENOUGH, seed=1)))
        store.put(first)
        [one] = (id for id in stored(store) if not is_item(id))
        second = mean_of(blocks_of(alike(ENOUGH, seed=2)))
        assert second is not None
        with store._opened.access() as collection:
            embedding = np.zeros((1, len(key(1))), np.float32)
            metadata = [{"comem.reference": 1, "comem.block": second.block}]
            collection.upsert(ids=[reference_id(second.id)], embeddings=embedding, metadatas=metadata)
        others = records(blocks_of(alike(5, seed=1)), first=500)
        store.put(others)
        assert {one, reference_id(second.id)} == {id for id in stored(store) if not is_item(id)}
        whole = [*first, *others]
        assert store.get([r.id for r in whole], namespace="ann") == whole


def test_a_reference_is_no_item(tmp_path: Path):
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        store.put(records(blocks_of(alike(ENOUGH))))
        assert len(stored(store)) == ENOUGH + 1
        assert store.namespaces() == ["ann"] and store.count(namespace="ann") == ENOUGH
        assert store.begin_migration(identity("other")).total == ENOUGH
        assert len(store.search(key(1), namespace="ann", k=ENOUGH + 5)) == ENOUGH
        assert store.delete(namespace="ann") and ids_of(store) == []
    ChromaStore.embedded(tmp_path, identity=identity("another", dimension=5)).close()  # emptied, so free for any


def test_a_migration_takes_packed_blocks_along(tmp_path: Path):
    whole = records(blocks_of(alike(ENOUGH + 3)))
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        store.put(whole)
        migration = store.begin_migration(identity("new-new-"))
        for some in migration.pending(batch_size=50):
            migration.put(some)
        assert migration.done == len(whole)
        migration.commit()
        assert store.get([one.id for one in whole], namespace="ann") == whole
        assert all(is_packed(one["comem.block"]) for id, one in stored(store).items() if is_item(id))


def test_a_lost_reference_is_named_with_the_item_and_spoils_no_other(tmp_path: Path):
    with closing(ChromaStore.embedded(tmp_path, identity=identity("lost"))) as store:
        store.put(records(blocks_of(alike(ENOUGH, seed=77))))
        store.put([record("text", block="no block")])
        with store._opened.access() as collection:
            collection.delete(ids=[id for id in stored(store) if not is_item(id)])
    references = "comem_memory.store.references._known"
    with pytest.MonkeyPatch.context() as patch, closing(ChromaStore.embedded(tmp_path, identity=None)) as store:
        patch.setattr(references, {})  # as in another process
        lost, text = store.get(["001", "text"], namespace="ann")
        assert (lost.text, text.block) == ("text of 001", "no block")
        with pytest.raises(CorruptBlockError, match="'001'"):
            decode_block(lost.block, item_id=lost.id)
        store.put([lost])  # its text and metadata can still be changed
        assert store.get(["001"], namespace="ann") == [lost]


def test_a_reference_is_found_while_other_threads_drop_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("comem_memory.store.references._MOST_KNOWN", 1)
    blocks = {f"r{n}": block for n, block in enumerate(blocks_of(alike(4, q=1, h=4)))}

    def ask_for_others() -> None:
        for id in ("r1", "r2", "r3"):
            find_reference(collection, id)

    def meanwhile(frame: Any, event: str, _: Any) -> Any:
        """Before each line of it, another thread asks for others."""
        if frame.f_code is not find_reference.__code__:
            return None
        if event == "line":
            other = threading.Thread(target=ask_for_others)
            other.start()
            other.join(0.1)  # unless it waits for this one
        return meanwhile

    tracing = sys.gettrace()
    with closing(ChromaStore.in_memory(identity=identity())) as store, store._opened.access() as collection:
        collection.add(
            ids=[reference_id(id) for id in blocks],
            embeddings=np.zeros((4, identity().key_dimension), np.float32),
            metadatas=[split("comem.block", block, None) for block in blocks.values()],
        )
        sys.settrace(meanwhile)
        try:
            found = [find_reference(collection, "r0") for _ in range(2)]
        finally:
            sys.settrace(tracing)
    assert [one and one.block for one in found] == [blocks["r0"]] * 2


def test_an_item_of_the_largest_models_takes_45_kilobytes(tmp_path: Path):
    """8 vectors of 3584, of which Chroma keeps the text twice: in its table and in the table's index."""
    h, items = 3584, 1088  # Chroma keeps up to 1000 in a queue as well
    generator = np.random.default_rng(0)
    common = generator.standard_normal((8, h), np.float32)
    common[:, 0] = 6
    spread = generator.choice(np.float32([0.02, 0.06, 0.3]), size=(8, h))  # some dimensions hardly differ
    with closing(ChromaStore.embedded(tmp_path, identity=identity(dimension=1368))) as store:
        vectors = common + spread * generator.standard_normal((64, 8, h), np.float32)
        blocks = blocks_of([torch.from_numpy(one) for one in vectors])
        text = "The blue door opens with the brass key. " * 6
        for start in range(0, items, 64):
            numbers = range(start, start + 64)
            store.put([record(f"{n:04}", block=blocks[n % 64], key=key(n, 1368), text=text) for n in numbers])
    with pytest.raises(StoreInUseError, match="open"), closing(ChromaStore.embedded(tmp_path, identity=None)):
        ChromaStore.vacuum(tmp_path)
    ChromaStore.vacuum(tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert 25_000 < size / items < 45_000
    with closing(ChromaStore.embedded(tmp_path, identity=None)) as store:
        assert store.get(["1087"], namespace="ann")[0].block == blocks[-1]
        assert [one.id for one, _ in store.search(key(1087, 1368), namespace="ann", k=1)] == ["1087"]


def test_a_command_tells_how_long_it_has_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        for one in records(blocks_of(alike(ENOUGH))):
            store.put([one])
    assert CliRunner().invoke(app, ["--directory", str(tmp_path), "vacuum"]).exit_code == 0
    assert f"packing: {ENOUGH - 1} item in 00:00" in caplog.messages
    assert "giving free space back: 00:00" in caplog.messages


def test_a_server_is_not_repacked(server_url: str):
    whole = records(blocks_of(alike(ENOUGH)))
    with closing(ChromaStore.server(server_url, identity=identity(), collection_name="comem")) as store:
        for one in whole:
            store.put([one])
        before, ids = stored(store), [chroma_id("ann", one.id) for one in whole]
        assert not all(is_packed(before[id]["comem.block"]) for id in ids)
        with pytest.raises(StoreLocationError, match="packed when they are written again"):
            store.repack()
        result = CliRunner().invoke(app, ["--server", server_url, "vacuum"])
        assert isinstance(result.exception, StoreLocationError)
        assert stored(store) == before
        store.put(whole)
        assert all(is_packed(stored(store)[id]["comem.block"]) for id in ids)
        store.delete(namespace="ann", ids=[one.id for one in whole])


def test_vacuum_gives_back_what_was_deleted(tmp_path: Path):
    database = tmp_path / "chroma" / "chroma.sqlite3"
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        store.put(records(blocks_of(alike(200))))
        store.delete(namespace="ann", ids=[f"{n:03}" for n in range(5, 200)])
    full = database.stat().st_size
    ChromaStore.vacuum(tmp_path)
    assert database.stat().st_size < 0.4 * full
    with closing(sqlite3.connect(database)) as opened:
        assert opened.execute("PRAGMA freelist_count").fetchone() == (0,)
    with closing(ChromaStore.embedded(tmp_path, identity=None)) as store:
        assert ids_of(store) == [f"{n:03}" for n in range(5)]
        assert [one.id for one, _ in store.search(key(3), namespace="ann", k=1)] == ["003"]
    with pytest.raises(StoreLocationError, match="no memory in"):
        ChromaStore.vacuum(tmp_path / "elsewhere")
