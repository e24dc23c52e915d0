"""Chroma in a directory of this machine: open in one process at a time, or as a copy where it cannot be written."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from comem_memory.errors import StoreInUseError, StoreLocationError
from comem_memory.files import TemporaryFolder, atomic_folder, atomic_write
from comem_memory.store.connections import Connection, check_process, one_at_a_time, start_here
from comem_memory.store.library import embedded_client

FORMAT_VERSION = 1
_MARKER = "comem.json"
_LOCK = "comem.lock"
_DATA = "chroma"
_PICTURES = "pictures"

logger = logging.getLogger(__name__)


def picture_directory(directory: str | Path, collection_name: str = "comem") -> Path:
    """Where the pictures of a memory lie that is in a directory, or has one beside its server."""
    return Path(directory) / _PICTURES / collection_name


def check_location(directory: str | Path) -> Path:
    """The absolute path of a directory that can be opened as a memory, or created; writes nothing.

    Raises:
        StoreLocationError: The path is a file or foreign directory, a newer library wrote it, or there is no memory and
            none can be made.
    """
    path = Path(directory).resolve()
    marker = path / _MARKER
    if path.exists() and not path.is_dir():
        raise StoreLocationError(f"{path} is a file. Pass a directory, or the path of one to be created.")
    if marker.exists():
        try:
            version = int(json.loads(marker.read_text())["format_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreLocationError(f"{marker} is damaged. Restore it from a backup.") from error
        if version > FORMAT_VERSION:
            raise StoreLocationError(
                f"{path} has format version {version}, and this library reads up to {FORMAT_VERSION}. "
                "Upgrade with: pip install --upgrade comem-memory"
            )
        return path
    if path.exists() and any(not entry.name.startswith((_LOCK, _MARKER)) for entry in path.iterdir()):
        raise StoreLocationError(
            f"{path} holds files but no memory ({_MARKER} is missing). Pass an empty or new directory."
        )
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        raise StoreLocationError(
            f"There is no memory in {path}, and none can be made there: {nearest} cannot be written. Pass the "
            "directory of a memory, or one that can be written."
        )
    return path


def holds_memory(directory: str | Path) -> bool:
    """Whether a directory holds a memory, be it an empty one."""
    return (Path(directory) / _MARKER).is_file()


def to_directory(directory: str | Path) -> Connection:
    """A Chroma in a directory, made if missing, which one process at a time may open.

    Where it cannot be written, as on a read-only disk, a temporary copy is opened, for reading only: what others write
    later is not in it.

    Raises:
        StoreLocationError: As in `check_location`, or a directory that cannot be written cannot be copied either.
        StoreInUseError: Another process has it open.
        ForkedProcessError: This process is a fork of one that started Chroma.
    """
    check_process()
    path = check_location(directory)
    used = (path, path / _LOCK, path / _DATA, path / _DATA / "chroma.sqlite3")
    if all(os.access(one, os.W_OK) for one in used if one.exists()):
        return _to_original(path)
    return _to_copy(path)


class _OpenDirectory:
    """A directory that this process has open, and for how many connections."""

    def __init__(self, path: Path) -> None:
        self.path, self.connections, self.writing = path, 0, threading.RLock()
        path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            try:
                opened.enter_context(_lock(path))
            except Timeout as error:
                if path in _directories:  # which this process opened before it was replaced, its lock file kept
                    _directories[path].check()
                raise _in_use(path) from error
            _write_marker(path)
            # Open, so that no other file is given its number.
            self._marker = opened.enter_context((path / _MARKER).open("rb"))
            start_here()
            self.client = embedded_client(str(path / _DATA))
            opened.callback(self.client.close)
            self._opened = opened.pop_all()

    def is_there(self) -> bool:
        """Whether the path still leads to what was opened."""
        with suppress(OSError):
            return os.path.samestat((self.path / _MARKER).stat(), os.fstat(self._marker.fileno()))
        return False

    def check(self) -> None:
        if not self.is_there():
            raise StoreLocationError(
                f"{self.path} was removed or replaced since this memory was opened. Close this memory; what is there "
                "now can then be opened again."
            )

    def close(self) -> None:
        self._opened.close()


_directories: dict[Path, _OpenDirectory] = {}


def _to_original(path: Path) -> Connection:
    with one_at_a_time():
        directory = _directories.get(path)
        if directory is None or not directory.is_there():
            directory = _directories[path] = _OpenDirectory(path)
        directory.connections += 1

    def release() -> None:
        directory.connections -= 1
        if not directory.connections:
            if _directories.get(path) is directory:
                del _directories[path]
            directory.close()

    return Connection(directory.client, release, check=directory.check, writing=directory.writing)


def _lock(path: Path) -> FileLock:
    # The soft fallback would outlive a killed process.
    return FileLock(path / _LOCK, timeout=0, thread_local=False, fallback_to_soft=False)


def copy_directory(directory: str | Path, target: str | Path) -> Path:
    """Copies a memory to a new directory, which can be opened as one; what is open in this process must not be written.

    Pictures that the memory keeps beside its data come along.

    Raises:
        StoreLocationError: The target exists or cannot be written, or the memory cannot be read.
    """
    source, target = check_location(directory), Path(target).resolve()
    if target.exists():
        raise StoreLocationError(f"{target} exists. Pass the path of a new directory.")
    ignored = shutil.ignore_patterns(_LOCK, "server.json")

    def fill(folder: Path) -> None:
        try:
            shutil.copytree(source, folder, ignore=ignored, copy_function=_copy_what_is_there, dirs_exist_ok=True)
        except shutil.Error as error:
            failures = [one for one in error.args[0] if not _is_gone(Path(one[0]), source / _PICTURES)]
            if failures:
                raise shutil.Error(failures) from error

    try:
        atomic_folder(target, fill)
    except OSError as error:
        path, _, why = error.args[0][0] if isinstance(error, shutil.Error) else (source, target, error)
        raise StoreLocationError(
            f"{path} cannot be copied to {target}: {why}. Nothing is left there. Pass a directory that can be "
            "written and has the space, and see that all files of the memory can be read."
        ) from error
    return target


def _is_gone(path: Path, pictures: Path) -> bool:
    """Whether it is a folder of pictures whose item was deleted since."""
    return pictures in path.parents and not path.exists()


def _copy_what_is_there(source: str, target: str) -> None:
    """A picture may go while others are copied, once its item is deleted."""
    with suppress(FileNotFoundError):
        shutil.copyfile(source, target)


def vacuum_directory(directory: str | Path) -> None:
    """Gives the space back to the disk that deleted and rewritten records took in Chroma's database.

    It needs as much free space as the database has in the end.

    Raises:
        StoreLocationError: There is no memory, or the disk has not the space.
        StoreInUseError: The directory is open, in this process or another.
    """
    path = check_location(directory)
    database = path / _DATA / "chroma.sqlite3"
    if not database.exists():
        raise StoreLocationError(f"There is no memory in {path}. Pass the directory of one.")
    with one_at_a_time():
        try:
            with _lock(path), closing(sqlite3.connect(database)) as opened:
                opened.execute("VACUUM")
        except Timeout as error:
            raise _in_use(path) from error
        except sqlite3.OperationalError as error:
            raise StoreLocationError(
                f"{database} cannot be rewritten: {error}. Nothing has changed. Free as much space as it takes, and "
                "try again."
            ) from error


def _to_copy(path: Path) -> Connection:
    if not (path / _DATA).exists():
        raise StoreLocationError(
            f"{path} cannot be written and holds nothing to read: {path / _DATA} is missing. Restore it from a backup, "
            "or make the directory writable to begin a memory there."
        )
    with ExitStack() as opened:
        try:
            folder = TemporaryFolder("comem-reading-")
            opened.callback(folder.remove)
            with ExitStack() as reading:
                if (path / _LOCK).exists():
                    _lock_for_reading(path, reading)
                shutil.copytree(path / _DATA, folder.path, copy_function=shutil.copyfile, dirs_exist_ok=True)
        except OSError as error:
            raise StoreLocationError(
                f"{path} cannot be written, and the temporary copy that would be opened for reading cannot be made: "
                f"{error}. Set TMPDIR to a directory with space for it, or make the memory readable."
            ) from error
        with one_at_a_time():
            start_here()
            client = embedded_client(str(folder.path))
        opened.callback(client.close)
        release = opened.pop_all().close
    logger.warning("%s cannot be written. A temporary copy of it is open, for reading only.", path)
    return Connection(client, release, read_only=True)


def _lock_for_reading(path: Path, reading: ExitStack) -> None:
    """Keeps other processes from opening the directory for writing while it is copied.

    Raises:
        StoreInUseError: One has it open.
    """
    with suppress(ImportError):  # Windows has no such lock
        import fcntl

        lock = reading.enter_context((path / _LOCK).open("rb"))
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(path) from error


def _in_use(path: Path) -> StoreInUseError:
    return StoreInUseError(
        f"Another process has the memory in {path} open. To share it, close it there and start `comem --directory "
        f"{path} serve`, whose clients need no model, or `chroma run --path {path / _DATA}`; then use that URL."
    )


def _write_marker(path: Path) -> None:
    """Whole or not at all, so that a crash leaves a directory that can still be opened."""
    if not (path / _MARKER).exists():
        content = json.dumps({"format_version": FORMAT_VERSION, "library": "comem-memory"})
        atomic_write(path / _MARKER, content, durable=True)
