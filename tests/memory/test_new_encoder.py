"""Another encoder is refused, or everything is encoded again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.memories import (
    CAT,
    DOOR,
    FLAG,
    assert_encodes,
    embedded,
    fresh,
    inspect,
    kept_files,
    of_encoder,
    same_picture,
    versioned,
)
from helpers.processes import run

import comem_memory.store.writer as writer_module
from comem_memory import ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import EncoderMismatchError, InvalidItemError
from comem_memory.testing import tiny_picture


def test_mixing_encoders_is_refused(filled: ContinuousMemory, other: MemoryEncoder, tmp_path: Path):
    mixed = ContinuousMemory(other, filled.key, filled.store, picture_directory=tmp_path)
    for call in (
        lambda: mixed.add(DOOR),
        lambda: mixed.update("door", text="x"),
        lambda: mixed.search("door"),
        lambda: mixed.answer("door"),
        lambda: mixed.describe("door"),
        lambda: mixed.load(tmp_path),
    ):
        with pytest.raises(EncoderMismatchError) as caught:
            call()
        for part in (str(other.fingerprint), str(filled.encoder.fingerprint), "reencode()"):
            assert part in str(caught.value)
    assert mixed.count() == 3
    assert filled.get("door")[0].text == DOOR.text


def test_reencode_moves_every_namespace(filled: ContinuousMemory, other: MemoryEncoder, capsys: Any):
    bobs = MemoryItem(id="picture", image=tiny_picture(9))
    filled.namespace("bob").add([MemoryItem(id="only", text="Bob's."), bobs])
    filled.add(MemoryItem(id="long", text="word " * 300), truncate=True)
    new, kept = of_encoder(filled, other), kept_files(filled)
    assert new.reencode(progress=True) == 6
    assert "re-encoding: 100%|██████████| 6/6" in capsys.readouterr().err
    assert kept_files(new) == kept
    assert same_picture(new.namespace("bob").get("picture")[0].image, bobs.image)
    for item in (DOOR, CAT, FLAG):
        [hit] = new.get(item.id)
        assert_encodes(hit.memory_embeddings, fresh(other, item))
        assert hit.metadata == item.metadata
        assert item.image is None or same_picture(hit.image, item.image)
    assert new.get("long")[0].truncated
    assert not new.get("door")[0].truncated
    assert_encodes(new.namespace("bob").get("only")[0].memory_embeddings, fresh(other, MemoryItem(text="Bob's.")))
    assert new.search("the blue door", k=1)[0].id == "door"
    assert new.answer("door?", max_new_tokens=2).hits
    with pytest.raises(EncoderMismatchError):
        filled.add(DOOR)


def test_reencode_resumes(filled: ContinuousMemory, other: MemoryEncoder, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr(writer_module, "CHUNK", 2)
    filled.add([MemoryItem(id=f"{number}", text=f"Item {number}.") for number in range(7)])
    new, real, calls = of_encoder(filled, other), MemoryEncoder.encode, 0

    def interrupted(*arguments: Any, **options: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryEncoder, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new.reencode()
    assert_encodes(filled.get("door")[0].memory_embeddings, fresh(filled.encoder, DOOR))
    assert filled.search("the blue door", k=1)[0].id == "door"
    capsys.readouterr()
    assert new.reencode(progress=True) == 6
    assert "4/10" in capsys.readouterr().err
    assert_encodes(new.get("door")[0].memory_embeddings, fresh(other, DOOR))
    assert new.count() == 10


def test_a_killed_reencode_resumes(llava: MemoryEncoder, other: MemoryEncoder, tmp_path: Path):
    with embedded(llava, tmp_path) as memory:
        memory.add([versioned(id, 1) for id in range(12)])
    moved = run(
        """
        from pathlib import Path
        import comem_memory.store.writer as writer_module
        from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder
        from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key
        writer_module.CHUNK = 3
        other = tiny_encoder(tiny_backbone("llava", seed=3), seed=3)
        store = ChromaStore.embedded(sys.argv[1], identity=None)
        memory = ContinuousMemory(other, tiny_key(), store, picture_directory=Path(sys.argv[1]) / "pictures")
        real, calls = MemoryEncoder.encode, []
        def encode(*arguments, **options):
            calls.append(1)
            if len(calls) == 3:
                print("two chunks", flush=True)
                time.sleep(60)
            return real(*arguments, **options)
        MemoryEncoder.encode = encode
        memory.reencode()
        """,
        tmp_path,
        kill=True,
        forked=True,
    )
    assert moved == "two chunks"
    with embedded(llava, tmp_path) as memory:
        assert inspect(memory, {f"{id:02}": 1 for id in range(12)}) == (0, 0)
        new = of_encoder(memory, other)
        assert new.reencode() == 6
        assert inspect(new, {f"{id:02}": 1 for id in range(12)}) == (0, 0)


def test_a_missing_picture_stops_a_reencode_before_anything_is_swapped(
    filled: ContinuousMemory, other: MemoryEncoder, tmp_path: Path
):
    tiny_picture(3).save(tmp_path / "own.png")
    filled.add(MemoryItem(id="zoo", text="The zoo.", image=tmp_path / "own.png"))
    (tmp_path / "own.png").unlink()
    new = of_encoder(filled, other)
    with pytest.raises(InvalidItemError, match=r"Item 'zoo': Image .*own.png does not exist. Pass"):
        new.reencode()
    assert filled.store.identity.encoder == filled.encoder.fingerprint
    for item in (DOOR, CAT, FLAG):
        assert_encodes(filled.get(item.id)[0].memory_embeddings, fresh(filled.encoder, item))
    tiny_picture(3).save(tmp_path / "own.png")
    assert new.reencode() == 4
    zoo = MemoryItem(text="The zoo.", image=tiny_picture(3))
    assert_encodes(new.get("zoo")[0].memory_embeddings, fresh(other, zoo))
