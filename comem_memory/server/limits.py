"""How much at once, and how often."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import limits
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from comem_memory.errors import BusyError, RateLimitError


class Queue:
    """Work of one kind, of which so much goes on at a time and so much more may wait.

    Args:
        running: How many have their turn at once.
        waiting: How many more may wait for theirs.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._turns, self._most_waiting = asyncio.Semaphore(running), waiting
        self.running, self.waiting = 0, 0

    @asynccontextmanager
    async def turn(self, seconds: float | None = None) -> AsyncIterator[None]:
        """Waits for a turn, and has it within.

        Args:
            seconds: The longest that it waits.

        Raises:
            BusyError: Too many wait already, or its turn does not come in time.
        """
        if self._turns.locked() and self.waiting >= self._most_waiting:
            raise BusyError(f"{self.waiting} requests wait for their turn, which is the most here. Try again later.")
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            raise BusyError(f"No turn came within {seconds:g} seconds. Try again later.") from error
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._turns.release()


class Rates:
    """Requests by whoever asks, in a sliding window.

    Args:
        rate: How many in which time, as `6000/minute`.
    """

    def __init__(self, rate: str) -> None:
        self._rate = limits.parse(rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, name: str) -> None:
        """Counts a request.

        Raises:
            RateLimitError: It is one too many.
        """
        if not self._limiter.hit(self._rate, name):
            free_at = self._limiter.get_window_stats(self._rate, name).reset_time
            wait = max(1, math.ceil(free_at - time.time()))
            raise RateLimitError(f"More than {self._rate} requests. Try again in {wait} seconds.", wait)
