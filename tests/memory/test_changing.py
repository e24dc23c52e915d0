"""Items are updated, deleted and replaced."""

from pathlib import Path

import pytest
from helpers.memories import CAT, DOOR, assert_encodes, fresh, kept_files, same_picture

from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import InvalidItemError, ItemNotFoundError, QueryError
from comem_memory.testing import tiny_picture


def test_update_encodes_only_what_changed(filled: ContinuousMemory, llava: MemoryEncoder, encoded: list[int]):
    filled.update("cat", metadata={"n": 1})
    filled.update("cat", text=CAT.text)
    filled.update("cat", image=CAT.image)
    assert encoded == []
    assert filled.get("cat")[0].metadata == {"n": 1}
    filled.update("cat", text="The cat is awake.")
    [hit] = filled.get("cat")
    assert encoded == [1]
    assert hit.metadata == {"n": 1}
    assert same_picture(hit.image, CAT.image)
    assert_encodes(hit.memory_embeddings, fresh(llava, MemoryItem(text="The cat is awake.", image=CAT.image)))
    filled.update("cat", image=tiny_picture(7))
    [hit] = filled.get("cat")
    assert hit.text == "The cat is awake."
    assert same_picture(hit.image, tiny_picture(7))
    assert filled.search(image=tiny_picture(7), k=1)[0].id == "cat"
    assert len(kept_files(filled)) == 2
    assert filled.count() == 3
    with pytest.raises(ItemNotFoundError):
        filled.update("nothing", text="x")
    with pytest.raises(ItemNotFoundError):
        filled.namespace("bob").update("cat", text="x")
    with pytest.raises(InvalidItemError):
        filled.update("cat", metadata={"comem.x": 1})
    with pytest.raises(InvalidItemError):
        filled.update("door", text="")
    assert filled.get("door")[0].text == DOOR.text


def test_delete_and_clear(filled: ContinuousMemory):
    filled.namespace("bob").add([DOOR, CAT])
    assert len(kept_files(filled)) == 3
    for nothing in ({}, {"where": {}}):
        with pytest.raises(QueryError, match=r"call clear\(\)"):
            filled.delete(**nothing)
    assert filled.delete(ids=[]) == 0
    assert filled.delete(ids=["cat", "cat", "unknown"]) == 1
    assert filled.delete(ids="door", where={"year": 1999}) == 0
    assert (filled.count(), filled.namespace("bob").count(), len(kept_files(filled))) == (2, 2, 2)
    assert same_picture(filled.namespace("bob").get("cat")[0].image, CAT.image)
    assert filled.clear() == 2
    assert (filled.count(), filled.namespace("bob").count(), len(kept_files(filled))) == (0, 2, 1)
    assert filled.clear() == 0


def test_own_files_are_never_touched(memory: ContinuousMemory, tmp_path: Path):
    tiny_picture(3).save(tmp_path / "own.png")
    memory.add(MemoryItem(id="a", text="mine", image=tmp_path / "own.png"))
    memory.update("a", text="still mine")
    assert memory.get("a")[0].image == str(tmp_path / "own.png")
    memory.clear()
    assert (tmp_path / "own.png").exists()
    assert kept_files(memory) == []


def test_a_picture_that_moves_to_another_item_outlives_the_first(filled: ContinuousMemory):
    bob = filled.namespace("bob")
    [hit] = filled.get("cat")
    bob.add(MemoryItem(id="copy", text=hit.text, image=hit.image))
    filled.clear()
    assert same_picture(bob.get("copy")[0].image, CAT.image)


def test_a_replacement_that_fails_leaves_the_old_item_whole(filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(ChromaStore, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            filled.update("cat", image=tiny_picture(8))
    assert same_picture(filled.get("cat")[0].image, CAT.image)
    filled.update("cat", image=tiny_picture(9))
    assert same_picture(filled.get("cat")[0].image, tiny_picture(9))
    assert len(kept_files(filled)) == 2
