"""Loading several folders: in any order, again and again, and the newest of what is stored and loaded stays."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from helpers.memories import CAT, DOOR, FLAG

from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import EncoderMismatchError, StoreLocationError
from comem_memory.store import MemoryRecord, identity_of, write_folder
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key

PARIS = MemoryItem(id="paris", text="Ann lives in Paris.")
ROME = MemoryItem(id="rome", text="Ann lives in Rome.", supersedes="paris")


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


def opened(encoder: MemoryEncoder, pictures: Path | None = None) -> ContinuousMemory:
    key = tiny_key()
    store = ChromaStore.in_memory(identity=identity_of(encoder, key))
    return ContinuousMemory(encoder, key, store, picture_directory=pictures)


@pytest.fixture
def source(encoder: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    with opened(encoder, tmp_path / "pictures") as memory:
        yield memory


@pytest.fixture
def memory(encoder: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    with opened(encoder, tmp_path / "elsewhere") as memory:
        yield memory


def records(memory: ContinuousMemory) -> list[MemoryRecord]:
    return [record for batch in memory.store.scan(namespace="default", history=True) for record in batch]


def shards(source: ContinuousMemory, folder: Path) -> list[Path]:
    """Every record in a folder of its own, as if each had been encoded without knowing of the others."""
    folders = []
    for record in records(source):
        picture = source._pictures.find(record.image)
        folders.append(folder / f"shard-{record.id}")
        write_folder(folders[-1], source.store.identity, [replace(record, image=picture, superseded_by=None)])
    return folders


def test_a_folder_of_folders_and_several_are_loaded_together(
    source: ContinuousMemory, memory: ContinuousMemory, tmp_path: Path
):
    source.add([DOOR, CAT, FLAG])
    folders = shards(source, tmp_path / "shards")
    assert memory.load(tmp_path / "shards") == 3
    assert sorted(hit.id for hit in memory.scan()) == ["cat", "door", "flag"]
    assert memory.namespace("ann").load([folders[2], str(folders[0])]) == 2
    assert memory.namespace("ann").count() == 2


def test_what_is_not_complete_is_left_out(source: ContinuousMemory, memory: ContinuousMemory, tmp_path: Path):
    source.add([DOOR, CAT])
    [cat, _] = shards(source, tmp_path / "shards")
    cat.rename(cat.with_name(f"{cat.name}.partial"))
    assert memory.load(tmp_path / "shards") == 1 and memory.count() == 1


def test_nothing_is_stored_where_one_folder_cannot_be_loaded(
    source: ContinuousMemory, memory: ContinuousMemory, tmp_path: Path
):
    source.add([DOOR, CAT])
    folders = shards(source, tmp_path / "shards")
    with pytest.raises(StoreLocationError, match="not a finished export"):
        memory.load([*folders, tmp_path / "nowhere"])
    with opened(tiny_encoder(tiny_backbone("llava", seed=3))) as other:
        other.add("Of another encoder.")
        other.export(tmp_path / "other")
    with pytest.raises(EncoderMismatchError, match="Load it into a memory with"):
        memory.load([*folders, tmp_path / "other"])
    assert memory.count() == 0


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_history_joins_across_folders_in_any_order_and_at_any_time(
    source: ContinuousMemory, memory: ContinuousMemory, tmp_path: Path, order: tuple[int, ...]
):
    source.add([PARIS, ROME])
    source.add(MemoryItem(id="oslo", text="Ann lives in Oslo.", supersedes="rome"))
    folders = shards(source, tmp_path / "shards")
    for at in order:
        memory.load(folders[at])
    for folder in folders:  # and again
        memory.load(folder)
    assert records(memory) == records(source)
    assert [hit.id for hit in memory.search("Where does Ann live?")] == ["oslo"]
    assert [hit.id for hit in memory.history("rome")] == ["paris", "rome", "oslo"]


def test_what_a_memory_holds_is_superseded_by_what_is_loaded_unless_it_is_newer(
    source: ContinuousMemory, memory: ContinuousMemory, tmp_path: Path
):
    memory.add(PARIS)
    source.add([PARIS, ROME])
    [_, rome] = shards(source, tmp_path / "shards")
    memory.load(rome)
    assert memory.get("paris")[0].superseded_by == "rome"
    memory.add(PARIS)  # is current again
    memory.load(tmp_path / "shards")
    assert memory.get("paris")[0].superseded_by is None


def test_the_newest_stays(source: ContinuousMemory, memory: ContinuousMemory, tmp_path: Path):
    source.add([DOOR, CAT])
    source.export(tmp_path / "old")
    source.update("door", text="The door is green now.")
    source.export(tmp_path / "new")
    for order in (("old", "new"), ("new", "old"), ("new", "new")):
        memory.clear()
        for name in order:
            memory.load(tmp_path / name)
        assert memory.get("door")[0].text == "The door is green now." and memory.count() == 2
    memory.update("cat", metadata={"year": 1})
    before = records(memory)
    memory.load(tmp_path / "new")
    assert records(memory) == before, "what was changed here later stays"


def test_content_that_is_stored_already_is_not_stored_again(
    source: ContinuousMemory, memory: ContinuousMemory, tmp_path: Path
):
    tea = [MemoryItem(text="Tea at four.", metadata={"source": source}) for source in ("a.txt", "b.txt")]
    source.add([MemoryItem(text="The lamp is red."), *tea])
    memory.add([MemoryItem(id="lamp", text="The lamp is red."), *tea])
    before = sorted(hit.id for hit in memory.scan())
    source.export(tmp_path / "export")
    for _ in range(2):
        assert memory.load(tmp_path / "export") == 3
        assert sorted(hit.id for hit in memory.scan()) == before and len(before) == 3
    assert memory.get("lamp")[0].text == "The lamp is red."


def test_a_load_that_was_stopped_goes_on(source: ContinuousMemory, memory: ContinuousMemory, tmp_path: Path):
    source.add([DOOR, CAT, FLAG])
    folders = shards(source, tmp_path / "shards")
    lines = folders[1] / "items.jsonl"
    whole = lines.read_bytes()
    lines.write_bytes(whole[:-5])
    with pytest.raises(StoreLocationError, match=r"damaged at items.jsonl"):
        memory.load(tmp_path / "shards")
    assert [hit.id for hit in memory.scan()] == ["cat"], "what came before is stored"
    lines.write_bytes(whole)
    assert memory.load(tmp_path / "shards") == 3
    shutil.rmtree(tmp_path / "shards")
    assert len(memory.get(["cat", "door", "flag"])) == 3 and memory.search(image=FLAG.image, k=1)[0].id == "flag"
