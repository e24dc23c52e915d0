"""Batches of a corpus."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path
from typing import Any

from comem_memory.content import with_texts
from comem_memory.synthesis.corpus import CorpusItem, CorpusSample, usable_samples
from comem_memory.synthesis.splits import Split
from comem_memory.training.batches import Batches, Item


class CorpusBatches(Batches):
    """So many questions a batch, epoch after epoch; each epoch shuffles the groups.

    Args:
        folder: The corpus.
        split: Which part of it.
        questions: Per batch.
        pictures: Leave out what needs a picture, for models that take none.
        seed, num_batches, others: As in `Batches`.

    Raises:
        CorpusError: As in `usable_samples`.
    """

    def __init__(
        self,
        folder: Path,
        split: Split,
        *,
        questions: int,
        pictures: bool = True,
        seed: int,
        num_batches: int,
        **others: Any,
    ) -> None:
        super().__init__(seed=seed, num_batches=num_batches, **others)
        self.folder, self.questions, self.pictures = folder, questions, pictures
        self._groups: dict[int, list[CorpusSample]] = {}
        for sample in usable_samples(folder, split, pictures=pictures):
            self._groups.setdefault(sample.group, []).append(sample)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def _samples(self, index: int) -> list[CorpusSample]:
        per_epoch = sum(map(len, self._groups.values()))
        places = range(index * self.questions, (index + 1) * self.questions)
        return [self._epoch(place // per_epoch)[place % per_epoch] for place in places]

    def _item(self, item: CorpusItem) -> Item:
        if not self.pictures:
            return Item(with_texts(item.text, item.parts(self.folder) or ()))
        image = None if item.image is None else self.folder / item.image
        return Item(item.text, image, item.parts(self.folder))

    def _shuffled(self, epoch: int) -> list[CorpusSample]:
        numbers = sorted(self._groups)
        random.Random(f"{self.seed}/epoch {epoch}").shuffle(numbers)
        return [sample for number in numbers for sample in self._groups[number]]
