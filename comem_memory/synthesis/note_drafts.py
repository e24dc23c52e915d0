"""Drafts of short notes, without end: every question of a note is about that note alone."""

from __future__ import annotations

from comem_memory.metrics import contains
from comem_memory.model import RESTATE_INSTRUCTION
from comem_memory.synthesis.drafts import Draft, DraftItem
from comem_memory.synthesis.notes import Note, NoteMixture, note
from comem_memory.synthesis.splits import Split

NOTES = 8
"""Of a group."""


class NoteDrafts:
    """So many notes a group; the kind of a draft is that of its value: word, name, number or code.

    A note without questions is to be restated whole, which is a draft of the kind "restate".

    Args:
        seed: Another seed, other notes.
        mixture: What notes are made of.
        notes: Of a group.
    """

    def __init__(self, seed: int, mixture: NoteMixture, notes: int = NOTES) -> None:
        self.seed, self.mixture, self.notes = seed, mixture, notes

    def of_group(self, split: Split, number: int) -> list[Draft]:
        numbers = range(number * self.notes, (number + 1) * self.notes)
        return [
            draft
            for place in numbers
            for draft in _drafts(note(self.seed, split, place, self.mixture), f"{split}-note-{place}")
        ]


def _drafts(one: Note, id: str) -> list[Draft]:
    items, gold = (DraftItem(id, one.text),), (0,)
    if not one.questions:
        return [Draft(RESTATE_INSTRUCTION, one.text, (one.text,), (), items, gold, "restate", "english")]
    drafts = []
    for asked in one.questions:
        alike = [other.value for other in one.questions if other.kind == asked.kind]
        wrong = tuple(dict.fromkeys(value for value in alike if not contains(asked.answer, value)))
        drafts.append(Draft(asked.question, asked.answer, (asked.value,), wrong, items, gold, asked.kind, "english"))
    return drafts
