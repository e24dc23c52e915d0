"""How processes of this machine find the server that owns a directory: a file in it, as long as the server runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from pydantic import BaseModel, ValidationError

from comem_memory.files import atomic_write

FILE = "server.json"


class Announcement(BaseModel):
    """A running server.

    Args:
        url: Where it is reached from this machine.
        token: Opens everything; only the user who runs the server can read it.
        pid: Its process.
        started: When that process started, in seconds since 1970, which tells it from a later one of the same number.
    """

    url: str
    token: str
    pid: int
    started: float


@contextmanager
def announced(directory: Path, url: str, token: str) -> Iterator[None]:
    """Tells of this process's server within; what an earlier, killed one left is replaced.

    Args:
        directory: The memory's directory, which this process has open.
        url: Where the server is reached.
        token: What opens everything there.
    """
    own = Announcement(url=url, token=token, pid=os.getpid(), started=psutil.Process().create_time())

    def write(partial: Path) -> None:
        partial.touch(0o600)
        partial.write_text(own.model_dump_json() + "\n", encoding="utf-8")

    atomic_write(directory / FILE, write)
    try:
        yield
    finally:
        (directory / FILE).unlink(missing_ok=True)


def find_server(directory: Path) -> Announcement | None:
    """The server that owns a directory, if one runs and this user may use it."""
    with suppress(OSError, ValidationError, psutil.Error):
        found = Announcement.model_validate_json((directory / FILE).read_bytes())
        if abs(psutil.Process(found.pid).create_time() - found.started) < 1:
            return found
    return None
