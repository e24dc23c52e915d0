"""What happens where the memory fails: the error is raised, or logged, and what was to be stored waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, get_args
from weakref import WeakKeyDictionary

from comem_memory.errors import InvalidItemError, QueryError
from comem_memory.memory import ContinuousMemory
from comem_memory.store import MemoryStore

logger = logging.getLogger(__name__)

OnError = Literal["raise", "log"]
Job = Callable[[ContinuousMemory], object]
"""Stores something in the memory that it is given; doing it again changes nothing."""

_waiting: WeakKeyDictionary[MemoryStore, dict[str, dict[str, Job]]] = WeakKeyDictionary()
"""By namespace and key, in the order given: what a failing store has not taken yet. Adapters come and go; it stays."""


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
        on_error: `raise` takes these jobs back and raises; with `log` all that is not done waits for the next call, as
            long as the store is open.

    Returns:
        Whether nothing waits.

    Raises:
        InvalidItemError: One of the jobs can never be done, and `raise`. With `log` it is dropped.
    """
    waiting = _waiting.setdefault(memory.store, {}).setdefault(memory.name, {})
    for key in jobs:
        waiting.pop(key, None)
    waiting.update(jobs)
    for key, job in list(waiting.items()):
        try:
            job(memory)
        except Exception as error:
            hopeless = isinstance(error, InvalidItemError)
            if on_error == "raise" and (key in jobs or not hopeless):
                for own in jobs:
                    waiting.pop(own, None)
                raise
            if not hopeless:
                logger.warning("The memory failed; %d writes wait for the next chance.", len(waiting), exc_info=True)
                return False
            logger.error("Something cannot be stored and is dropped.", exc_info=True)
        if waiting.get(key) is job:
            del waiting[key]
    return True
