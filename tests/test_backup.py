"""Backups made while others write, and what comes out of them."""

import itertools
import os
import shutil
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.records import identity, key, record
from helpers.store_contract import ids_of
from typer.testing import CliRunner

from comem_memory.cli.app import app
from comem_memory.errors import StoreLocationError
from comem_memory.store import ChromaStore, MemoryRecord, encode_block, write_folder
from comem_memory.store.portable import read_folder


def test_a_directory_is_copied_while_it_is_written_to(tmp_path: Path):
    with (
        closing(ChromaStore.embedded(tmp_path / "memory", identity=identity())) as store,
        closing(ChromaStore.embedded(tmp_path / "memory", identity=identity())) as other,
    ):
        (tmp_path / "memory" / "pictures").mkdir()
        (tmp_path / "memory" / "pictures" / "a.png").write_bytes(b"picture")
        acknowledged: list[str] = []
        ended = threading.Event()

        def write() -> None:
            n = 0
            while not ended.is_set():
                other.put([record(f"{n + i:05}", seed=n + i) for i in range(20)])
                acknowledged.extend(f"{n + i:05}" for i in range(20))
                if n % 100 == 0:
                    other.delete(namespace="ann", ids=[f"{n:05}"])
                n += 20

        writer = threading.Thread(target=write)
        writer.start()
        copies = []
        for n in range(3):
            while len(acknowledged) < 400 * (n + 1):
                assert writer.is_alive()
            before = len(acknowledged)
            copies.append((before, store.backup(tmp_path / f"copy {n}")))
        ended.set()
        writer.join()
    for before, copy in copies:
        assert (copy / "pictures" / "a.png").read_bytes() == b"picture"
        with closing(ChromaStore.embedded(copy, identity=None)) as store:
            ids = set(ids_of(store))
            written = [f"{n:05}" for n in range(before) if n % 100]
            assert ids.issuperset(written), "what was acknowledged before the backup began"
            assert len(store.get(sorted(ids), namespace="ann")) == len(ids)
            for n in (1, before // 2 + 1, before - 1):
                [(found, similarity)] = store.search(key(n), namespace="ann", k=1)
                assert found.id == f"{n:05}" and similarity == pytest.approx(1, abs=1e-5)
            store.put([record("new")])
            assert "new" in ids_of(store)


def test_a_backup_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with closing(ChromaStore.embedded(tmp_path / "memory", identity=identity())) as store:
        store.put([record("a")])
        monkeypatch.setattr(shutil, "copyfile", stopped)
        with pytest.raises(KeyboardInterrupt):
            store.backup(tmp_path / "copy")
    assert [entry.name for entry in tmp_path.iterdir()] == ["memory"]


def test_a_backup_takes_no_place_that_is_taken_and_leaves_nothing_half(tmp_path: Path):
    with closing(ChromaStore.embedded(tmp_path / "memory", identity=identity())) as store:
        store.put([record("a")])
        (tmp_path / "taken").mkdir()
        with pytest.raises(StoreLocationError, match="exists"):
            store.backup(tmp_path / "taken")
        (tmp_path / "copy.partial").mkdir()  # a backup that was interrupted
        store.backup(tmp_path / "copy")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["copy", "memory", "taken"]
    with (
        closing(ChromaStore.in_memory(identity=identity())) as store,
        pytest.raises(StoreLocationError, match="Export"),
    ):
        store.backup(tmp_path / "elsewhere")


def test_pictures_of_items_that_are_deleted_meanwhile_are_left_out(tmp_path: Path):
    memory, ended = tmp_path / "memory", threading.Event()
    for name in ("a", "b"):
        (memory / "pictures" / "comem" / name).mkdir(parents=True)
        (memory / "pictures" / "comem" / name / "1.png").write_bytes(b"picture")
    (memory / "comem.json").write_text('{"format_version": 1}')

    def delete(event: str, arguments: tuple[object, ...]) -> None:
        if not ended.is_set() and event == "shutil.copytree" and arguments[0] == f"{memory / 'pictures/comem/a'}":
            shutil.rmtree(memory / "pictures" / "comem" / "a")

    sys.addaudithook(delete)  # when the folder has been found, and not yet read
    with closing(ChromaStore.embedded(memory, identity=identity())) as store:
        store.put([record("b")])
        copy = store.backup(tmp_path / "copy")
    ended.set()
    assert not (memory / "pictures" / "comem" / "a").exists()
    assert (copy / "pictures" / "comem" / "b" / "1.png").read_bytes() == b"picture"
    with closing(ChromaStore.embedded(copy, identity=None)) as store:
        assert ids_of(store) == ["b"]
    assert not (tmp_path / "copy.partial").exists()


def test_what_cannot_be_copied_is_named_and_nothing_is_left(tmp_path: Path):
    with closing(ChromaStore.embedded(tmp_path / "memory", identity=identity())) as store:
        store.put([record("a")])
        (tmp_path / "file").touch()
        with pytest.raises(StoreLocationError, match="can be written"):
            store.backup(tmp_path / "file" / "copy")
        os.mkfifo(tmp_path / "memory" / "pipe")
        with pytest.raises(StoreLocationError, match="pipe.* cannot be copied"):
            store.backup(tmp_path / "copy")
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "memory"]


def test_the_command_makes_one_that_opens(tmp_path: Path):
    with closing(ChromaStore.embedded(tmp_path / "memory", identity=identity())) as store:
        store.put([record("a")])
    result = CliRunner().invoke(app, ["--directory", f"{tmp_path / 'memory'}", "backup", f"{tmp_path / 'copy'}"])
    assert result.output == f"Copied to {tmp_path / 'copy'}.\n"
    with closing(ChromaStore.embedded(tmp_path / "copy", identity=None)) as store:
        assert store.get(["a"], namespace="ann") == [record("a")]


@pytest.mark.parametrize("command", [["vacuum"], ["backup", "elsewhere"]])
def test_where_there_is_no_memory_none_is_made(tmp_path: Path, command: list[str]):
    result = CliRunner().invoke(app, ["--directory", f"{tmp_path / 'nothing'}", *command])
    assert isinstance(result.exception, StoreLocationError) and "no memory in" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_server_is_exported_while_others_write(server_url: str, tmp_path: Path):
    def opened() -> ChromaStore:
        return ChromaStore.server(server_url, identity=identity(), collection_name="exported")

    def version(id: int, n: int) -> MemoryRecord:
        """Key and text say both which version of an item it is."""
        return record(f"{id:03}", seed=n, text=f"{n}", block=block)

    block = encode_block(torch.ones(8, 4), "int8")
    ended = threading.Event()

    def write() -> None:
        with closing(opened()) as other:
            for n in itertools.count(200):
                if ended.is_set():
                    return
                other.put([version(n % 200, n), record(f"new {n}", block=block)])

    with closing(opened()) as store:
        store.put([version(n, n) for n in range(200)])
        writer = threading.Thread(target=write)
        writer.start()
        try:
            records = itertools.chain.from_iterable(store.scan(namespace="ann"))
            write_folder(tmp_path / "export", store.identity, records)
        finally:
            ended.set()
            writer.join()
    exported = {one.id: one for one in read_folder(tmp_path / "export", identity())}
    assert exported.keys() >= {f"{n:03}" for n in range(200)}, "all that was stored before it began"
    for n in range(200):
        one = exported[f"{n:03}"]
        assert one.text is not None and int(one.text) % 200 == n
        np.testing.assert_array_equal(one.key, key(int(one.text)))
