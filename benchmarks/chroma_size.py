"""How a memory of many items fills, searches and starts: `python benchmarks/chroma_size.py --items 100000`.

Through the store's own calls, with the embedded default's sizes: 8 vectors of 576 in int8, keys of 1368 numbers. The
vectors are those of 64 statements over and over; keys are made up, texts' ones around 1000 topics (384 numbers, the
pictures' part is zero), and so are the questions. What is found is compared with all keys, one by one. Times are those
of the CPU, over all threads, so that what runs beside does not count; the filling rate is by the clock as well.

Namespaces of 10, 100, ... items lie among the others, which are `crowd`. It fills a directory and leaves it there;
given again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from storage import KEY_DIMENSION, TEXT, random_identity, real_vectors, size_of

from comem_memory.store import ChromaStore, MemoryRecord, encode_block

HIDDEN_SIZE, TEXT_PART, TOPICS, BATCH = 576, 384, 1000, 64
QUESTIONS = 20


def made_up_keys(count: int, *, seed: int) -> np.ndarray:
    """(count, 384) float32: texts' parts of keys, unit vectors around topics."""
    topics = np.random.default_rng(0).standard_normal((TOPICS, TEXT_PART), np.float32)
    generator = np.random.default_rng(seed)
    keys = topics[generator.integers(TOPICS, size=count)] + generator.standard_normal((count, TEXT_PART), np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    return keys


def whole(key: np.ndarray) -> np.ndarray:
    """(384,) -> (1368,): with the pictures' part, which is zero."""
    return np.pad(key, (0, KEY_DIMENSION - TEXT_PART))


def namespaces_of(items: int) -> np.ndarray:
    """(items,): of each its namespace, the small ones spread among the rest."""
    names = np.full(items, "crowd", dtype="<U8")
    order = np.random.default_rng(1).permutation(items)
    start = 0
    for power in range(1, 6):
        size = 10**power
        if start + size <= items // 2:
            names[order[start : start + size]] = f"of{size}"
            start += size
    return names


def fill(folder: Path, items: int, minutes: float) -> tuple[int, str]:
    """Items that are stored, and how fast; stops when the time is up."""
    vectors = real_vectors()
    blocks = [encode_block(vectors(HIDDEN_SIZE), "int8") for _ in range(64)]
    keys, names = made_up_keys(items, seed=2), namespaces_of(items)
    store = ChromaStore.embedded(folder, identity=random_identity(HIDDEN_SIZE))
    before = sum(store.count(namespace=name) for name in store.namespaces())
    began, worked, done = time.monotonic(), time.process_time(), before
    while done < items and time.monotonic() - began < 60 * minutes:
        store.put([made_up_record(n, names[n], keys[n], blocks[n % 64]) for n in range(done, min(done + BATCH, items))])
        done = min(done + BATCH, items)
        if done // BATCH % 150 == 0:
            print(f"{done} items, {(done - before) / (time.monotonic() - began):.0f} a second", file=sys.stderr)
    added, seconds, worked = done - before, time.monotonic() - began, time.process_time() - worked
    store.close()
    return done, f"{added} in {seconds:.0f} s, {worked:.0f} s of the CPU" if added else "before"


def made_up_record(number: int, namespace: str, key: np.ndarray, block: str) -> MemoryRecord:
    return MemoryRecord(
        id=f"{number:08d}",
        namespace=str(namespace),
        key=whole(key),
        block=block,
        text=f"{number}. {TEXT}",
        created_at=f"2026-01-01T00:00:00.{number % 1_000_000:06d}+00:00",
        content_hash=f"{number:032x}",
    )


def measure(folder: Path, items: int, stored: int) -> dict[str, object]:
    """Start, memory, and searches by k and namespace, in this process; of the items the first are stored."""
    process = psutil.Process()
    keys, names = made_up_keys(items, seed=2)[:stored], namespaces_of(items)[:stored]
    questions = made_up_keys(QUESTIONS, seed=3)
    empty, began = process.memory_info().rss, time.process_time()
    store = ChromaStore.embedded(folder, identity=None)
    store.search(whole(questions[0]), namespace="crowd", k=5)
    start = time.process_time() - began
    rows = []
    for name in sorted(set(names), key=lambda name: int((names == name).sum())):
        numbers = np.flatnonzero(names == name)
        of_namespace = keys[numbers]
        for k in (1, 5, 20, 100):
            seconds, recalls = [], []
            for question in questions:
                scores = of_namespace @ question
                best = {f"{numbers[n]:08d}" for n in np.argsort(-scores, kind="stable")[:k]}
                began = time.process_time()
                hits = store.search(whole(question), namespace=str(name), k=k)
                seconds.append(time.process_time() - began)
                recalls.append(len(best & {record.id for record, _ in hits}) / len(best))
            times = float(np.median(seconds)), float(max(seconds))
            rows.append([str(name), len(numbers), k, *times, float(np.mean(recalls))])
    calls = {
        "namespaces()": store.namespaces,
        "count(crowd)": lambda: store.count(namespace="crowd"),
        "next_moment()": store.next_moment,
        "same_content(1 hash)": lambda: store.same_content([f"{7:032x}"], namespace="crowd"),
        "holding(a term of 1 item)": lambda: store.holding(["77"], namespace="crowd", most=50),
        "holding(a term of all)": lambda: store.holding(["brass"], namespace="crowd", most=50),
        "remove_expired()": lambda: store.remove_expired(64),
        "put(1 item again)": lambda: store.put(store.get(["00000000"], namespace=str(names[0]))),
    }
    took = {}
    for name, call in calls.items():
        began = time.process_time()
        call()
        took[name] = time.process_time() - began
    memory = process.memory_info().rss - empty
    store.close()
    return {"first_search": start, "memory": memory, "rows": rows, "calls": took}


def show(folder: Path, items: int, filled: str, measured: dict[str, object]) -> None:
    console = Console(width=120)
    console.print(f"items {items}, filled: {filled}; {size_of(folder) / items:,.0f} bytes an item on disk")
    console.print(f"opened and searched in {measured['first_search']:.1f} s, memory {measured['memory'] / 1e6:,.0f} MB")
    table = Table("namespace", "items", "k", "median CPU ms", "longest", "recall")
    for name, size, k, median, longest, recall in measured["rows"]:  # type: ignore[attr-defined]
        table.add_row(name, f"{size}", f"{k}", f"{1e3 * median:.1f}", f"{1e3 * longest:.1f}", f"{recall:.3f}")
    console.print(table)
    for name, seconds in measured["calls"].items():  # type: ignore[attr-defined]
        console.print(f"{name} {1e3 * seconds:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=25, help="stop filling then")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.folder, given.items, given.measure)))
    else:
        stored, filled = fill(given.folder, given.items, given.minutes)
        command = [sys.executable, __file__, str(given.folder), "--items", str(given.items), "--measure", str(stored)]
        show(given.folder, stored, filled, json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
