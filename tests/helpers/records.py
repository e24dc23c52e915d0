"""Records of a store made by hand, and their move to another encoder."""

from dataclasses import replace
from typing import Any

import numpy as np

from comem_memory.config import EncoderFingerprint
from comem_memory.store import CollectionIdentity, MemoryRecord, MemoryStore

D = 8


def identity(adapter: str = "aaaaaaaa", *, dimension: int = D) -> CollectionIdentity:
    encoder = EncoderFingerprint(
        base_model="tiny",
        base_fingerprint="f",
        adapter_hash=adapter,
        prompt_version=1,
        num_query_tokens=8,
        hidden_size=32,
    )
    return CollectionIdentity(encoder=encoder, key_name="letters-v1", key_dimension=dimension)


def key(seed: int, dimension: int = D) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=dimension)
    return (values / np.linalg.norm(values)).astype(np.float32)


def record(id: str, *, namespace: str = "ann", seed: int | None = None, **fields: Any) -> MemoryRecord:
    seed = sum(map(ord, namespace + id)) if seed is None else seed
    defaults = {
        "key": key(seed),
        "block": f"block of {id}",
        "text": f"text of {id}",
        "created_at": "2025-01-01T00:00:00+00:00",
        "content_hash": f"hash of {id}",
    }
    return MemoryRecord(id=id, namespace=namespace, **{**defaults, **fields})


OLD, NEW, THIRD = identity(), identity("new-new-", dimension=5), identity("third-th")


def encoded_again(r: MemoryRecord) -> MemoryRecord:
    return replace(r, key=key(7, 5), block="new block")


def migrate(store: MemoryStore, *, stop_after: int | None = None) -> int:
    migration = store.begin_migration(NEW)
    moved = 0
    for records in migration.pending(batch_size=2):
        migration.put([encoded_again(r) for r in records])
        moved += len(records)
        if stop_after is not None and moved >= stop_after:
            return moved
    migration.commit()
    return moved
