"""The cache folder: what was fetched or made once and is kept, complete or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from comem_memory.files.atomic import atomic_folder


def cache_directory() -> Path:
    """`$COMEM_CACHE`, or `~/.cache/comem`."""
    return Path(os.environ.get("COMEM_CACHE") or Path.home() / ".cache" / "comem")


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """A folder in the cache, made the first time somebody asks for it; others that ask meanwhile wait.

    Args:
        name: The folder's name, which stands for its content.
        make: A function that puts the content into the empty folder it is given. What an interrupted call has put
            there is deleted.

    Returns:
        The path of the complete folder.
    """
    cache = cache_directory()
    folder = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        if not folder.is_dir():
            atomic_folder(folder, make)
    return folder
