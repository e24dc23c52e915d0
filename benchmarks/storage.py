"""Bytes on disk per item in an embedded Chroma, by hidden size and precision: `python benchmarks/storage.py`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from comem_memory.config import EncoderFingerprint
from comem_memory.store import PRECISIONS, ChromaStore, CollectionIdentity, MemoryRecord, encode_block

KEY_DIMENSION = 1368
"""Of the default retrieval key: multilingual-e5-small and EfficientNet-Lite0."""
TEXT = "The blue door opens with the brass key, which hangs behind the clock in the hall. " * 3


def bytes_per_item(hidden_size: int, precision: str, items: int) -> float:
    """Size of a store's directory after `items` were put, divided by them."""
    generator = np.random.default_rng(0)
    identity = random_identity(hidden_size)
    with tempfile.TemporaryDirectory() as folder:
        store = ChromaStore.embedded(folder, identity=identity)
        for start in range(0, items, 100):
            store.put(
                [_record(f"{start + i}", hidden_size, precision, generator) for i in range(min(100, items - start))]
            )
        store.close()
        return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / items


def random_identity(
    hidden_size: int, key_name: str = "random", key_dimension: int = KEY_DIMENSION
) -> CollectionIdentity:
    """Of a store that no encoder wrote."""
    fingerprint = EncoderFingerprint(
        base_model="random",
        base_fingerprint="",
        adapter_hash="",
        prompt_version=1,
        num_query_tokens=8,
        hidden_size=hidden_size,
    )
    return CollectionIdentity(encoder=fingerprint, key_name=key_name, key_dimension=key_dimension)


def _record(id: str, hidden_size: int, precision: str, generator: np.random.Generator) -> MemoryRecord:
    vectors = torch.from_numpy(generator.standard_normal((8, hidden_size), np.float32))
    key = generator.standard_normal(KEY_DIMENSION, np.float32)
    block = encode_block(vectors, precision)  # type: ignore[arg-type]
    return MemoryRecord(id=id, namespace="default", key=key, block=block, text=TEXT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=2000)
    items = parser.parse_args().items
    table = Table(
        "hidden size", *PRECISIONS, title=f"bytes on disk per item, {items} items, {len(TEXT)} characters each"
    )
    for hidden_size in (576, 3584):
        table.add_row(str(hidden_size), *(f"{bytes_per_item(hidden_size, p, items):,.0f}" for p in PRECISIONS))
    Console().print(table)
