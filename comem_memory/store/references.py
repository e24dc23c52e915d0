"""References in Chroma: records without an item, from which a collection's blocks are kept as differences.

A collection has one from the first write on after which it holds `packing.ENOUGH` blocks; two processes that make one
at the same time leave two, of which the first by id is used on. None is changed or deleted: blocks name theirs by the
hash of its content.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import numpy as np

from comem_memory.store.codec import int8_parts
from comem_memory.store.ids import SEPARATOR, reference_id
from comem_memory.store.library import Collection
from comem_memory.store.packing import ENOUGH, Reference, mean_of, unpack
from comem_memory.store.parts import joined, split

BLOCK = "comem.block"
_MARK = "comem.reference"

_known: dict[str, Reference] = {}
"""By id: what was read last."""
_MOST_KNOWN = 64
_changing = threading.Lock()


def block_of(collection: Collection, stored: dict[str, object]) -> str:
    """The block in a record's metadata, as it was before it was packed; empty if there is none."""
    return unpack(joined(BLOCK, stored) or "", partial(find_reference, collection))


def find_reference(collection: Collection, id: str) -> Reference | None:
    """A reference by id."""
    known = _known.get(id)
    if known is None:
        found = collection.get(ids=[reference_id(id)], include=["metadatas"])["metadatas"]
        block = joined(BLOCK, found[0]) if found else None
        if block is None or int8_parts(block) is None:
            return None
        known = Reference(block)
        with _changing:
            if len(_known) >= _MOST_KNOWN:
                del _known[next(iter(_known))]
            _known[id] = known
    return known


def reference_for(
    collection: Collection, blocks: Sequence[str], *, key_dimension: int, most: int | None
) -> Reference | None:
    """The reference that blocks are to be packed with, made of them and what is stored if there is none yet.

    Args:
        collection: The collection.
        blocks: What is to be written.
        key_dimension: Of the collection's vectors.
        most: Bytes that a metadata value may have.
    """
    if not blocks or int8_parts(blocks[0]) is None:
        return None
    if ids := collection.get(where={_MARK: 1}, include=[])["ids"]:
        return find_reference(collection, min(ids).removeprefix(SEPARATOR))
    if len(blocks) < ENOUGH:
        held = collection.get(limit=ENOUGH, include=["metadatas"])
        blocks = [*blocks, *(block_of(collection, dict(one)) for one in held["metadatas"] or [] if one)]
    reference = mean_of(blocks)
    if reference is not None:
        collection.upsert(
            ids=[reference_id(reference.id)],
            embeddings=np.zeros((1, key_dimension), np.float32),
            metadatas=[{_MARK: 1} | split(BLOCK, reference.block, most)],
        )
    return reference
