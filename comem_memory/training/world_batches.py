"""Batches of made-up items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comem_memory.synthesis.drafts import Draft, WorldDrafts
from comem_memory.synthesis.groups import Mixture
from comem_memory.synthesis.splits import Split
from comem_memory.training.batches import Batches


class WorldBatches(Batches):
    """A group of made-up items a batch, with all that is asked about them.

    Args:
        mixtures: What the groups of each split are made of.
        split: Which names, values and patterns are drawn.
        seed: Another seed, other items.
        num_batches, others: As in `Batches`.
    """

    def __init__(
        self, mixtures: Mapping[Split, Mixture], split: Split, *, seed: int, num_batches: int, **others: Any
    ) -> None:
        super().__init__(seed=seed, num_batches=num_batches, **others)
        self.split = split
        self.drafts = WorldDrafts(seed, mixtures)

    def _samples(self, index: int) -> list[Draft]:
        return self.drafts.of_group(self.split, index)
