"""Train, development and test: which names, values and patterns belong to which.

Disjoint between the splits are

- names and every value that has letters of its own (people, places, companies, titles, words of the lists): first
  names, last names, towns and made-up words each belong to one split, and so does what is made of them;
- numbers, whatever they count: 45 kg and 45 km hold the same one;
- the patterns of sentences and of questions, also of the openings and of the answers.

Shared are names of days, months and seasons, which are few, and the labels of attributes ("capital").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import Literal, TypeVar, get_args

from comem_memory.synthesis.words import listed

Split = Literal["train", "development", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SHARED = frozenset({"day", "month", "season"})
"""Kinds of words that all splits use."""

Thing = TypeVar("Thing")


def split_of(text: str) -> Split:
    """The split that a name or number belongs to: one in ten each to development and test."""
    place = _hash(re.sub(r"\D", "", text) or text.casefold()) % 10
    return "test" if place == 0 else "development" if place == 1 else "train"


def patterns_of(patterns: Sequence[Thing], split: Split) -> Sequence[Thing]:
    """The last of the patterns is the test's, the one before development's, all others are for training."""
    return {"train": patterns[:-2], "development": patterns[-2:-1], "test": patterns[-1:]}[split]


def shares_of(things: Sequence[Thing], split: Split) -> list[Thing]:
    """The share of a list that belongs to a split: a sixth each, at least two, to development and test."""
    held = max(2, len(things) // 6)
    ordered = sorted(things, key=lambda thing: _hash(str(thing)))
    return {"test": ordered[:held], "development": ordered[held : 2 * held], "train": ordered[2 * held :]}[split]


@cache
def words_of(kind: str, split: Split) -> list[str]:
    """The listed words of a kind that belong to a split."""
    return listed(kind) if kind in SHARED else shares_of(listed(kind), split)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
