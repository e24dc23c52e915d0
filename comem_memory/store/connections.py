"""Connections to a Chroma in this process, and what all connections have in common.

A connection belongs to the process that made it, and an embedded Chroma to the first process that starts one: a child
of a fork would wait for ever for Chroma's threads, which it does not have, even in a Chroma of its own; and on the
socket to a server its requests would mix with its parent's.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from comem_memory.errors import ForkedProcessError
from comem_memory.store.library import Client, embedded_client
from comem_memory.store.quotas import Quotas

logger = logging.getLogger(__name__)


class Connection:
    """An open client, let go of when it is closed, when it is garbage, or when the process ends.

    Args:
        client: The client.
        release: Lets go of it; is called once, under `one_at_a_time`.
        check: Raises an error when the client must not be used any more.
        read_only: What is written to it is lost.
        quotas: What it takes at most.
        writing: Held while something is written, by whoever shares what is written to in this process.
    """

    def __init__(
        self,
        client: Client,
        release: Callable[[], None],
        *,
        check: Callable[[], None] = lambda: None,
        read_only: bool = False,
        quotas: Quotas | None = None,
        writing: threading.RLock | None = None,
    ) -> None:
        self.client, self.read_only, self.quotas = client, read_only, quotas
        self.writing = writing or threading.RLock()
        self._process, self._check = os.getpid(), check
        self._release = partial(_release, release, self._process)
        self._garbage = weakref.finalize(self, _release_garbage, self._release)

    def check(self) -> None:
        """
        Raises:
            ForkedProcessError: This process is a child of the one that opened it.
            StoreLocationError: Its directory was removed or replaced.
        """
        if os.getpid() != self._process:
            raise _forked(f"This memory was opened by process {self._process}")
        self._check()

    def close(self) -> None:
        """Lets go of the client; a second call does nothing."""
        if self._garbage.detach():
            with one_at_a_time():
                self._release()


_chroma_process: int | None = None
"""Which process has started an embedded Chroma, this one or one it is a fork of."""


def check_process() -> None:
    """
    Raises:
        ForkedProcessError: This process is a fork of one that started an embedded Chroma.
    """
    if _chroma_process not in (None, os.getpid()):
        raise _forked(f"Chroma was started by process {_chroma_process}")


def start_here() -> None:
    """Notes that an embedded Chroma is started: once everything that may refuse it first is checked."""
    global _chroma_process
    _chroma_process = os.getpid()


def _forked(what: str) -> ForkedProcessError:
    return ForkedProcessError(
        f"{what}, and cannot be used in process {os.getpid()}, a fork of it. Start processes with multiprocessing's "
        "'spawn', or before any memory is opened, and open the memory in the one that uses it; to use it in several at "
        "a time start `chroma run`, and open it in each with that server's URL."
    )


# Chroma's start and the count of who uses a directory are not thread-safe. Garbage is found in any thread at any time,
# in the middle of an opening too, so it must not wait for its turn.

_turn = threading.Lock()
_waiting: deque[Callable[[], None]] = deque()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """One thread at a time opens and closes; what became garbage is let go of before and after."""
    try:
        with _turn:
            _release_waiting()
            yield
    finally:
        _release_if_free()


def _release_garbage(release: Callable[[], None]) -> None:
    _waiting.append(release)
    _release_if_free()


def _release_if_free() -> None:
    """Lets go of garbage; where another thread has its turn, that one does so after it."""
    while _waiting and _turn.acquire(blocking=False):
        try:
            _release_waiting()
        finally:
            _turn.release()


def _release_waiting() -> None:
    """Each on its own: what fails is nothing of whoever has the turn."""
    while _waiting:
        try:
            _waiting.popleft()()
        except Exception:
            logger.exception("A memory that is garbage could not be closed.")


def _release(release: Callable[[], None], process: int) -> None:
    if os.getpid() == process:
        release()
    else:  # never freed: that would stop Chroma, and in older versions of filelock unlock the parent's directory
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(release))


def _in_child() -> None:
    """Another thread of the parent may have held the lock, which nobody would release here."""
    global _turn
    _turn = threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_in_child)


def to_process() -> Connection:
    """A Chroma in this process's memory, apart from every other, until the connection is closed.

    Raises:
        ForkedProcessError: This process is a fork of one that started Chroma.
    """
    check_process()
    with one_at_a_time():
        start_here()
        client = embedded_client(None)
    return Connection(client, client.close)
