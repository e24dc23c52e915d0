"""The model's work for a request: in turn, within its time, and only as long as the client waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from fastapi import Request
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.requests import ClientDisconnect

from comem_memory.errors import ComemError, TimeLimitError
from comem_memory.server.problems import problem_of
from comem_memory.server.served import Served
from comem_memory.server.wire import Wire
from comem_memory.threads import iterate_in_thread

T = TypeVar("T")

GONE = 499
"""The client went away, and nobody reads the answer; nginx's number for that."""
PING_SECONDS = 15
"""A stream that is silent for so long says that it still is there."""


async def in_turn(served: Served, start: Callable[[threading.Event], Iterator[T]]) -> AsyncGenerator[T]:
    """What an iterator in a thread yields, once it has its turn to use the model.

    Its turn ends when it does, however slowly its pieces are taken.

    Args:
        served: What is served.
        start: Makes the iterator, in the thread; its argument is set when the caller gives up or time is over.

    Raises:
        BusyError: Too many wait, or its turn did not come in time.
        TimeLimitError: Its end did not come in time.
    """
    seconds = served.settings.answer_seconds
    ends_at = asyncio.get_running_loop().time() + seconds
    made: asyncio.Queue[tuple[T] | None] = asyncio.Queue()  # at most an answer's tokens

    async def make() -> None:
        try:
            async with served.answers.turn(seconds), aclosing(iterate_in_thread(start)) as pieces:
                async with asyncio.timeout_at(ends_at):
                    async for piece in pieces:
                        made.put_nowait((piece,))
        except TimeoutError as error:
            raise TimeLimitError(f"The answer took longer than {seconds:g} seconds. Ask for a shorter one.") from error
        finally:
            made.put_nowait(None)

    making = asyncio.create_task(make())
    try:
        while (piece := await made.get()) is not None:
            yield piece[0]
        await making
    finally:
        await _end(making)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """What is worked out, while the client waits for it.

    Raises:
        ClientDisconnect: The client went away, and the work was given up.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnection(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        await _end(working, leaving)


async def _disconnection(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Cancels tasks, and waits until they have ended: what they were reading from can be closed then."""
    for task in tasks:
        task.cancel()
    with anyio.CancelScope(shield=True):  # a client that goes away cancels whoever waits here
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # else asyncio logs that nobody has looked at it


async def events(first: T, rest: AsyncGenerator[T], told: Callable[[T], tuple[str, Wire]]) -> AsyncIterator[bytes]:
    """Server-sent events, each with an object as JSON; an error after the first of them is one, too.

    Args:
        first: What the first one tells of.
        rest: What the others tell of.
        told: The name and the object of an event.
    """

    async def lines() -> AsyncGenerator[bytes]:
        yield _event(*told(first))
        try:
            async for piece in rest:
                yield _event(*told(piece))
        except ComemError as error:
            yield _event("error", problem_of(error))

    async with aclosing(rest), aclosing(lines()) as written, aclosing(_with_pings(written)) as pinged:
        async for line in pinged:
            yield line


def _event(name: str, content: Wire) -> bytes:
    return format_sse_event(event=name, data_str=content.model_dump_json())


async def _with_pings(lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    while True:
        line = asyncio.ensure_future(anext(lines))
        try:
            while not (await asyncio.wait({line}, timeout=PING_SECONDS))[0]:
                yield KEEPALIVE_COMMENT
            yield line.result()
        except StopAsyncIteration:
            return
        finally:
            await _end(line)
