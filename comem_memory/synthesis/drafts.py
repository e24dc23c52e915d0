"""Questions with the items that are given with them, before anybody has answered: what a corpus is made of."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from comem_memory.errors import CorpusError
from comem_memory.metrics import contains
from comem_memory.synthesis.emoji import Picture
from comem_memory.synthesis.groups import GroupItem, Mixture, Task, group
from comem_memory.synthesis.languages import LANGUAGES
from comem_memory.synthesis.splits import SPLITS, Split


@dataclass(frozen=True)
class DraftItem:
    """A text, a picture (as `load_image` takes it), or both; they stand for the content of an item of several parts."""

    id: str
    text: str
    image: Any = field(default=None, compare=False)
    content: tuple[Any, ...] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Draft:
    """A question and its items.

    Args:
        question: As it is asked.
        answer: Known to be right.
        right, wrong: An answer that contains one of these, and none of those, is right too.
        items: In the order of a prompt or memory.
        gold: Positions of those that the question is about; empty where none of them is given.
        kind: Kind of the question.
        language: Language of the question.
        written: The model itself wrote question and answer, which are kept only if it gives that answer again.
    """

    question: str
    answer: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    items: tuple[DraftItem, ...]
    gold: tuple[int, ...]
    kind: str
    language: str
    written: bool = False

    def answered_by(self, said: str | None) -> bool:
        """Whether this answer is right."""
        return (
            said is not None
            and any(contains(said, one) for one in self.right)
            and not any(contains(said, one) for one in self.wrong)
        )


Reader = Callable[[Sequence[tuple[str, Sequence[DraftItem]]]], list[str | None]]
"""Answers questions, each from its items; `None` where the answer came to no end."""


class Drafts(Protocol):
    """Where drafts come from."""

    def of_group(self, split: Split, number: int) -> list[Draft] | None:
        """The drafts of group `number` of a split, the same in every process; `None` after the last one."""


class WorldDrafts:
    """Drafts of made-up groups, without end; what else is given with an item is a random choice from its group.

    Args:
        seed: Another seed, other items.
        mixtures: What the groups of each split are made of.
    """

    def __init__(self, seed: int, mixtures: Mapping[Split, Mixture]) -> None:
        self.seed, self.mixtures = seed, mixtures

    def of_group(self, split: Split, number: int) -> list[Draft]:
        drawn = group(self.seed, split, number, self.mixtures[split])
        rng = random.Random(f"{self.seed}/{split}/{number}/given")
        made = [
            DraftItem(f"{split}-{number}-{position}", item.text, item.picture())
            for position, item in enumerate(drawn.items)
        ]
        drafts = []
        for task in drawn.tasks:
            given = _given(rng, task, len(drawn.items))
            drafts.append(
                Draft(
                    task.question,
                    task.answer,
                    task.right,
                    _wrong(task, [drawn.items[position] for position in given]),
                    tuple(made[position] for position in given),
                    tuple(place for place, position in enumerate(given) if position == task.about),
                    task.kind,
                    task.language,
                )
            )
        return drafts


class MixedDrafts:
    """Groups of one source or another.

    Args:
        seed: Another seed, another order.
        share: Share of the groups that come from the first.
        first, second: The sources.
    """

    def __init__(self, seed: int, share: float, first: Drafts, second: Drafts) -> None:
        self.seed, self.share, self.first, self.second = seed, share, first, second

    def of_group(self, split: Split, number: int) -> list[Draft] | None:
        chosen = random.Random(f"{self.seed}/{split}/{number}/source").random() < self.share
        return (self.first if chosen else self.second).of_group(split, number)


def mixtures(languages: Sequence[str], emoji: Mapping[Split, Sequence[Picture]] | None) -> dict[Split, Mixture]:
    """What the groups of each split are made of.

    Args:
        languages: Languages of items and questions, besides English.
        emoji: Pictures of each split besides scenes; `None` for no pictures at all.

    Raises:
        CorpusError: There are no phrases in a language.
    """
    if unknown := [language for language in languages if language not in LANGUAGES]:
        raise CorpusError(f"There are no phrases in {unknown[0]!r}. There are: {', '.join(LANGUAGES)}.")
    chosen = tuple(language for language in LANGUAGES if language in ("english", *languages))
    if emoji is None:
        return {split: Mixture(languages=chosen, pictured=0.0) for split in SPLITS}
    return {split: Mixture(languages=chosen, emoji=emoji[split]) for split in SPLITS}


def in_order(rng: random.Random, own: Sequence[int], others: Sequence[int]) -> list[int]:
    """Positions of the items that are given: retrieval puts the best last, but is not always right."""
    given = [*others, *own]
    if rng.random() < 0.4:
        rng.shuffle(given)
    return given


def _given(rng: random.Random, task: Task, count: int) -> list[int]:
    """Half of the questions get their item alone, as many of those about what is not there get only others."""
    others = rng.sample([position for position in range(count) if position != task.about], count - 1)
    if not task.names_item:
        return [task.about]
    several = rng.randint(1, count - 1)
    alone = rng.random() < 0.5
    if task.kind == "not in memory":
        return in_order(rng, [task.about] if alone else [], others[: 0 if alone else several])
    return in_order(rng, [task.about], others[: 0 if alone and task.kind != "which" else several])


def _wrong(task: Task, items: Sequence[GroupItem]) -> tuple[str, ...]:
    """What the answer might be taken for: values of the same kind that the given items hold."""
    if task.value_kind == "name":
        values = [item.name for item in items]
    else:
        values = [fact.value for item in items for fact in item.facts if fact.kind == task.value_kind]
    taken_for = dict.fromkeys(value for value in values if not any(contains(one, value) for one in task.right))
    return (*task.wrong, *taken_for)
