"""What a training step is given: items, questions about them, and which memories each question sees."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from comem_memory.model import RESTATE_INSTRUCTION

if TYPE_CHECKING:
    from comem_memory.synthesis.corpus import CorpusSample
    from comem_memory.synthesis.drafts import Draft  # needs Faker


@dataclass(frozen=True)
class Item:
    text: str
    """Empty where there is only the picture."""
    image: Any = None
    """As `load_image` takes it."""
    content: tuple[Any, ...] | None = None
    """Texts and pictures of an item of several parts, which is encoded from them."""


@dataclass(frozen=True)
class TrainingQuestion:
    question: str
    answer: str
    items: list[int]
    """Which items of the batch are in memory, in order."""


class Batch(TypedDict):
    """A dictionary, because Trainer looks into its inputs as into one."""

    items: list[Item]
    asked: list[TrainingQuestion]
    restated: list[TrainingQuestion]


class Batches(Sequence[Batch]):
    """Batch number i, from the seed and i alone, so that training resumes exactly.

    Items that several questions of a batch see are encoded once.

    Args:
        seed: Another seed, other batches.
        num_batches: How many batches there are.
        max_memories: A question sees up to this many items, those that it is about among them.
        alone: In the first so many batches a question sees only the items that it is about.
        restated_share: Share of items with text that are also to be restated whole, beside those that are not asked
            about.
    """

    def __init__(
        self, *, seed: int, num_batches: int, max_memories: int = 3, alone: int = 0, restated_share: float = 0.12
    ) -> None:
        self.seed, self.num_batches = seed, num_batches
        self.max_memories, self.alone, self.restated_share = max_memories, alone, restated_share

    @abstractmethod
    def _samples(self, index: int) -> Sequence[Draft | CorpusSample]:
        """What is asked in this batch."""

    def _item(self, item: Any) -> Item:
        """A sample's item, with pictures as `load_image` takes them."""
        return Item(item.text, item.image, item.content)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]  # no slices
        if not 0 <= index < self.num_batches:
            raise IndexError(index)
        drawn = self._samples(index)
        samples = [sample for sample in drawn if sample.question != RESTATE_INSTRUCTION]
        most = 1 if index < self.alone else self.max_memories
        seen = [_seen(sample, most) for sample in samples]
        to_restate = {item.id: item for one in drawn if one.question == RESTATE_INSTRUCTION for item in one.items}
        known = {item.id: item for items in seen for item in items} | to_restate
        position = {id: number for number, id in enumerate(known)}
        items = [self._item(item) for item in known.values()]
        asked = [
            TrainingQuestion(sample.question, sample.answer, [position[item.id] for item in given])
            for sample, given in zip(samples, seen, strict=True)
        ]
        rng = random.Random(f"{self.seed}/{index}")
        restated = [
            TrainingQuestion(RESTATE_INSTRUCTION, item.text, [number])
            for number, (id, item) in enumerate(zip(known, items, strict=True))
            if (rng.random() < self.restated_share or id in to_restate) and item.text
        ]
        return Batch(items=items, asked=asked, restated=restated)


def _seen(sample: Draft | CorpusSample, most: int) -> list[Any]:
    """The items that it is about, and of the others those that stand nearest to the question."""
    others = [place for place in range(len(sample.items)) if place not in sample.gold]
    room = max(0, most - len(sample.gold))
    kept = {*sample.gold, *others[len(others) - min(room, len(others)) :]}
    return [item for place, item in enumerate(sample.items) if place in kept]
