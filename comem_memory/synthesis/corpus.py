"""A corpus folder: questions, the items given with each, and the answers to be learnt.

| file | content |
|---|---|
| `train.jsonl`, `development.jsonl`, `test.jsonl` | a sample a line, see `CorpusSample` |
| `images/` | PNG pictures of the items |
| `README.md` | what it is, and how Hugging Face `datasets` reads it |
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ValidationError

from comem_memory.errors import CorpusError
from comem_memory.model.prompts import RESTATE_INSTRUCTION
from comem_memory.synthesis.emoji import Picture
from comem_memory.synthesis.splits import Split
from comem_memory.training.batches import Batch, Item, TrainingQuestion


class CorpusItem(BaseModel):
    id: str
    text: str
    """Empty where there is only the picture."""
    image: str | None
    """Relative to the folder."""


class CorpusSample(BaseModel):
    id: str
    group: int
    """Samples of one group share items and stand together."""
    kind: str
    language: str
    question: str
    answer: str
    """To be learnt."""
    right: list[str]
    """Any of these in an answer makes it right."""
    items: list[CorpusItem]
    """In the order of the memory, the best found last."""
    gold: list[int]
    """Positions of the items that the question is about; empty where none of them is given."""


def read_corpus(folder: Path, split: str) -> list[CorpusSample]:
    """The samples of a split.

    Raises:
        CorpusError: the folder is no corpus, or a line is malformed; the message names it.
    """
    file = folder / f"{split}.jsonl"
    if not file.is_file():
        raise CorpusError(f"{folder} holds no {file.name}. Pass a folder that `comem synthesize` has finished.")
    samples = []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                samples.append(CorpusSample.model_validate_json(line))
            except ValidationError as error:
                raise CorpusError(f"{file}, line {number}: {first_error(error)}. Make the corpus again.") from error
    if not samples:
        raise CorpusError(f"{file} is empty. Make the corpus again, with more samples.")
    return samples


def usable_samples(folder: Path, split: Split, *, pictures: bool) -> list[CorpusSample]:
    """The samples of a split, without those that need pictures for a model that takes none.

    Raises:
        CorpusError: as in `read_corpus`; or nothing is left.
    """
    samples = [one for one in read_corpus(folder, split) if pictures or _without_pictures(one)]
    if not samples:
        raise CorpusError(f"No sample of {folder} can do without pictures. Train with them, or make another corpus.")
    return samples


def first_error(error: ValidationError) -> str:
    """What pydantic found first, on one line."""
    found = error.errors()[0]
    return ": ".join([*map(str, found["loc"]), found["msg"]])


class CorpusBatches(Sequence[Batch]):
    """Batch number i, from the seed and i alone, so that training resumes exactly; epoch after epoch.

    Each epoch shuffles the groups. Items that several questions of a batch see are encoded once.

    Args:
        folder: the corpus.
        split: which part of it.
        seed: another seed, another order.
        num_batches: how many.
        questions: per batch.
        max_memories: a question sees up to this many items, its own among them,
        alone: but in the first so many batches only its own.
        pictures: leave out what needs a picture, for models that take none.
        restated_share: share of items with text that are also to be restated whole.

    Raises:
        CorpusError: as in `usable_samples`.
    """

    def __init__(
        self,
        folder: Path,
        split: Split,
        *,
        seed: int,
        num_batches: int,
        questions: int,
        max_memories: int = 3,
        alone: int = 0,
        pictures: bool = True,
        restated_share: float = 0.12,
    ) -> None:
        self.folder, self.seed, self.num_batches, self.questions = folder, seed, num_batches, questions
        self.max_memories, self.alone = max_memories, alone
        self.pictures, self.restated_share = pictures, restated_share
        self._groups: dict[int, list[CorpusSample]] = {}
        for sample in usable_samples(folder, split, pictures=pictures):
            self._groups.setdefault(sample.group, []).append(sample)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]  # no slices
        if not 0 <= index < self.num_batches:
            raise IndexError(index)
        per_epoch = sum(map(len, self._groups.values()))
        places = range(index * self.questions, (index + 1) * self.questions)
        samples = [self._epoch(place // per_epoch)[place % per_epoch] for place in places]
        most = 1 if index < self.alone else self.max_memories
        seen = [_seen(sample, most) for sample in samples]
        known = {item.id: item for items in seen for item in items}
        position = {id: number for number, id in enumerate(known)}
        items = [self._item(item) for item in known.values()]
        asked = [
            TrainingQuestion(sample.question, sample.answer, [position[item.id] for item in given])
            for sample, given in zip(samples, seen, strict=True)
        ]
        rng = random.Random(f"{self.seed}/{index}")
        restated = [
            TrainingQuestion(RESTATE_INSTRUCTION, item.text, [number])
            for number, item in enumerate(items)
            if rng.random() < self.restated_share and item.text
        ]
        return Batch(items=items, asked=asked, restated=restated)

    def _shuffled(self, epoch: int) -> list[CorpusSample]:
        numbers = sorted(self._groups)
        random.Random(f"{self.seed}/epoch {epoch}").shuffle(numbers)
        return [sample for number in numbers for sample in self._groups[number]]

    def _item(self, item: CorpusItem) -> Item:
        shown = item.image is not None and self.pictures
        return Item(item.text, Picture(self.folder / str(item.image), item.id) if shown else None, [])


def _without_pictures(sample: CorpusSample) -> bool:
    """Whether it can be asked of a model that takes none: every item has a text, and no answer is in a picture.

    Where the answer of an own item is, is not known.
    """
    own_picture = sample.kind == "own" and any(sample.items[place].image for place in sample.gold)
    return "picture" not in sample.kind and not own_picture and all(item.text for item in sample.items)


def _seen(sample: CorpusSample, most: int) -> list[CorpusItem]:
    """The items that it is about, and of the others those that stand nearest to the question."""
    others = [place for place in range(len(sample.items)) if place not in sample.gold]
    room = max(0, most - len(sample.gold))
    kept = {*sample.gold, *others[len(others) - min(room, len(others)) :]}
    return [item for place, item in enumerate(sample.items) if place in kept]
