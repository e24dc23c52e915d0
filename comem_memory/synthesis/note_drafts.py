"""Drafts of short notes, without end."""

from __future__ import annotations

import random

from comem_memory.metrics import contains
from comem_memory.model import RESTATE_INSTRUCTION
from comem_memory.synthesis.drafts import Draft, DraftItem
from comem_memory.synthesis.notes import Note, NoteMixture, note
from comem_memory.synthesis.splits import Split

NOTES = 8
"""Of a group."""


class NoteDrafts:
    """So many notes a group; the kind of a draft is that of its value: word, name, number or code.

    Other notes of the group are given before the one that is asked about. A note without questions is to be restated
    whole, which is a draft of the kind "restate".

    Args:
        seed: Another seed, other notes.
        mixture: What notes are made of.
        notes: Of a group.
    """

    def __init__(self, seed: int, mixture: NoteMixture, notes: int = NOTES) -> None:
        self.seed, self.mixture, self.notes = seed, mixture, notes

    def of_group(self, split: Split, number: int) -> list[Draft]:
        numbers = range(number * self.notes, (number + 1) * self.notes)
        notes = [note(self.seed, split, place, self.mixture) for place in numbers]
        items = [DraftItem(f"{split}-note-{place}", one.text) for place, one in zip(numbers, notes, strict=True)]
        rng = random.Random(f"{self.seed}/{split}/{number}/given")
        return [draft for place in range(self.notes) for draft in _drafts(rng, notes[place], items, place)]


def _drafts(rng: random.Random, one: Note, group: list[DraftItem], place: int) -> list[Draft]:
    own = group[place]
    if not one.questions:
        return [Draft(RESTATE_INSTRUCTION, one.text, (one.text,), (), (own,), (0,), "restate", "english")]
    drafts = []
    for asked in one.questions:
        others = rng.sample([item for item in group if item is not own], rng.randrange(len(group)))
        items, gold = (*others, own), (len(others),)
        alike = [other.value for other in one.questions if other.kind == asked.kind]
        wrong = tuple(dict.fromkeys(value for value in alike if not contains(asked.answer, value)))
        drafts.append(Draft(asked.question, asked.answer, (asked.value,), wrong, items, gold, asked.kind, "english"))
    return drafts
