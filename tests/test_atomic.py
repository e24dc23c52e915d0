"""What is written atomically is there whole or not at all, whatever stops the writing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from comem_memory.files import atomic_folder, atomic_write, cached
from comem_memory.files.tensors import write_tensors


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(
    "content", ["grün\n", "grün\n".encode(), lambda path: path.write_text("grün\n", encoding="utf-8", newline="\n")]
)
def test_text_bytes_and_what_a_function_writes(
    tmp_path: Path, content: str | bytes | Callable[[Path], object], durable: bool
):
    file = tmp_path / "new" / "folder" / "note.txt"
    for _ in range(2):  # made, then replaced
        atomic_write(file, content, durable=durable)
        assert file.read_bytes() == "grün\n".encode()
        assert [path.name for path in file.parent.iterdir()] == ["note.txt"]


def test_weights_are_as_readable_as_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Safetensors writes files that only their owner may read: another user of an image could not load the model."""
    weights = {"weight": torch.ones(2)}
    write_tensors(tmp_path / "adapter.safetensors", weights)
    monkeypatch.setenv("COMEM_CACHE", str(tmp_path))
    folder = cached("weights", lambda folder: save_file(weights, folder / "model.safetensors"))
    (tmp_path / "note.txt").touch()
    modes = [file.stat().st_mode for file in (tmp_path / "adapter.safetensors", folder / "model.safetensors")]
    assert modes == [(tmp_path / "note.txt").stat().st_mode] * 2


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path):
    def until_the_disk_is_full(path: Path) -> None:
        path.write_text("hal")
        raise OSError("No space left on device")

    (tmp_path / "note.txt").write_text("old")
    for file in ("note.txt", "new.txt"):
        with pytest.raises(OSError, match="No space left"):
            atomic_write(tmp_path / file, until_the_disk_is_full)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    assert (tmp_path / "note.txt").read_text() == "old"


def test_a_killed_write_leaves_what_was_there(tmp_path: Path):
    (tmp_path / "note.txt").write_text("old")
    script = """
import os, signal, sys
from pathlib import Path
from comem_memory.files import atomic_folder, atomic_write

def half(path):
    (path / "note.txt" if path.is_dir() else path).write_text("hal")
    os.kill(os.getpid(), signal.SIGKILL)

write = atomic_folder if sys.argv[1] == "folder" else atomic_write
write(Path(sys.argv[1]), half)
"""
    for name in ("note.txt", "folder"):
        killed = subprocess.run([sys.executable, "-c", script, name], cwd=tmp_path, check=False)
        assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "note.txt").read_text() == "old"
    assert not (tmp_path / "folder").exists()
    atomic_write(tmp_path / "note.txt", "new")
    atomic_folder(tmp_path / "folder", lambda folder: (folder / "whole.txt").write_text("whole"))
    assert (tmp_path / "note.txt").read_text() == "new"
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "folder",
        "folder/whole.txt",
        "note.txt",
    ]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_durable_file_is_synced_before_it_gets_its_name_and_the_names_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[tuple[str, bool]] = []
    file, sync = tmp_path / "new" / "note.txt", os.fsync

    def noted(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.relative_to(tmp_path).as_posix(), file.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    atomic_write(file, "text")
    assert synced == []
    file.unlink()
    file.parent.rmdir()
    atomic_write(file, "text", durable=True)
    assert synced == [("new/note.txt.partial", False), ("new", True), (".", True)]
