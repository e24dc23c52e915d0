"""The cache folder: complete or not there, on disks that cannot be written, and for users without a home."""

import os
import subprocess
from pathlib import Path

import pytest
from helpers.processes import NO_PASSWD_ENTRY, NO_RIGHT_TO_WRITE, run
from helpers.saved import save_tiny

from comem_memory.files import cached
from comem_memory.mini import base_model, e5_directory, efficientnet_weights


def test_interrupted_work_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMEM_CACHE", str(tmp_path))

    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("model", interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["model.lock"]
    folder = cached("model", lambda folder: (folder / "whole").write_text("whole") and None)
    assert cached("model", interrupted) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]


@pytest.fixture
def reader() -> tuple[str, ...]:
    """Starts a program for which permissions hold, whoever runs the tests."""
    if os.geteuid() != 0:
        return ()
    if subprocess.run([*NO_RIGHT_TO_WRITE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("As root, permissions can be tried only where setpriv may take rights away.")
    return NO_RIGHT_TO_WRITE


def test_a_complete_cache_is_read_where_nothing_can_be_written(
    reader: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "cache"
    cache.mkdir()
    for part in (e5_directory(), efficientnet_weights().parent):
        (cache / part.name).symlink_to(part)
    base, _ = save_tiny(tmp_path)
    base.rename(cache / base_model().name)
    cache.chmod(0o555)
    monkeypatch.setenv("COMEM_CACHE", str(cache))
    script = """
        from pathlib import Path
        from comem_memory.opening import default_key, load_backbone
        try:
            Path(sys.argv[1], "file").touch()
        except PermissionError:
            print(load_backbone().name, default_key().dimension)
    """
    assert run(script, cache, within=reader) == "comem-mini 1368"


def test_what_is_missing_of_a_cache_that_cannot_be_written_is_said(
    reader: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tmp_path.chmod(0o555)
    script = """
        from comem_memory.errors import CacheError
        from comem_memory.files import cached
        try:
            cached("model", lambda folder: None)
        except CacheError as error:
            print(error)
    """
    for cache in (tmp_path, tmp_path / "new"):
        monkeypatch.setenv("COMEM_CACHE", str(cache))
        assert run(script, within=reader) == (
            f"{cache / 'model'} has to be made first, and {cache} cannot be written (Permission denied). "
            "Set COMEM_CACHE to a folder that can."
        )


def test_without_a_home_the_variable_to_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if subprocess.run([*NO_PASSWD_ENTRY, "true"], capture_output=True, check=False).returncode:
        pytest.skip("This machine lets nobody run a program as another user (unshare).")
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("COMEM_CACHE", raising=False)
    script = """
        import os
        import comem_memory
        from comem_memory.errors import CacheError
        from comem_memory.files import cache_directory
        try:
            cache_directory()
        except CacheError as error:
            print(error)
        try:
            comem_memory.ContinuousMemory
        except CacheError as error:
            print(error)
        os.environ["COMEM_CACHE"] = "there"
        print(cache_directory())
        os.environ["HOME"] = sys.argv[1]
        print(comem_memory.ContinuousMemory.__name__)
    """
    assert run(script, tmp_path, within=NO_PASSWD_ENTRY).splitlines() == [
        "This user has no home directory for the cache. Set COMEM_CACHE to a folder, or HOME.",
        "This user has no home directory, which Chroma looks for. Set HOME to a folder that this user may write.",
        "there",
        "ContinuousMemory",
    ]
