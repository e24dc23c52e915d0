"""A memory in Chroma with a tiny model that sees, empty or with three items."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.memories import CAT, DOOR, FLAG

from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder
from comem_memory.store import identity_of
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key


@pytest.fixture(scope="module")
def llava() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


@pytest.fixture(scope="module")
def other() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava", seed=3), seed=3)


@pytest.fixture
def encoded(llava: MemoryEncoder) -> Iterator[list[int]]:
    """How many items each forward pass of the encoder had."""
    sizes: list[int] = []
    hook = llava.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]["input_ids"])))
    yield sizes
    hook.remove()


@pytest.fixture
def memory(llava: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    key = tiny_key()
    store = ChromaStore.in_memory(identity=identity_of(llava, key))
    with ContinuousMemory(llava, key, store, picture_directory=tmp_path / "kept") as memory:
        yield memory


@pytest.fixture
def filled(memory: ContinuousMemory) -> ContinuousMemory:
    memory.add([DOOR, CAT, FLAG])
    return memory
