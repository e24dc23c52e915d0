"""Bytes on disk per item in an embedded Chroma, by hidden size and precision: `python benchmarks/storage.py`.

Vectors are those that the embedded default makes of `statements.json`: at its own hidden size one text's, at a larger
one several texts' side by side. `--random` takes normally distributed ones instead, which have nothing in common.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from comem_memory import MemoryEncoder, MemoryItem
from comem_memory.config import EncoderFingerprint
from comem_memory.encoder import prepare
from comem_memory.mini import ADAPTER
from comem_memory.opening import load_encoder
from comem_memory.store import PRECISIONS, ChromaStore, CollectionIdentity, MemoryRecord, Precision, encode_block

KEY_DIMENSION = 1368
"""Of the default retrieval key: multilingual-e5-small and EfficientNet-Lite0."""
TEXT = "The blue door opens with the brass key, which hangs behind the clock in the hall. " * 3

Vectors = Callable[[int], torch.Tensor]
"""Makes one item's vectors of a hidden size, (8, H)."""


def bytes_per_item(hidden_size: int, precision: Precision, items: int, vectors: Vectors) -> tuple[float, float]:
    """Size of a store's directory after `items` were put, divided by them; and after `vacuum`."""
    generator = np.random.default_rng(0)
    identity = random_identity(hidden_size)
    with tempfile.TemporaryDirectory() as folder:
        store = ChromaStore.embedded(folder, identity=identity)
        for start in range(0, items, 100):
            numbers = range(start, min(start + 100, items))
            store.put([_record(f"{n}", encode_block(vectors(hidden_size), precision), generator) for n in numbers])
        store.close()
        filled = size_of(folder)
        ChromaStore.vacuum(folder)
        return filled / items, size_of(folder) / items


def size_of(folder: str | Path) -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


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


def random_vectors() -> Vectors:
    generator = np.random.default_rng(0)
    return lambda hidden_size: torch.from_numpy(generator.standard_normal((8, hidden_size), np.float32))


def real_vectors(texts: int = 64) -> Vectors:
    """Of statements, encoded by the embedded default."""
    encoder: MemoryEncoder = load_encoder(None, ADAPTER, {})
    groups = json.loads(Path(__file__).with_name("statements.json").read_text())
    items = [MemoryItem(text=text) for text in _texts(groups)][:texts]
    encoded = encoder.encode([prepare(item, encoder, truncate=True).inputs for item in items], batch_size=8)
    generator = np.random.default_rng(0)

    def draw(hidden_size: int) -> torch.Tensor:
        count = -(-hidden_size // encoded[0].shape[1])
        drawn = generator.choice(len(encoded), count, replace=False)
        return torch.cat([encoded[n].detach().float().cpu() for n in drawn], dim=1)[:, :hidden_size]

    return draw


def _texts(found: object) -> list[str]:
    if isinstance(found, str):
        return [found]
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return list(dict.fromkeys(text for part in parts for text in _texts(part)))


def _record(id: str, block: str, generator: np.random.Generator) -> MemoryRecord:
    key = generator.standard_normal(KEY_DIMENSION, np.float32)
    return MemoryRecord(id=id, namespace="default", key=key, block=block, text=TEXT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--random", action="store_true")
    given = parser.parse_args()
    vectors = random_vectors() if given.random else real_vectors()
    kind = "normally distributed" if given.random else "the embedded default's"
    table = Table(
        "hidden size",
        *PRECISIONS,
        title=f"bytes on disk per item, filled -> after vacuum: {given.items} items, {len(TEXT)} characters, "
        f"{kind} vectors",
    )
    for hidden_size in (576, 3584):
        sizes = [bytes_per_item(hidden_size, precision, given.items, vectors) for precision in PRECISIONS]
        table.add_row(str(hidden_size), *(f"{filled:,.0f} -> {vacuumed:,.0f}" for filled, vacuumed in sizes))
    Console().print(table)
