"""Export and load: what travels is bit for bit the same, and of what is damaged or foreign nothing is stored."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.memories import CAT, DOOR, FLAG, kept_files, same_picture

import comem_memory.store.portable as portable
from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import CorruptBlockError, EncoderMismatchError, StoreLocationError
from comem_memory.store import identity_of
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key, tiny_picture


@pytest.fixture(scope="module")
def llava() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


def opened(encoder: MemoryEncoder, pictures: Path | None) -> ContinuousMemory:
    key = tiny_key()
    return ContinuousMemory(
        encoder, key, ChromaStore.in_memory(identity=identity_of(encoder, key)), picture_directory=pictures
    )


@pytest.fixture
def source(llava: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    tiny_picture(3).save(tmp_path / "own.bmp")
    with opened(llava, tmp_path / "pictures") as memory:
        memory.add([DOOR, CAT, FLAG, MemoryItem(id="own", text="Own.", image=tmp_path / "own.bmp")])
        memory.add(MemoryItem(id="long", text="é" * 300, metadata={"f": 2.0, "b": True, "s": "ü"}), truncate=True)
        memory.namespace("bob").add(MemoryItem(id="secret", text="Bob's."))
        yield memory


@pytest.fixture
def target(llava: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    with opened(llava, tmp_path / "elsewhere") as memory:
        yield memory


@pytest.fixture
def folder(source: ContinuousMemory, tmp_path: Path) -> Path:
    assert source.export(tmp_path / "export") == 5
    return tmp_path / "export"


SOON = timedelta(milliseconds=10)
IDS = ["door", "cat", "flag", "own", "long"]


def test_everything_travels(source: ContinuousMemory, target: ContinuousMemory, folder: Path, tmp_path: Path):
    before = source.store.get(IDS, namespace="default")
    vectors = [hit.memory_embeddings for hit in source.get(IDS)]
    source.clear()
    (tmp_path / "own.bmp").unlink()
    shutil.rmtree(tmp_path / "pictures")
    assert target.namespace("ann").load(folder, progress=True) == 5
    shutil.rmtree(folder)
    view = target.namespace("ann")
    assert (target.count(), view.count()) == (0, 5)
    after = target.store.get(IDS, namespace="ann")
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old.key, new.key)
        assert replace(new, namespace="default", image=old.image) == old
        assert {name: type(value) for name, value in old.metadata.items()} == {
            name: type(value) for name, value in new.metadata.items()
        }
    for vector, hit in zip(vectors, view.get(IDS), strict=True):
        assert torch.equal(vector, hit.memory_embeddings)
    for item in (CAT, FLAG, MemoryItem(id="own", image=tiny_picture(3))):
        assert same_picture(view.get(str(item.id))[0].image, item.image)
    assert view.search("the blue door", k=1)[0].id == "door"
    view.answer("cat?", mode="text", max_new_tokens=1)


def test_what_is_loaded_is_known(source: ContinuousMemory, target: ContinuousMemory, folder: Path):
    target.load(folder)
    target.load(folder)
    records = target.store.get(IDS, namespace="default")
    target.add([DOOR, CAT, FLAG])
    assert target.store.get(IDS, namespace="default") == records, "nothing was encoded again"
    assert (target.count(), len(kept_files(target))) == (5, 3)
    target.clear()
    assert kept_files(target) == []


def test_a_memory_without_directory_refers_to_the_folder(llava: MemoryEncoder, folder: Path):
    with opened(llava, None) as memory:
        memory.load(folder)
        assert folder / "pictures" in Path(memory.get("cat")[0].image or "").parents


def test_many_items_go_into_several_files(
    source: ContinuousMemory, target: ContinuousMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(portable, "SHARD", 2)
    source.export(tmp_path / "export")
    assert len(list((tmp_path / "export").glob("vectors-*.safetensors"))) == 3
    assert target.load(tmp_path / "export") == 5
    for old, new in zip(source.get(IDS), target.get(IDS), strict=True):
        assert torch.equal(old.memory_embeddings, new.memory_embeddings)


def test_nothing_travels_too(target: ContinuousMemory, tmp_path: Path):
    assert target.export(tmp_path / "export") == 0
    assert target.load(tmp_path / "export") == 0


def test_another_encoder_is_refused(source: ContinuousMemory, folder: Path, tmp_path: Path):
    with (
        opened(tiny_encoder(tiny_backbone("llava", seed=3)), tmp_path / "other") as other,
        pytest.raises(EncoderMismatchError) as caught,
    ):
        other.load(folder)
    for part in (str(source.encoder.fingerprint), str(other.encoder.fingerprint), "Load it into a memory with"):
        assert part in str(caught.value)


def files_of(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_every_damaged_or_missing_file_is_refused_before_anything_is_stored(target: ContinuousMemory, folder: Path):
    names = files_of(folder)
    assert len(names) == 6
    for name in names:
        whole = (folder / name).read_bytes()
        middle = len(whole) // 2
        damages: list[bytes | None] = [None, b"", whole[:middle]]
        if name != "export.json":  # whose damage shows as a wrong SHA-256 or a wrong encoder
            damages.append(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        for damaged in damages:
            (folder / name).unlink()
            if damaged is not None:
                (folder / name).write_bytes(damaged)
            with pytest.raises(StoreLocationError, match=r"damaged at|not a finished export"):
                target.load(folder)
            (folder / name).write_bytes(whole)
    assert target.count() == 0
    assert target.load(folder) == 5


def test_a_picture_outside_the_folder_is_refused(target: ContinuousMemory, folder: Path, tmp_path: Path):
    tiny_picture(7).save(tmp_path / "private.png")
    lines = (folder / "items.jsonl").read_text().splitlines()
    first = json.loads(lines[0]) | {"picture": "../../private.png"}
    (folder / "items.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    manifest = json.loads((folder / "export.json").read_text())
    manifest["sha256"]["items.jsonl"] = portable._sha256(folder / "items.jsonl")
    (folder / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreLocationError, match=r"holds no file '../../private.png'"):
        target.load(folder)
    assert target.count() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"picture": None, "metadata": {"comem.image": "/etc/private.png"}},
        {"metadata": {"$and": 1}},
        {"id": "a\x1fb"},
        {"text": None, "picture": None},
    ],
)
def test_an_export_holds_only_what_could_have_been_added(
    target: ContinuousMemory, folder: Path, changes: dict[str, Any]
):
    lines = (folder / "items.jsonl").read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | changes)
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    manifest = json.loads((folder / "export.json").read_text())
    manifest["sha256"]["items.jsonl"] = portable._sha256(folder / "items.jsonl")
    (folder / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreLocationError, match="is damaged: .*MemoryItem"):
        target.load(folder)
    assert target.count() == 0


def test_a_damaged_block_does_not_travel(source: ContinuousMemory, tmp_path: Path):
    [record] = source.store.get([IDS[0]], namespace="default")
    source.store.put([replace(record, block=record.block[:-2] + "00")])
    with pytest.raises(CorruptBlockError, match=repr(IDS[0])):
        source.export(tmp_path / "broken")


def test_an_export_that_fails_leaves_no_folder_and_can_be_given_again(
    source: ContinuousMemory, target: ContinuousMemory, tmp_path: Path
):
    (tmp_path / "own.bmp").rename(tmp_path / "away.bmp")
    with pytest.raises(StoreLocationError, match=r"picture of item 'own', .*own.bmp, is gone. Restore it"):
        source.export(tmp_path / "export")
    assert not (tmp_path / "export").exists()
    with pytest.raises(StoreLocationError, match=r"not a finished export.*Pass a folder written by export\(\)"):
        target.load(tmp_path)
    (tmp_path / "away.bmp").rename(tmp_path / "own.bmp")
    assert source.export(tmp_path / "export") == 5
    with pytest.raises(StoreLocationError, match="not an empty folder"):
        source.export(tmp_path / "export")
    assert target.load(tmp_path / "export") == 5


def test_an_export_that_fails_keeps_the_users_empty_folder_and_ends_its_bar(
    source: ContinuousMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(portable, "SHARD", 1)  # so that it fails before all items are taken
    (tmp_path / "own.bmp").unlink()
    (tmp_path / "export").mkdir()
    with pytest.raises(StoreLocationError, match="is gone") as caught:
        source.export(tmp_path / "export", progress=True)
    assert list((tmp_path / "export").iterdir()) == []
    for thread in threading.enumerate():
        if thread.name == "comem-progress":
            thread.join(5)
            assert not thread.is_alive(), f"kept by the traceback of {caught.value}"


def test_of_exports_that_begin_in_one_folder_the_first_is_written(
    source: ContinuousMemory, target: ContinuousMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make = Path.mkdir

    def later(path: Path, *arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(Path, "mkdir", make)
        assert source.export(tmp_path / "export") == 5
        path.mkdir(*arguments, **named)

    monkeypatch.setattr(Path, "mkdir", later)
    with pytest.raises(StoreLocationError, match="not an empty folder"):
        source.export(tmp_path / "export")
    assert target.load(tmp_path / "export") == 5


def test_times_and_history_travel_and_what_has_expired_does_not(
    source: ContinuousMemory, target: ContinuousMemory, tmp_path: Path
):
    said = "2026-05-03T23:30:00.000000+02:00"
    source.add([MemoryItem(id="paris", text="Ann lives in Paris."), MemoryItem(id="tea", text="Tea?", expires=SOON)])
    source.add(MemoryItem(id="rome", text="Ann lives in Rome.", said_at=said, expires="9000-01-01T00:00Z"))
    source.add(MemoryItem(id="rome", text="Ann lives in Rome.", supersedes="paris"))
    time.sleep(SOON.total_seconds())
    assert source.export(tmp_path / "export") == 7
    assert target.load(tmp_path / "export") == 7
    assert target.history("rome") == source.history("paris") and target.get("rome") == source.get("rome")
    [rome] = target.get("rome")
    assert (rome.said_at, rome.expires, rome.supersedes) == (said, "9000-01-01T00:00:00.000000+00:00", ("paris",))
    assert (target.get("paris")[0].superseded_by, target.count()) == ("rome", 6)
    assert target.get("tea", skip_missing=True) == []


def test_a_record_that_names_itself_is_current(source: ContinuousMemory, target: ContinuousMemory, tmp_path: Path):
    [door] = source.store.get(["door"], namespace="default")
    records = [replace(door, supersedes=("door",))]
    portable.write_folder(tmp_path / "export", source.store.identity, records)
    target.load(tmp_path / "export")
    assert [(hit.id, hit.supersedes) for hit in target.scan()] == [("door", ())]


@pytest.mark.parametrize("turn", [1, -1])
def test_of_records_that_become_one_item_the_newest_stays(
    source: ContinuousMemory, target: ContinuousMemory, tmp_path: Path, turn: int
):
    target.add(MemoryItem(id="tea", text="Tea at four."))
    [made] = source.add(MemoryItem(text="Tea at four."))
    source.add(MemoryItem(id="tea", text="Tea at four.", metadata={"n": 1}))
    source.update(made, metadata={"n": 2})
    records = source.store.get([made, "tea"], namespace="default")
    portable.write_folder(tmp_path / "export", source.store.identity, records[::turn])
    target.load(tmp_path / "export")
    assert [(hit.id, hit.metadata) for hit in target.scan()] == [("tea", {"n": 2})]


def test_an_export_of_the_first_version_holds_current_items_that_never_expire(target: ContinuousMemory, folder: Path):
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    new = ("updated_at", "said_at", "expires", "supersedes", "superseded_by")
    text = "".join(json.dumps({name: line[name] for name in line if name not in new}) + "\n" for line in lines)
    (folder / "items.jsonl").write_text(text)
    manifest = json.loads((folder / "export.json").read_text()) | {"format_version": 1}
    manifest["sha256"]["items.jsonl"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "export.json").write_text(json.dumps(manifest))
    assert target.load(folder) == 5
    [door] = target.get("door")
    assert (door.updated_at, door.said_at, door.expires, door.superseded_by) == (door.created_at, None, None, None)


def test_what_is_no_export_is_refused(source: ContinuousMemory, target: ContinuousMemory, folder: Path, tmp_path: Path):
    for path in (tmp_path / "nowhere", tmp_path / "pictures", tmp_path / "own.bmp"):
        with pytest.raises(StoreLocationError, match="not a finished export"):
            target.load(path)
    manifest = json.loads((folder / "export.json").read_text()) | {"format_version": portable.FORMAT_VERSION + 1}
    (folder / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreLocationError, match=rf"format version {portable.FORMAT_VERSION + 1}.*Upgrade"):
        target.load(folder)


def test_export_writes_only_into_an_empty_folder(source: ContinuousMemory, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert source.export(tmp_path / "empty") == 5
    for path in (tmp_path / "empty", tmp_path / "own.bmp"):
        with pytest.raises(StoreLocationError, match="Export to a new one"):
            source.export(path)
