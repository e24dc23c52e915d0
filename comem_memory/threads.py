"""Blocking work for asyncio: each call in a thread of its own.

Answers wait for the model, at times for long. In asyncio's default pool, of few threads, the waiting ones would hold up
searches, name lookups and the pieces of the answer that is being made.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import TypeVar

T = TypeVar("T")


async def iterate_in_thread(start: Callable[[threading.Event], Iterator[T]]) -> AsyncGenerator[T]:
    """What an iterator yields.

    Args:
        start: Makes the iterator, in the thread; its argument is set when the caller gives up.
    """
    stopped = threading.Event()
    loop = asyncio.get_running_loop()
    results: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()

    def tell(result: tuple[T] | BaseException | None) -> None:
        with suppress(RuntimeError):  # the caller gave up and the loop ended
            loop.call_soon_threadsafe(results.put_nowait, result)

    def work() -> None:
        try:
            for piece in start(stopped):
                tell((piece,))
            tell(None)
        except BaseException as error:
            tell(error)

    # No daemon: nothing that was begun is cut off when the interpreter ends, and torch is not torn down at work.
    threading.Thread(target=contextvars.copy_context().run, args=(work,), name="comem").start()
    try:
        while (result := await results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result[0]
    finally:
        stopped.set()


async def run_in_thread(work: Callable[[threading.Event], T]) -> T:
    """What a function returns; its argument is set when the caller gives up."""
    async with aclosing(iterate_in_thread(lambda stopped: iter([work(stopped)]))) as results:
        return await anext(results)
