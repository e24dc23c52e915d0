"""Encoding in bulk: two workers against one, their bytes, and loading what they made: `python benchmarks/bulk.py`.

Workers of one thread each, with the embedded default and Ray on this machine (`make test-ray` says how it is put
there). How fast they are is told from when their shards were complete, so that starting Ray and models does not count.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from storage import KEY_DIMENSION, TEXT

from comem_memory import ContinuousMemory
from comem_memory.ray import encode
from comem_memory.store import MemoryRecord, encode_block, now, to_date, write_folder
from comem_memory.synthesis.countries import item, rows

HIDDEN_SIZE = 576
"""Of the embedded default."""


def items_a_second(shards: Path, workers: int) -> float:
    """How many items were encoded a second from when every worker had made a shard."""
    done = sorted(
        (file.stat().st_mtime, json.loads(file.read_text())["items"]) for file in shards.glob("*/export.json")
    )
    begun = done[workers - 1][0]
    return sum(items for _, items in done[workers:]) / (done[-1][0] - begun)


def same_vectors(first: Path, second: Path) -> bool:
    names = {file.relative_to(first) for file in first.glob("*/vectors-*")}
    return names == {file.relative_to(second) for file in second.glob("*/vectors-*")} and all(
        (first / name).read_bytes() == (second / name).read_bytes() for name in names
    )


def encoding(count: int, folder: Path) -> None:
    """Countries, text and flag, in shards of four."""
    source = folder / "items.jsonl"
    with source.open("w") as lines:
        for one in map(item, rows()[:count]):
            lines.write(json.dumps({"text": one.text, "image": str(one.image)}) + "\n")
    rates = {}
    for workers in (1, 2):
        out = folder / f"{workers}"
        print(encode(source, out, shard_size=4, concurrency=workers))
        rates[workers] = items_a_second(out, workers)
        print(f"{workers} workers of one thread: {rates[workers]:.2f} items a second")
    print(
        f"two workers : one = {rates[2] / rates[1]:.2f} : 1, the same bytes: {same_vectors(folder / '1', folder / '2')}"
    )


def loading(count: int, folder: Path) -> None:
    """Random items without pictures, in shards of a thousand, into an embedded Chroma; and once more."""
    with ContinuousMemory.from_pretrained(persist_directory=folder / "memory") as memory:
        for shard in range(count // 1000):
            write_folder(folder / "random" / f"shard-{shard:06d}", memory.store.identity, random_records(shard))
        for what in ("loaded", "loaded again"):
            start = time.perf_counter()
            memory.load(folder / "random", progress=False)
            print(f"{what}: {count / (time.perf_counter() - start):.0f} items a second")


def random_records(shard: int) -> Iterator[MemoryRecord]:
    generator = np.random.default_rng(shard)
    moment = to_date(now())
    for n in range(1000):
        id = f"{shard}-{n}"
        block = encode_block(torch.from_numpy(generator.standard_normal((8, HIDDEN_SIZE), np.float32)), "int8")
        key = generator.standard_normal(KEY_DIMENSION, np.float32)
        yield MemoryRecord(
            id=id, namespace="", key=key, block=block, text=TEXT, content_hash=id, created_at=moment, updated_at=moment
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=96, help="countries that are encoded")
    parser.add_argument("--loaded", type=int, default=5000, help="random items that are loaded, in thousands")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        encoding(arguments.items, Path(temporary))
        loading(arguments.loaded, Path(temporary))
