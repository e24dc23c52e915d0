"""Items, memories of them in a directory, and whether what is stored is what was given."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import ComemError
from comem_memory.files import load_image
from comem_memory.store import MemoryRecord, identity_of
from comem_memory.testing import tiny_key, tiny_picture

DOOR = MemoryItem(id="door", text="The blue door opens with the brass key.", metadata={"year": 2020, "kind": "note"})
CAT = MemoryItem(id="cat", text="The cat sleeps on the oven.", image=tiny_picture(1), metadata={"year": 2021})
FLAG = MemoryItem(id="flag", image=tiny_picture(2), metadata={"year": 2022})


def embedded(encoder: MemoryEncoder, directory: Path) -> ContinuousMemory:
    key = tiny_key()
    store = ChromaStore.embedded(directory, identity=identity_of(encoder, key))
    return ContinuousMemory(encoder, key, store, picture_directory=directory / "pictures")


def of_encoder(memory: ContinuousMemory, encoder: MemoryEncoder) -> ContinuousMemory:
    """The same items, as another encoder opens them."""
    return ContinuousMemory(encoder, memory.key, memory.store, picture_directory=memory._pictures.folder)


def all_records(memory: ContinuousMemory) -> list[MemoryRecord]:
    """What is stored, of every namespace."""
    return [one for name in memory.store.namespaces() for batch in memory.store.scan(namespace=name) for one in batch]


def fresh(encoder: MemoryEncoder, item: MemoryItem) -> torch.Tensor:
    picture = None if item.image is None else load_image(item.image)
    return encoder.encode([encoder.inputs(item.text, picture)])[0]


def assert_encodes(vectors: torch.Tensor, expected: torch.Tensor) -> None:
    """Within what int8 keeps: half a step of a 127th of the largest value of each vector."""
    bound = expected.abs().amax(dim=1, keepdim=True) / 254 * 1.01 + 1e-5
    assert ((vectors - expected).abs() <= bound).all()


def same_picture(path: str | None, picture: Any) -> bool:
    return path is not None and load_image(path).tobytes() == load_image(picture).tobytes()


def kept_files(memory: ContinuousMemory) -> list[Path]:
    assert memory._pictures.folder is not None
    return sorted(path for path in memory._pictures.folder.rglob("*") if path.is_file())


def versioned(id: int, version: int) -> MemoryItem:
    """What processes that are killed add: every third item has no picture, every fifth no text."""
    text = None if id % 5 == 0 else f"Item {id} in version {version}."
    image = tiny_picture(1000 * id + version, size=(40, 30)) if id % 3 or text is None else None
    return MemoryItem(id=f"{id:02}", text=text, image=image, metadata={"version": version})


def add_for_ever(memory: ContinuousMemory, seed: int, acknowledge: Callable[[str], None]) -> None:
    """Adds and replaces items in chunks of 4; asking for the next chunk means that the last one is stored."""
    rng = random.Random(seed)
    version = 1000 * seed

    def items() -> Iterator[MemoryItem]:
        nonlocal version
        while True:
            version += 1
            chosen = rng.sample(range(60), 4)
            yield from (versioned(id, version) for id in chosen)
            acknowledge("".join(f"{id:02} {version}\n" for id in chosen))

    memory.add(items())


def inspect(memory: ContinuousMemory, acknowledged: dict[str, int]) -> tuple[int, int]:
    """How many acknowledged items are lost, and how many stored ones are not exactly what was once given."""
    records = [record for batch in memory.store.scan(namespace="default") for record in batch]
    stored = {record.id: int(record.metadata["version"]) for record in records}
    lost = sum(stored.get(id, -1) < version for id, version in acknowledged.items())
    torn = 0
    given = {id: versioned(int(id), version) for id, version in stored.items()}
    inputs = [
        memory.encoder.inputs(item.text, None if item.image is None else load_image(item.image))
        for item in given.values()
    ]
    expected = dict(zip(given, memory.encoder.encode(inputs) if inputs else [], strict=True))
    for hit in memory.get(list(stored)):
        item = given[hit.id]
        try:
            assert hit.text == item.text
            assert (hit.image is None) == (item.image is None)
            assert item.image is None or same_picture(hit.image, item.image)
            assert_encodes(hit.memory_embeddings, expected[hit.id])
        except (AssertionError, ComemError):
            torn += 1
    return lost, torn
