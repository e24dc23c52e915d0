"""Async twins, and what becomes of their work when the process ends."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.memories import embedded

from comem_memory import Backbone, ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import QueryError
from comem_memory.testing import tiny_picture


def test_async_twins(filled: ContinuousMemory, tmp_path: Path):
    async def use() -> None:
        assert await filled.aadd(MemoryItem(id="new", text="New.")) == ["new"]
        assert [hit.id for hit in await filled.aget(["new", "door"])] == ["new", "door"]
        await filled.aupdate("new", text="Newer.")
        assert (await filled.aget("new"))[0].text == "Newer."
        assert await filled.adelete(ids="new") == 1
        assert await filled.acount() == 3
        assert await filled.aexport(tmp_path / "export") == 3
        assert await filled.namespace("copy").aload(tmp_path / "export") == 3
        assert await filled.namespace("copy").aclear() == 3
        assert await filled.adescribe("door", max_new_tokens=5) == filled.describe("door", max_new_tokens=5)
        assert await filled.areencode() == 3
        assert await filled.arekey() == 3
        assert await filled.asearch("cat", tiny_picture(1), k=2) == filled.search("cat", tiny_picture(1), k=2)
        answer = filled.answer("cat?", k=2, max_new_tokens=8)
        assert await filled.aanswer("cat?", k=2, max_new_tokens=8) == answer
        assert "".join([piece async for piece in filled.astream("cat?", k=2, max_new_tokens=8)]).strip() == answer.text
        with pytest.raises(QueryError):
            await filled.aanswer("cat?", k=0)
        with pytest.raises(QueryError):
            async for _ in filled.astream("cat?", mode="magic"):
                pass

    asyncio.run(use())


AT_THE_END = f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from comem_memory import MemoryItem
from comem_memory.testing import tiny_backbone, tiny_encoder
from helpers.memories import embedded

memory = embedded(tiny_encoder(tiny_backbone("llava")), Path(sys.argv[1]))
long = {{"mode": "none", "max_new_tokens": 900, "min_new_tokens": 900}}

async def work():
    async for _ in memory.astream("cat?", **long):
        break
    asyncio.create_task(memory.aadd([MemoryItem(id=str(n), text=f"Item {{n}}.") for n in range(20)]))
    await asyncio.sleep(0)

asyncio.run(work())
left = memory.stream("cat?", **long)
next(left)
"""


def test_a_process_that_ends_finishes_what_it_began_to_store_and_leaves_answers_alone(
    llava: MemoryEncoder, tmp_path: Path
):
    ended = subprocess.run([sys.executable, "-c", AT_THE_END, tmp_path], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    with embedded(llava, tmp_path) as memory:
        assert memory.count() == 20


def test_the_event_loop_goes_on_while_the_model_works(filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    def slow(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            time.sleep(0.8)
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(ChromaStore, "search", slow(ChromaStore.search))
    monkeypatch.setattr(Backbone, "generate", slow(Backbone.generate))

    async def longest_pause(work: Any) -> float:
        longest, last, done = 0.0, time.perf_counter(), asyncio.ensure_future(work)
        while not done.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        await done
        return longest

    async def consume() -> None:
        async for _ in filled.astream("cat?", max_new_tokens=4):
            pass

    assert asyncio.run(longest_pause(filled.aanswer("cat?", max_new_tokens=4))) < 0.7
    assert asyncio.run(longest_pause(consume())) < 0.7
