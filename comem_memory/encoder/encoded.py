"""Items in, vectors and retrieval keys out, with nothing stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from comem_memory.conversion import Addable, is_one, to_item
from comem_memory.encoder.deferred import DeferredEncoder
from comem_memory.encoder.memory_encoder import MemoryEncoder
from comem_memory.encoder.prepared import PreparedItem, in_chunks, prepare
from comem_memory.errors import InvalidItemError
from comem_memory.retrieval import RetrievalKey


@dataclass(frozen=True)
class EncodedItems:
    """What N items become; each field has one place an item, in the order given.

    Args:
        ids: The items' own ids, or the beginnings of `content_hashes`.
        vectors: (N, Q, H), float32, on the CPU: the memory embeddings.
        keys: (N, D), float32: the retrieval keys.
        content_hashes: SHA-256 of text and pixels, in hexadecimal.
        truncated: Whether the end of the text is not in the vectors.
    """

    ids: list[str]
    vectors: torch.Tensor = field(repr=False, compare=False)
    keys: np.ndarray = field(repr=False, compare=False)
    content_hashes: list[str]
    truncated: list[bool]


def encode_items(
    items: Addable | Iterable[Addable],
    encoder: MemoryEncoder | DeferredEncoder,
    key: RetrievalKey,
    *,
    truncate: bool = False,
    batch_size: int = 16,
) -> EncodedItems:
    """Encodes items without storing them.

    Args:
        items: One or several, as `ContinuousMemory.add` takes them; of a generator, one chunk is in memory at a time.
        encoder: Makes the vectors.
        key: Makes the retrieval keys.
        truncate: Whether texts that are too long are cut.
        batch_size: Items per forward pass of the encoder.

    Raises:
        InvalidItemError: A picture cannot be opened, or an item has nothing that the key embeds, or has passages.
        ItemTooLongError: A text exceeds the encoder's window, and not `truncate`.
    """
    given: Iterable[Addable] = [items] if is_one(items) else items  # type: ignore[assignment, list-item]
    config = encoder.encoder_config.qformer
    keys = [np.empty((0, key.dimension), np.float32)]
    vectors = [torch.empty(0, config.num_query_tokens, config.hidden_size)]
    ids: list[str] = []
    hashes: list[str] = []
    truncated: list[bool] = []
    for chunk in in_chunks(prepare(to_item(one), encoder, truncate=truncate) for one in given):
        if cut := [one.id for one in chunk if one.passages]:
            raise InvalidItemError(f"Item {cut[0]!r} has passages. Encode each as an item of its own, or add the item.")
        encoded = encode_prepared(chunk, encoder, key, batch_size=batch_size)
        keys.append(np.stack([one.key for one in encoded]))
        vectors.append(torch.stack([one.vectors for one in encoded]))
        ids += [one.id for one in chunk]
        hashes += [one.content_hash for one in chunk]
        truncated += [one.truncated for one in chunk]
    return EncodedItems(ids, torch.cat(vectors), np.concatenate(keys), hashes, truncated)


class EncodedItem(NamedTuple):
    """What an item becomes.

    Args:
        key: (D,), float32: its retrieval key.
        vectors: (Q, H), float32, on the CPU: its memory embeddings; of an item of n passages (n * Q, H).
        passage_keys: (n, text dimension), float32: by what a question finds one of its passages.
    """

    key: np.ndarray
    vectors: torch.Tensor
    passage_keys: np.ndarray


def encode_prepared(
    prepared: Sequence[PreparedItem],
    encoder: MemoryEncoder | DeferredEncoder,
    key: RetrievalKey,
    *,
    batch_size: int,
    on_batch: Callable[[int], object] | None = None,
) -> list[EncodedItem]:
    """Items with their keys and vectors; how they are batched depends on them alone.

    Raises:
        InvalidItemError: An item has nothing that the key embeds.
    """
    texts, pictures = [one.item.text for one in prepared], [one.picture for one in prepared]
    keys = key.item_keys(texts, pictures, [one.id for one in prepared])  # first: it is what can go wrong
    passage_keys = [key.passage_keys(one.passages) for one in prepared]
    counts = [len(one.inputs) for one in prepared]
    is_counted = on_batch is not None and not any(one.passages for one in prepared)  # a batch is of items then
    inputs = [passage for one in prepared for passage in one.inputs]
    vectors = encoder.encode(inputs, batch_size=batch_size, on_batch=on_batch if is_counted else None)
    if on_batch is not None and not is_counted:
        on_batch(len(prepared))
    blocks = [block.flatten(0, 1) for block in vectors.split(counts)]
    return [EncodedItem(*one) for one in zip(keys, blocks, passage_keys, strict=True)]
