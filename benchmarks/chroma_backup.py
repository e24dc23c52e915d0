"""A memory of many items is copied while it is written to: `python benchmarks/chroma_backup.py FOLDER COPY`.

FOLDER is one that `chroma_size.py` has filled. A thread stores items one by one all the time, to a namespace of its
own; the copy is opened as it is, and must hold whatever was acknowledged before it was begun, and find the same items.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path

import numpy as np
from chroma_size import HIDDEN_SIZE, made_up_keys, made_up_record, whole
from storage import real_vectors, size_of

from comem_memory.store import ChromaStore, encode_block

WRITTEN = "written meanwhile"


def write(store: ChromaStore, block: str, stop: threading.Event, acknowledged: list[tuple[float, float]]) -> None:
    """Stores items until it is told to stop, and notes when each began and was acknowledged."""
    keys = made_up_keys(1000, seed=4)
    while not stop.is_set():
        number, began = len(acknowledged), time.monotonic()
        store.put([made_up_record(number, WRITTEN, keys[number % 1000], block)])
        acknowledged.append((began, time.monotonic()))


def found(store: ChromaStore, question: np.ndarray) -> list[str]:
    return [record.id for record, _ in store.search(whole(question), namespace="crowd", k=20)]


def main(folder: Path, copy: Path) -> None:
    store = ChromaStore.embedded(folder, identity=None)
    question = made_up_keys(1, seed=3)[0]
    expected, items = found(store, question), store.count(namespace="crowd")
    block = encode_block(real_vectors(1)(HIDDEN_SIZE), "int8")
    before = store.count(namespace=WRITTEN)
    stop, acknowledged = threading.Event(), list[tuple[float, float]]()
    writer = threading.Thread(target=write, args=(store, block, stop, acknowledged))
    writer.start()
    time.sleep(3)
    began = time.monotonic()
    store.backup(copy)
    ended = time.monotonic()
    time.sleep(3)
    stop.set()
    writer.join()
    store.close()
    earlier = sum(end < began for _, end in acknowledged)
    waited = max(end - start for start, end in acknowledged)
    print(f"{size_of(copy) / 1e9:.1f} GB copied in {ended - began:.0f} s, in which a write waited {waited:.0f} s")

    start = time.monotonic()
    restored = ChromaStore.embedded(copy, identity=None)
    same, there = found(restored, question) == expected, restored.count(namespace="crowd")
    print(f"opened and searched after {time.monotonic() - start:.1f} s: {there} of {items} items, the same 20: {same}")
    kept = restored.count(namespace=WRITTEN) - before
    print(f"{earlier} acknowledged before, {kept} in the copy, {len(acknowledged)} acknowledged in all")
    restored.close()
    assert same and there == items and earlier <= kept <= len(acknowledged)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("copy", type=Path, help="a new folder")
    given = parser.parse_args()
    main(given.folder, given.copy)
