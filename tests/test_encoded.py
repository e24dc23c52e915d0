"""Encoding without storing: what comes out is what would be stored."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.memories import CAT, DOOR, FLAG, embedded

from comem_memory import ContinuousMemory, EncodedItems, MemoryEncoder, MemoryItem
from comem_memory.errors import InvalidItemError, ItemTooLongError
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_picture


@pytest.fixture(scope="module")
def llava() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


@pytest.fixture
def memory(llava: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    with embedded(llava, tmp_path / "memory") as memory:
        yield memory.namespace("exact", precision="fp32")


def test_what_comes_out_is_what_would_be_stored(memory: ContinuousMemory):
    items = [FLAG, DOOR, CAT, MemoryItem(text="A text of its own.")]
    encoded = memory.encode(items)
    assert memory.count() == 0
    assert encoded.ids == ["flag", "door", "cat", encoded.content_hashes[3][:32]]
    assert (encoded.vectors.dtype, encoded.vectors.shape) == (torch.float32, (4, 8, 64))
    assert (encoded.keys.dtype, encoded.keys.shape) == (np.float32, (4, memory.key.dimension))
    assert memory.add(items) == encoded.ids
    for n, record in enumerate(memory.store.get(encoded.ids, namespace="exact")):
        assert torch.equal(memory.get(record.id)[0].memory_embeddings, encoded.vectors[n])
        np.testing.assert_array_equal(record.key, encoded.keys[n])
        assert (record.content_hash, record.truncated) == (encoded.content_hashes[n], encoded.truncated[n])


def test_one_item_none_and_more_than_a_chunk(memory: ContinuousMemory):
    one = memory.encode("The lamp is red.")
    assert one.vectors.shape == (1, 8, 64)
    none = memory.encode([])
    assert none.ids == [] and none.vectors.shape == (0, 8, 64) and none.keys.shape == (0, memory.key.dimension)
    many = memory.encode(f"Lamp {n} is red." for n in range(70))
    assert many.vectors.shape == (70, 8, 64) and len(set(many.content_hashes)) == 70
    again = asyncio.run(memory.aencode([f"Lamp {n} is red." for n in range(70)]))
    assert isinstance(again, EncodedItems) and torch.equal(again.vectors, many.vectors)


def test_what_is_wrong_with_an_item_is_said_as_in_add(memory: ContinuousMemory, tmp_path: Path):
    with pytest.raises(ItemTooLongError):
        memory.encode("é" * 600)
    assert memory.encode(["é" * 600, "Short."], truncate=True).truncated == [True, False]
    tiny_picture().save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    with pytest.raises(InvalidItemError, match="cannot be read"):
        memory.encode(MemoryItem(image=tmp_path / "cut.png"))
