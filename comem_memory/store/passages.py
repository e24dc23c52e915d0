"""Which passage of an item a question is about."""

from __future__ import annotations

import numpy as np

from comem_memory.store.codec import decode_block, encode_block
from comem_memory.store.contract import MemoryRecord


def pack_keys(keys: np.ndarray) -> str:
    """Keys of passages, (n, D) float32, as an int8 block; empty if there are none."""
    import torch  # not to count items

    return encode_block(torch.from_numpy(keys), "int8") if keys.size else ""


def nearest_passage(record: MemoryRecord, question: np.ndarray | None) -> int | None:
    """The place of the passage that is most similar to a question; the first of those that are equally so.

    Args:
        record: The item.
        question: (D,): a vector to search with; of a question without words its first numbers are 0.

    Returns:
        `None` without a question, or if the item has no passages.

    Raises:
        CorruptBlockError: The keys of its passages are damaged.
    """
    if question is None or not record.passages:
        return None
    if not record.passage_keys:
        return 0
    keys = decode_block(record.passage_keys, item_id=record.id).numpy()
    return int((keys @ question[: keys.shape[1]]).argmax())
