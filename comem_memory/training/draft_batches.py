"""Batches of made-up items, a group of drafts each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comem_memory.synthesis.drafts import Draft, Drafts
from comem_memory.synthesis.splits import Split
from comem_memory.training.batches import Batches


class DraftBatches(Batches):
    """A group of made-up items a batch, with all that is asked about them.

    Args:
        drafts: Where the groups come from, without end.
        split: Which names, values and patterns are drawn.
        seed: Another seed, other items to restate.
        num_batches, others: As in `Batches`.
    """

    def __init__(self, drafts: Drafts, split: Split, *, seed: int, num_batches: int, **others: Any) -> None:
        super().__init__(seed=seed, num_batches=num_batches, **others)
        self.split, self.drafts = split, drafts

    def _samples(self, index: int) -> Sequence[Draft]:
        return self.drafts.of_group(self.split, index) or []
