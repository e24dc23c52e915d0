"""Batches for training: items, questions about them, and which memories each question sees."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypedDict

from comem_memory.model.prompts import RESTATE_INSTRUCTION
from comem_memory.synthesis.emoji import Picture
from comem_memory.synthesis.worlds import NUM_FACTS, Question, samples

POOL = 16
"""Batches drawn together and cut by length, so that a batch holds items of similar length."""


@dataclass(frozen=True)
class Item:
    text: str
    picture: Picture | None
    questions: list[Question]

    @property
    def size(self) -> int:
        """Roughly its length in characters; a picture counts as much as 49 tokens."""
        return len(self.text) + (200 if self.picture else 0)


@dataclass(frozen=True)
class TrainingQuestion:
    question: str
    answer: str
    items: list[int]
    """Which items of the batch are in memory, in order; the one it is about among them."""


class Batch(TypedDict):
    """A dictionary, because Trainer looks into its inputs as into one."""

    items: list[Item]
    asked: list[TrainingQuestion]
    restated: list[TrainingQuestion]


def _seen(picture: Picture) -> Question:
    answer = f"The picture shows: {picture.name}."
    return Question("What does the picture show?", picture.name, answer, names_item=False)


def in_order(rng: random.Random, own: Sequence[int], others: Sequence[int]) -> list[int]:
    """Positions of the items that are given: retrieval puts the best last, but is not always right."""
    given = [*others, *own]
    if rng.random() < 0.4:
        rng.shuffle(given)
    return given


class WorldBatches(Sequence[Batch]):
    """Batch number i, from the seed and i alone, so that training resumes exactly.

    Args:
        seed: another seed is another world.
        num_batches: how many.
        items: items per batch.
        questions: questions per item.
        max_memories: a question sees up to this many items,
        alone: but in the first so many batches only its own.
        words, num_facts: of the items; see `samples`.
        pictures: some items carry one of these.
        picture_share: share of items with a picture.
        restated_share: share of items that are also to be restated whole.
    """

    def __init__(
        self,
        *,
        seed: int,
        num_batches: int,
        items: int = 16,
        questions: int = 4,
        max_memories: int = 3,
        alone: int = 0,
        words: Sequence[str] = (),
        num_facts: Sequence[int] = NUM_FACTS,
        pictures: Sequence[Picture] = (),
        picture_share: float = 0.4,
        restated_share: float = 0.12,
    ) -> None:
        if max_memories > items:
            raise ValueError(f"max_memories {max_memories} exceeds the {items} items of a batch. Lower it.")
        self.seed, self.num_batches, self.items, self.questions = seed, num_batches, items, questions
        self.max_memories, self.alone, self.pictures = max_memories, alone, pictures
        self.words, self.num_facts = words, num_facts
        self.picture_share, self.restated_share = picture_share, restated_share
        self._pool = lru_cache(maxsize=2)(self._draw_pool)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]  # no slices
        if not 0 <= index < self.num_batches:
            raise IndexError(index)
        return self._pool(index // POOL)[index % POOL]

    def _draw_pool(self, number: int) -> list[Batch]:
        rng = random.Random(f"{self.seed}/{number}")
        drawn = itertools.islice(samples(rng.getrandbits(64), self.words, self.num_facts), POOL * self.items)
        items = sorted((self._item(rng, s.text, s.questions) for s in drawn), key=lambda item: item.size)
        most = 1 if number * POOL < self.alone else self.max_memories
        batches = [self._batch(rng, items[i : i + self.items], most) for i in range(0, len(items), self.items)]
        rng.shuffle(batches)
        return batches

    def _item(self, rng: random.Random, text: str, questions: list[Question]) -> Item:
        if not self.pictures or rng.random() >= self.picture_share:
            return Item(text, None, questions)
        picture = rng.choice(self.pictures)
        asked = [*questions]
        asked.insert(rng.randint(0, len(questions)), _seen(picture))
        return Item(text, picture, asked)

    def _batch(self, rng: random.Random, items: list[Item], most: int) -> Batch:
        asked = []
        for position, item in enumerate(items):
            for question in item.questions[: self.questions]:
                others = rng.choice((0, 0, *range(most))) if question.names_item else 0
                seen = rng.sample([i for i in range(len(items)) if i != position], others)
                asked.append(TrainingQuestion(question.text, question.answer, in_order(rng, [position], seen)))
        restated = [
            TrainingQuestion(RESTATE_INSTRUCTION, item.text, [position])
            for position, item in enumerate(items)
            if rng.random() < self.restated_share
        ]
        return Batch(items=items, asked=asked, restated=restated)
