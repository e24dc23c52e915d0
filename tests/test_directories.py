"""A memory's directory: the one that was opened, or a copy of one that cannot be written."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from helpers.memories import CAT, DOOR, embedded
from helpers.processes import is_locked, read_only, run, why_not_read_only
from helpers.records import NEW, identity, key, record
from helpers.store_contract import ids_of

from comem_memory.errors import StoreLocationError
from comem_memory.store import ChromaStore
from comem_memory.store.directories import _to_copy
from comem_memory.testing import tiny_backbone, tiny_encoder


def opened(directory: Path) -> ChromaStore:
    return ChromaStore.embedded(directory, identity=identity())


def assert_gone(store: ChromaStore) -> None:
    for use in (
        lambda: store.get(["a"], namespace="ann"),
        lambda: store.search(key(1), namespace="ann", k=1),
        lambda: store.count(namespace="ann"),
        lambda: store.put([record("b")]),
        lambda: store.delete(namespace="ann", ids=["a"]),
        lambda: store.begin_migration(NEW),
    ):
        with pytest.raises(StoreLocationError, match="removed or replaced since this memory was opened.*opened again"):
            use()


def test_a_directory_that_was_removed_is_not_used_any_more(tmp_path: Path):
    store = opened(tmp_path / "memory")
    store.put([record("a")])
    shutil.rmtree(tmp_path / "memory")
    assert_gone(store)
    again = opened(tmp_path / "memory")
    assert_gone(store)
    assert ids_of(again) == []
    again.put([record("b")])
    store.close()
    assert is_locked(tmp_path / "memory")
    again.put([record("c")])
    again.close()
    assert not is_locked(tmp_path / "memory")
    with closing(opened(tmp_path / "memory")) as last:
        assert ids_of(last) == ["b", "c"]


def test_what_is_found_in_a_directorys_place_is_opened_anew(tmp_path: Path):
    with closing(opened(tmp_path / "memory")) as store:
        store.put([record("old")])
    shutil.copytree(tmp_path / "memory", tmp_path / "backup")
    store = opened(tmp_path / "memory")
    store.put([record("new")])
    (tmp_path / "memory").rename(tmp_path / "elsewhere")
    assert_gone(store)
    (tmp_path / "backup").rename(tmp_path / "memory")
    assert_gone(store)
    with closing(opened(tmp_path / "memory")) as restored:
        assert ids_of(restored) == ["old"]
    store.close()
    with closing(opened(tmp_path / "elsewhere")) as moved:
        assert ids_of(moved) == ["new", "old"]


def test_a_directory_that_is_restored_in_place_is_opened_once_the_old_memory_is_closed(tmp_path: Path):
    store = opened(tmp_path)
    (tmp_path / "comem.json").rename(tmp_path / "comem.json.old")
    shutil.copy(tmp_path / "comem.json.old", tmp_path / "comem.json")
    for use in (lambda: store.count(namespace="ann"), lambda: opened(tmp_path)):
        with pytest.raises(StoreLocationError, match="was removed or replaced.*Close this memory; .*opened again"):
            use()
    store.close()
    opened(tmp_path).close()


def test_a_copy_that_cannot_be_opened_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with pytest.raises(StoreLocationError, match="holds nothing to read: .*chroma is missing. Restore"):
        _to_copy(tmp_path / "memory")
    (tmp_path / "memory" / "chroma").mkdir(parents=True)
    (tmp_path / "memory" / "chroma" / "chroma.sqlite3").write_text("This is no database.")
    with pytest.raises(Exception, match="not a database"):
        _to_copy(tmp_path / "memory")
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("kept", [True, False], ids=["in use", "garbage"])
def test_a_deleted_note_does_not_come_back_with_a_new_directory(tmp_path: Path, kept: bool):
    in_use = []
    for text in ("secret", "plain"):
        store = opened(tmp_path / "memory")
        assert ids_of(store) == []
        store.put([record(text)])
        assert [r.id for r, _ in store.search(key(1), namespace="ann", k=9)] == [text]
        store.delete(namespace="ann", ids=[text])
        if kept:
            in_use.append(store)
        del store
        shutil.rmtree(tmp_path / "memory")


@pytest.mark.skipif(why_not_read_only() is not None, reason=why_not_read_only() or "")
def test_a_directory_that_cannot_be_written_is_read(tmp_path: Path):
    with embedded(tiny_encoder(tiny_backbone("llava")), tmp_path / "memory") as memory:
        memory.add([DOOR, CAT])
        hits = memory.search("door", k=2)
        answer = memory.answer("Which key opens the door?")
    temporary = tmp_path.with_name(f"{tmp_path.name}-temporary")
    temporary.mkdir()
    busy = opened(tmp_path / "busy")
    (tmp_path / "empty").mkdir()
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(tmp_path.rglob("*"))}
    output = run(
        """
        import logging, os, tempfile
        from pathlib import Path
        from helpers.memories import DOOR, FLAG, embedded
        from helpers.records import identity
        from comem_memory.errors import ComemError
        from comem_memory.store import ChromaStore
        from comem_memory.testing import tiny_backbone, tiny_encoder

        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        folder = Path(sys.argv[1])
        tempfile.tempdir = sys.argv[2]
        memory = embedded(tiny_encoder(tiny_backbone("llava")), folder / "memory")
        print([(hit.id, hit.similarity, hit.created_at) for hit in memory.search("door", k=2)])
        print(memory.answer("Which key opens the door?"))
        print(memory.count(where={"year": 2021}), [hit.id for hit in memory.scan()], memory.get("door")[0].text)
        print(os.path.exists(memory.get("cat")[0].image), memory.export(sys.argv[2] + "/export"))
        again = ChromaStore.embedded(folder / "memory", identity=None)
        print(again.count(namespace="default"), len(list(Path(sys.argv[2]).glob("comem-reading-*"))))
        again.close()
        for write in (
            lambda: memory.add(FLAG), lambda: memory.add(DOOR), lambda: memory.update("door", metadata={}),
            lambda: memory.delete(ids="door"), lambda: memory.clear(), lambda: memory.load(sys.argv[2] + "/export"),
            lambda: memory.reencode(),
            lambda: ChromaStore.embedded(folder / "busy", identity=identity()),
            lambda: ChromaStore.embedded(folder / "empty", identity=identity()),
            lambda: ChromaStore.embedded(folder / "new" / "memory", identity=identity()),
        ):
            try:
                print(write())
            except ComemError as error:
                print(f"{type(error).__name__}: {error}")
        print(len(list(Path(sys.argv[2]).glob("comem-reading-*"))), flush=True)
        """,
        tmp_path,
        temporary,
        within=read_only(tmp_path),
    ).splitlines()
    logged = f"{tmp_path / 'memory'} cannot be written. A temporary copy of it is open, for reading only."
    assert output[0] == output[5] == logged
    assert output[1] == str([(hit.id, hit.similarity, hit.created_at) for hit in hits])
    assert output[2:5] == [str(answer), f"1 ['cat', 'door'] {DOOR.text}", "True 2"]
    assert output[6] == "2 2", "each opening copies what is there then"
    for line in output[7:14]:
        assert line.startswith("StoreReadOnlyError: The directory of this memory cannot be written")
    assert output[14].startswith(f"StoreInUseError: Another process has the memory in {tmp_path / 'busy'} open.")
    for line, name in zip(output[15:17], ("empty", "new/memory"), strict=True):
        assert line.startswith(f"StoreLocationError: There is no memory in {tmp_path / name}, and none can be made")
    assert output[17] == "1"
    assert not list(temporary.glob("comem-reading-*")), "copies are removed"
    assert before == {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(tmp_path.rglob("*"))}
    busy.close()
