"""Where a memory is, for commands that make none."""

from __future__ import annotations

import difflib
from contextlib import suppress
from pathlib import Path

from comem_memory.errors import StoreLocationError
from comem_memory.store.chroma import ChromaStore
from comem_memory.store.servers import ChromaServer


def open_kept(directory: Path, server: ChromaServer | None) -> ChromaStore:
    """The store that is there, whatever wrote it, without a model.

    Raises:
        StoreLocationError: There is none.
        StoreInUseError: Another process has the directory open.
    """
    if server is not None:
        return ChromaStore.server(server, identity=None)
    check_directory(directory)
    return ChromaStore.embedded(directory, identity=None)


def check_there(directory: Path, server: ChromaServer | None) -> None:
    """
    Raises:
        StoreLocationError: There is no memory.
    """
    if server is not None:
        open_kept(directory, server).close()
    else:
        check_directory(directory)


def check_directory(directory: Path) -> None:
    """
    Raises:
        StoreLocationError: The directory holds no memory; the message names some that do.
    """
    if ChromaStore.holds_memory(ChromaStore.check_location(directory)):
        return
    near = _memories_near(directory)
    there = f" {' and '.join(map(str, near))} {'hold' if near[1:] else 'holds'} one." if near else ""
    raise StoreLocationError(
        f"There is no memory in {directory}.{there} Pass the directory of one (comem --directory), or store something "
        "there with comem add."
    )


def _memories_near(directory: Path) -> list[Path]:
    """Directories beside it that hold a memory, those of similar names if there are any, at most three."""
    found: dict[str, Path] = {}
    with suppress(OSError):
        found = {one.name: one for one in sorted(directory.parent.iterdir()) if _holds_memory(one)}
    similar = difflib.get_close_matches(directory.name, found)
    return [found[name] for name in similar or list(found)[:3]]


def _holds_memory(path: Path) -> bool:
    with suppress(OSError):  # others' directories, which cannot be looked into
        return ChromaStore.holds_memory(path)
    return False
