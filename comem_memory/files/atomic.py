"""Files and folders that are complete whenever they exist: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"
"""Suffix of what is not complete yet."""


def atomic_write(file: Path, content: str | bytes | Callable[[Path], object], *, durable: bool = False) -> None:
    """Writes a file under whose name there is always the whole old content or the whole new one.

    The content goes into `NAME.partial` beside the file, which then takes its place. What a killed process leaves
    there is overwritten by the next write, so only one process or thread may write a file at a time.

    Args:
        file: The file to write; folders that are missing above it are made.
        content: A text, which is written as UTF-8, or bytes, or a function that writes a file at the path it is given.
        durable: Whether the file must be on the disk on return, so that a power failure no longer takes it away.
    """
    made = [folder for folder in file.parents if not folder.exists()]
    with _partial(file) as partial:
        if callable(content):
            content(partial)
        else:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
        if durable:
            _sync(partial, os.O_RDWR)  # Windows syncs no file that is open for reading only
        partial.replace(file)
    if durable:
        for folder in (file.parent, *(folder.parent for folder in made)):  # they hold the names
            with suppress(OSError):  # Windows opens no folders, and some network disks do not sync them
                _sync(folder, os.O_RDONLY)


def atomic_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Makes a folder that is complete whenever it exists.

    It is filled as `NAME.partial` beside its place and then renamed. What a killed process leaves there is deleted, so
    only one process or thread may make a folder at a time.

    Args:
        folder: The folder to make, which does not exist yet.
        fill: A function that puts the content into the empty folder it is given.
    """
    with _partial(folder) as partial:
        partial.mkdir()
        fill(partial)
        partial.replace(folder)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """Where to write what will be at `path`; nothing is there, neither before nor after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    _remove(partial)
    try:
        yield partial
    except BaseException:
        _remove(partial)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
