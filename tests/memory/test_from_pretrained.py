"""A memory is opened with its model: in a directory, without one, or on a server."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.memories import CAT, DOOR, FLAG, all_records, assert_encodes, fresh, same_picture
from helpers.processes import chroma_server, is_locked
from helpers.saved import save_tiny

from comem_memory import Backbone, ContinuousMemory, MemoryEncoder, MemoryItem, opening
from comem_memory.errors import (
    AdapterError,
    CheckpointError,
    EncoderMismatchError,
    InvalidItemError,
    StoreLocationError,
)
from comem_memory.retrieval import RetrievalKey
from comem_memory.store import directories
from comem_memory.testing import tiny_key, tiny_picture


@pytest.fixture(scope="module")
def other_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_tiny(tmp_path_factory.mktemp("other"), seed=5)


def test_a_model_without_adapter_is_refused_before_it_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(Backbone, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(AdapterError, match=r"No adapter was given for Qwen/Qwen2.5-VL-7B-Instruct. Pass adapter="):
        ContinuousMemory.from_pretrained("Qwen/Qwen2.5-VL-7B-Instruct")
    with pytest.raises(AdapterError, match=r"lacks config.json, .*save_pretrained"):
        ContinuousMemory.from_pretrained("some/model", tmp_path)
    (tmp_path / "letter.txt").write_text("precious")
    with pytest.raises(StoreLocationError, match="Pass an empty"):
        ContinuousMemory.from_pretrained("some/model", tmp_path, tmp_path)


def test_a_persistent_memory(folders: tuple[Path, Path], tmp_path: Path):
    with ContinuousMemory.from_pretrained(*folders, tmp_path / "memory", key=tiny_key()) as memory:
        memory.add([DOOR, CAT])
        answer = memory.answer("cat?", max_new_tokens=4).text
    with ContinuousMemory.from_pretrained(
        adapter=folders[1], persist_directory=tmp_path / "memory", key=tiny_key()
    ) as memory:
        assert memory.answer("cat?", max_new_tokens=4).text == answer
        assert same_picture(memory.get("cat")[0].image, CAT.image)
        assert (tmp_path / "memory") in Path(memory.get("cat")[0].image or "").parents


def test_collections_in_one_directory_are_apart(folders: tuple[Path, Path], tmp_path: Path):
    def opened(name: str) -> ContinuousMemory:
        return ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key(), collection_name=name)

    with opened("first") as first, opened("second") as second:
        first.add(MemoryItem(id="a", image=tiny_picture(1)))
        second.add(MemoryItem(id="a", image=tiny_picture(2)))
        assert same_picture(first.get("a")[0].image, tiny_picture(1))
        second.clear()
        assert same_picture(first.get("a")[0].image, tiny_picture(1))


def test_a_memory_that_is_there_is_opened_once(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key()) as memory:
        memory.add(DOOR)
    real, opened = directories.embedded_client, []
    monkeypatch.setattr(directories, "embedded_client", lambda path: opened.append(path) or real(path))
    monkeypatch.setattr(opening, "default_key", tiny_key)
    with ContinuousMemory.from_pretrained(*folders, tmp_path) as memory:
        assert memory.count() == 1
    assert opened == [str(tmp_path / "chroma")]
    with pytest.raises(CheckpointError):
        ContinuousMemory.from_pretrained(str(folders[0]), tmp_path / "nothing", tmp_path)
    assert not is_locked(tmp_path)


def test_another_adapter_is_refused_or_migrated(
    folders: tuple[Path, Path], other_folders: tuple[Path, Path], tmp_path: Path
):
    with ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key(), reencode=True) as memory:
        memory.add([DOOR, CAT])
        old = memory.encoder.fingerprint
    with pytest.raises(EncoderMismatchError) as caught:
        ContinuousMemory.from_pretrained(*other_folders, tmp_path, key=tiny_key())
    assert str(old) in str(caught.value)
    assert "reencode()" in str(caught.value)
    picture = next((tmp_path / "pictures").rglob("*.png"))
    picture.rename(tmp_path / "away.png")
    with pytest.raises(InvalidItemError, match="'cat'"):
        ContinuousMemory.from_pretrained(*other_folders, tmp_path, key=tiny_key(), reencode=True)
    (tmp_path / "away.png").rename(picture)
    with ContinuousMemory.from_pretrained(*other_folders, tmp_path, key=tiny_key(), reencode=True) as memory:
        assert_encodes(memory.get("cat")[0].memory_embeddings, fresh(memory.encoder, CAT))
    with pytest.raises(EncoderMismatchError):
        ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key())


def test_a_memory_with_the_earlier_default_key_opens_with_it_and_gets_new_keys_when_asked(
    folders: tuple[Path, Path], other_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    thai = MemoryItem(id="code", text="ตู้เซฟมีรหัส 4711")
    with ContinuousMemory.from_pretrained(*folders, tmp_path, key="all-MiniLM-L6-v2") as memory:
        memory.add([DOOR, CAT, FLAG, thai])
        stored = memory.store.identity
        assert stored.key_name == (
            "0.5 sentence-transformers 8b49528620dc + 0.5 efficientnet-lite0-v1 abcc8d0e 515652b96055"  # as 0.1.0 wrote
        )
        old = {one.id: one for one in all_records(memory)}
    monkeypatch.setattr(MemoryEncoder, "encode", lambda *_, **__: pytest.fail("a vector was encoded"))
    with monkeypatch.context() as patch:
        patch.setitem(opening.KEYS, opening.DEFAULT_KEY, lambda: pytest.fail("the new default key was fetched"))
        patch.setattr(RetrievalKey, "item_keys", lambda *_: pytest.fail("an item was embedded"))
        with ContinuousMemory.from_pretrained(*folders, tmp_path, reencode=True) as memory:
            assert memory.store.identity == stored, "nothing is to be done"
        with ContinuousMemory.from_pretrained(*folders, tmp_path) as memory:
            assert memory.store.identity == stored and memory.key.name == stored.key_name
            assert memory.search("Which metal opens that entrance?", k=1)[0].id == "door"
    with pytest.raises(EncoderMismatchError, match=r"key=.* rekey\(\) .*rekey=True.* `comem rekey`"):
        ContinuousMemory.from_pretrained(*folders, tmp_path, key="multilingual-e5-small")
    with pytest.raises(EncoderMismatchError, match="reencode=True"):
        ContinuousMemory.from_pretrained(*other_folders, tmp_path, rekey=True)
    with ContinuousMemory.from_pretrained(*folders, tmp_path, rekey=True) as memory:
        assert {one.id: one.block for one in all_records(memory)} == {id: one.block for id, one in old.items()}
        assert all((one.key != old[one.id].key).any() for one in all_records(memory) if one.text)
        new = memory.store.identity.key_name
    with ContinuousMemory.from_pretrained(*folders, tmp_path) as memory:
        assert memory.key.name == new != stored.key_name
        assert memory.search("What is the combination of the safe?", k=1)[0].id == "code"
        assert memory.search(image=FLAG.image, k=1)[0].id == "flag"


def test_pictures_of_a_memory_without_directory_go_with_it(folders: tuple[Path, Path]):
    memory = ContinuousMemory.from_pretrained(*folders, key=tiny_key())
    memory.namespace("bob").add(CAT)
    kept = memory._pictures.folder
    assert kept is not None
    assert len(list(kept.rglob("*.png"))) == 1
    memory.close()
    assert not kept.exists()
    memory.close()
    forgotten = ContinuousMemory.from_pretrained(*folders, key=tiny_key())
    kept, view = forgotten._pictures.folder, forgotten.namespace("bob")
    del forgotten
    gc.collect()
    view.add(CAT)
    assert kept is not None
    assert kept.exists()
    holder = [view]
    del view
    with pytest.warns(ResourceWarning):
        holder.clear()
    assert not kept.exists()


def test_the_default_key(folders: tuple[Path, Path]):
    with ContinuousMemory.from_pretrained(*folders) as memory:
        memory.add([DOOR, CAT, FLAG])
        assert memory.search("Which metal opens that entrance?", k=1)[0].id == "door"
        assert memory.search(image=tiny_picture(2), k=1)[0].id == "flag"
        assert memory.key.name == memory.store.identity.key_name


def test_a_memory_on_a_server(folders: tuple[Path, Path], tmp_path: Path):
    with chroma_server(tmp_path / "server") as url:
        options: dict[str, Any] = {"chroma_url": url, "key": tiny_key()}
        with ContinuousMemory.from_pretrained(*folders, tmp_path / "local", **options) as memory:
            memory.add([DOOR, CAT])
            with ContinuousMemory.from_pretrained(*folders, **options) as shared:
                assert shared.search("the blue door", k=1)[0].id == "door"
                assert torch.equal(shared.get("cat")[0].memory_embeddings, memory.get("cat")[0].memory_embeddings)
                with pytest.raises(InvalidItemError, match="persist_directory"):
                    shared.add(FLAG)
                assert shared.namespace("bob").count() == 0
            assert same_picture(memory.get("cat")[0].image, CAT.image)
    with pytest.raises(StoreLocationError, match="chroma run"):
        ContinuousMemory.from_pretrained(*folders, chroma_url="http://127.0.0.1:9", key=tiny_key())


def test_a_directory_that_a_server_took_over(folders: tuple[Path, Path], tmp_path: Path):
    with ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key()) as memory:
        memory.add([DOOR, CAT])
    with (
        chroma_server(tmp_path / "chroma") as url,
        ContinuousMemory.from_pretrained(*folders, tmp_path, chroma_url=url, key=tiny_key()) as memory,
    ):
        assert same_picture(memory.get("cat")[0].image, CAT.image)
        memory.update("cat", text="On a server now.")
        assert same_picture(memory.get("cat")[0].image, CAT.image)
