"""A folder of what was fetched or made once: complete or not there, whoever asks first."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def cache_directory() -> Path:
    """`$COMEM_CACHE`, or `~/.cache/comem`."""
    return Path(os.environ.get("COMEM_CACHE") or Path.home() / ".cache" / "comem")


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The cache folder `name`; `make` fills it, once, and an interrupted attempt leaves nothing behind."""
    cache = cache_directory()
    folder = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        if not folder.is_dir():
            unfinished = Path(tempfile.mkdtemp(dir=cache, prefix=f"{name}-"))
            try:
                make(unfinished)
                unfinished.chmod(0o755)
                unfinished.replace(folder)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
    return folder
