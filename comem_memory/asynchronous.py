"""`AsyncTwins`: async twins of a memory's methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from comem_memory.answers import Answer, Description, Replied
from comem_memory.conversion import Addable
from comem_memory.encoder import EncodedItems
from comem_memory.model import Message
from comem_memory.threads import iterate_in_thread, run_in_thread
from comem_memory.types import MemoryHit, Page


class AsyncTwins:
    """Each calls the method of its name, without the `a`, in a thread."""

    async def aadd(self: Any, items: Addable | Iterable[Addable], **kwargs: Any) -> list[str]:
        """`add` in a thread, which goes on when the caller gives up, until the memory is closed."""
        return await run_in_thread(lambda _: self.add(items, **kwargs))

    async def aencode(self: Any, items: Addable | Iterable[Addable], **kwargs: Any) -> EncodedItems:
        """`encode` in a thread."""
        return await run_in_thread(lambda _: self.encode(items, **kwargs))

    async def aget(self: Any, ids: str | Sequence[str], **kwargs: Any) -> list[MemoryHit]:
        """`get` in a worker thread."""
        return await asyncio.to_thread(self.get, ids, **kwargs)

    async def asearch(self: Any, text: str | None = None, image: Any = None, **kwargs: Any) -> list[MemoryHit]:
        """`search` in a worker thread."""
        return await asyncio.to_thread(self.search, text, image, **kwargs)

    async def aupdate(self: Any, id: str, **kwargs: Any) -> None:
        """`update` in a thread, as `aadd`."""
        await run_in_thread(lambda _: self.update(id, **kwargs))

    async def adelete(self: Any, **kwargs: Any) -> int:
        """`delete` in a worker thread."""
        return await asyncio.to_thread(self.delete, **kwargs)

    async def aclear(self: Any) -> int:
        """`clear` in a worker thread."""
        return await asyncio.to_thread(self.clear)

    async def ahistory(self: Any, id: str) -> list[MemoryHit]:
        """`history` in a worker thread."""
        return await asyncio.to_thread(self.history, id)

    async def anewest(self: Any, **kwargs: Any) -> Page[MemoryHit]:
        """`newest` in a worker thread."""
        return await asyncio.to_thread(self.newest, **kwargs)

    async def anamespaces(self: Any) -> list[str]:
        """`namespaces` in a worker thread."""
        return await asyncio.to_thread(self.namespaces)

    async def acount(self: Any, **kwargs: Any) -> int:
        """`count` in a worker thread."""
        return await asyncio.to_thread(self.count, **kwargs)

    async def areencode(self: Any, **kwargs: Any) -> int:
        """`reencode` in a thread, as `aadd`."""
        return await run_in_thread(lambda _: self.reencode(**kwargs))

    async def arekey(self: Any, **kwargs: Any) -> int:
        """`rekey` in a thread, as `aadd`."""
        return await run_in_thread(lambda _: self.rekey(**kwargs))

    async def aexport(self: Any, folder: str | Path, **kwargs: Any) -> int:
        """`export` in a worker thread."""
        return await asyncio.to_thread(self.export, folder, **kwargs)

    async def aload(self: Any, folders: str | Path | Iterable[str | Path], **kwargs: Any) -> int:
        """`load` in a worker thread."""
        return await asyncio.to_thread(self.load, folders, **kwargs)

    async def adescribe(self: Any, id: str, **kwargs: Any) -> Description:
        """`describe` in a thread."""
        return await run_in_thread(lambda stopped: self.describe(id, stopped=stopped, **kwargs))

    async def aanswer(self: Any, question: str, image: Any = None, **kwargs: Any) -> Answer:
        """`answer` in a thread; a caller who gives up stops the model."""
        return await run_in_thread(lambda stopped: self.answer(question, image, stopped=stopped, **kwargs))

    async def astream(self: Any, question: str, image: Any = None, **kwargs: Any) -> AsyncGenerator[str]:
        """`stream` in a thread; a caller who gives up stops the model."""
        pieces = iterate_in_thread(lambda stopped: self.stream(question, image, stopped=stopped, **kwargs))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def areply(self: Any, messages: Sequence[Message], settings: Any = None, **kwargs: Any) -> Replied:
        """`reply` in a thread; a caller who gives up stops the model."""
        return await run_in_thread(lambda stopped: self.reply(messages, settings, stopped=stopped, **kwargs))

    async def astream_reply(
        self: Any, messages: Sequence[Message], settings: Any = None, **kwargs: Any
    ) -> AsyncGenerator[str | Replied]:
        """`stream_reply` in a thread; a caller who gives up stops the model."""
        pieces = iterate_in_thread(lambda stopped: self.stream_reply(messages, settings, stopped=stopped, **kwargs))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
