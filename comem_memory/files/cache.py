"""The cache folder: what was fetched or made once and is kept, complete or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from comem_memory.errors import CacheError
from comem_memory.files.atomic import atomic_folder


def cache_directory() -> Path:
    """`$COMEM_CACHE`, or `~/.cache/comem`.

    Raises:
        CacheError: The variable is not set, and this user has no home directory.
    """
    if given := os.environ.get("COMEM_CACHE"):
        return Path(given)
    try:
        return Path.home() / ".cache" / "comem"
    except RuntimeError as error:
        raise CacheError(
            "This user has no home directory for the cache. Set COMEM_CACHE to a folder, or HOME."
        ) from error


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """A folder in the cache, made the first time somebody asks for it.

    Args:
        name: The folder's name, which stands for its content.
        make: A function that puts the content into the empty folder it is given. What an interrupted call has put
            there is deleted.

    Returns:
        The path of the complete folder.

    Raises:
        CacheError: There is no such folder yet, and the cache cannot be written.
    """

    def fill(folder: Path) -> None:
        make(folder)
        readable = folder.stat().st_mode & 0o666  # safetensors' files are their owner's alone: root's, in an image
        for file in folder.rglob("*"):
            if file.is_file():
                file.chmod(readable)

    folder = cache_directory() / name
    return made_once(folder, lambda: atomic_folder(folder, fill))


def made_once(folder: Path, make: Callable[[], object]) -> Path:
    """A folder that is made the first time somebody asks for it; others that ask meanwhile wait.

    One that is there is read only, so it may lie on a disk that cannot be written.

    Args:
        folder: The folder, which is complete whenever it exists.
        make: A function that makes it.

    Returns:
        The folder.

    Raises:
        CacheError: There is no such folder yet, and the one above it cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(f"{folder}.lock").acquire()
    except OSError as error:
        raise CacheError(
            f"{folder} has to be made first, and {folder.parent} cannot be written ({error.strerror}). "
            "Set COMEM_CACHE to a folder that can."
        ) from error
    with held:
        if not folder.is_dir():
            make()
    return folder
