"""Items get new retrieval keys, and nothing else of them changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.memories import DOOR, FLAG, all_records, kept_files, of_encoder

import comem_memory.store.writer as writer_module
from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import EncoderMismatchError, InvalidItemError
from comem_memory.files import load_image
from comem_memory.retrieval import RetrievalKey
from comem_memory.testing import tiny_picture


def rekeyed(memory: ContinuousMemory) -> ContinuousMemory:
    """The same memory with a key that weighs texts and pictures otherwise."""
    key = RetrievalKey(memory.key.text, memory.key.image, text_weight=0.7)
    return ContinuousMemory(memory.encoder, key, memory.store, picture_directory=memory._pictures.folder)


def test_rekey_changes_nothing_but_the_keys(
    filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    filled.namespace("bob").add([MemoryItem(id="only", text="Bob's."), MemoryItem(id="picture", image=tiny_picture(9))])
    filled.add(MemoryItem(id="long", text="word " * 300), truncate=True)
    old, kept, new = all_records(filled), kept_files(filled), rekeyed(filled)
    with pytest.raises(EncoderMismatchError, match=r"new keys.* rekey\(\) .*`comem rekey`"):
        new.search("door")
    with monkeypatch.context() as patch:
        patch.setattr(MemoryEncoder, "encode", lambda *_, **__: pytest.fail("a vector was encoded"))
        assert new.rekey(progress=True) == 6
    assert "re-keying: 100%|██████████| 6/6" in capsys.readouterr().err
    assert kept_files(new) == kept
    for before, after in zip(old, all_records(new), strict=True):
        assert (after, after.block, after.text) == (before, before.block, before.text)  # as records compare: not by key
        picture = None if after.image is None else load_image(new._pictures.find(after.image))
        np.testing.assert_allclose(after.key, new.key.item_keys([after.text], [picture])[0], atol=1e-6)
    assert new.search("the blue door", k=1)[0].id == "door"
    assert new.search(image=FLAG.image, k=1)[0].id == "flag"
    with pytest.raises(EncoderMismatchError, match="rekey"):
        filled.add(DOOR)


def test_rekey_resumes(filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(writer_module, "CHUNK", 2)
    filled.add([MemoryItem(id=f"{number}", text=f"Item {number}.") for number in range(7)])
    blocks, new = {one.id: one.block for one in all_records(filled)}, rekeyed(filled)
    real, calls = RetrievalKey.item_keys, 0

    def interrupted(*arguments: Any) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RetrievalKey, "item_keys", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new.rekey()
    assert filled.search("the blue door", k=1)[0].id == "door"
    assert new.rekey(progress=True) == 6
    assert "4/10" in capsys.readouterr().err
    assert {one.id: one.block for one in all_records(new)} == blocks


def test_new_keys_are_no_help_against_another_encoder(filled: ContinuousMemory, other: MemoryEncoder):
    new = of_encoder(filled, other)
    with pytest.raises(EncoderMismatchError, match=r"New keys alone do not help.*reencode\(\)"):
        new.rekey()
    assert filled.search("the blue door", k=1)[0].id == "door"


def test_an_item_that_a_key_cannot_find_is_named(filled: ContinuousMemory):
    texts = RetrievalKey(filled.key.text)
    new = ContinuousMemory(filled.encoder, texts, filled.store, picture_directory=filled._pictures.folder)
    with pytest.raises(InvalidItemError, match="Item 'flag' has nothing to be found by"):
        new.rekey()
    store = ChromaStore.in_memory(identity=new._writer.identity)
    with (
        ContinuousMemory(filled.encoder, texts, store) as another,
        pytest.raises(InvalidItemError, match="Item 'flag' has nothing to be found by"),
    ):
        another.add([DOOR, FLAG])


def test_a_missing_picture_stops_a_rekey_before_anything_is_swapped(filled: ContinuousMemory, tmp_path: Path):
    tiny_picture(3).save(tmp_path / "own.png")
    filled.add(MemoryItem(id="zoo", text="The zoo.", image=tmp_path / "own.png"))
    (tmp_path / "own.png").rename(tmp_path / "away.png")
    new = rekeyed(filled)
    with pytest.raises(InvalidItemError, match=r"Item 'zoo': Image .*own.png does not exist"):
        new.rekey()
    assert filled.search("the blue door", k=1)[0].id == "door"
    (tmp_path / "away.png").rename(tmp_path / "own.png")
    assert new.rekey() == 4
