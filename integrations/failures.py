"""What happens where the memory fails: the error is raised, or logged, and what was to be stored waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, get_args
from weakref import WeakKeyDictionary

from comem_memory.errors import BusyError, ComemError, QueryError, StoreConnectionError
from comem_memory.memory import ContinuousMemory

logger = logging.getLogger(__name__)

OnError = Literal["raise", "log"]
Job = Callable[[ContinuousMemory], object]
"""Stores something in the memory that it is given; doing it again changes nothing."""

HOPELESS = (ComemError, ValueError, TypeError)
"""What fails so, fails again: a closed or read-only memory, an item that cannot be encoded."""

PASSING = (StoreConnectionError, BusyError)
"""Except for these: a server may come back, or have time."""

MOST_WAITING = 1000
"""Writes that wait in a namespace, at most."""


def check_on_error(on_error: str) -> OnError:
    """
    Raises:
        ValueError: It is neither `raise` nor `log`.
    """
    for known in get_args(OnError):
        if on_error == known:
            return known
    raise ValueError(f"on_error is {on_error!r}. Use one of {', '.join(get_args(OnError))}.")


@contextmanager
def tolerating(on_error: OnError, reading: str) -> Iterator[None]:
    """Within it a memory that cannot be read raises, or is logged and done without.

    Args:
        on_error: Which of the two.
        reading: What is read, for the log.

    Raises:
        QueryError: What is asked for is wrong, whatever `on_error` says.
    """
    try:
        yield
    except QueryError:
        raise
    except Exception:
        if on_error == "raise":
            raise
        logger.warning("The memory failed, so %s is left out.", reading, exc_info=True)


def deliver(memory: ContinuousMemory, jobs: Mapping[str, Job], on_error: OnError) -> bool:
    """Does what waits for the memory's namespace, and then these jobs.

    Args:
        memory: Where to store.
        jobs: Each under a key; one that waits under the same key is not done any more.
        on_error: `raise` raises. With `log` what fails now, but may succeed later, waits for the next call; what never
            will is dropped, and the log says so.

    Returns:
        Whether nothing waits.
    """
    queue = _queue(memory)
    for key in jobs:
        queue.waiting.pop(key, None)
    queue.retry(memory)
    for key, job in jobs.items():
        if queue.waiting and on_error == "log":
            queue.put(key, job)  # behind what is older
            continue
        try:
            job(memory)
        except Exception as error:
            if on_error == "raise":
                raise
            queue.failed(key, job, error)
    return not queue.waiting


class _Queue:
    """What a failing store has not taken yet, by key, in the order given. Adapters come and go; it stays."""

    def __init__(self) -> None:
        self.waiting: dict[str, Job] = {}
        self._retrying = threading.Lock()

    def retry(self, memory: ContinuousMemory) -> None:
        """Does what waits, one thread at a time, until the memory cannot be reached."""
        if not self.waiting:
            return
        with self._retrying:
            for key, job in list(self.waiting.items()):
                if self.waiting.get(key) is not job:  # another thread did it, or has newer
                    continue
                try:
                    job(memory)
                except PASSING as error:
                    logger.warning(
                        "The memory failed; %d writes wait for the next chance: %s", len(self.waiting), error
                    )
                    return
                except Exception as error:
                    self.failed(key, job, error)
                    continue
                if self.waiting.get(key) is job:
                    self.waiting.pop(key, None)

    def failed(self, key: str, job: Job, error: Exception) -> None:
        """Keeps a job for later, unless it fails for good."""
        if isinstance(error, HOPELESS) and not isinstance(error, PASSING):
            self.waiting.pop(key, None)
            logger.error("Something cannot be stored and is dropped.", exc_info=error)
            return
        self.put(key, job)
        logger.warning("The memory failed; %d writes wait for the next chance.", len(self.waiting), exc_info=error)

    def put(self, key: str, job: Job) -> None:
        """Keeps a job for later, at the cost of the oldest where too many wait."""
        self.waiting.setdefault(key, job)
        while len(self.waiting) > MOST_WAITING:
            oldest = next(iter(self.waiting), None)
            self.waiting.pop(oldest, None)  # type: ignore[arg-type]
            logger.error("More than %d writes wait for the memory; the oldest is dropped.", MOST_WAITING)


_queues: WeakKeyDictionary[object, dict[str, _Queue]] = WeakKeyDictionary()


def _queue(memory: ContinuousMemory) -> _Queue:
    """Of the memory's namespace."""
    return _queues.setdefault(memory.source, {}).setdefault(memory.name, _Queue())
