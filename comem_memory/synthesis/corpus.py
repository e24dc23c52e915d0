"""A corpus folder: questions, the items given with each, and the answers to be learnt.

| file | content |
|---|---|
| `train.jsonl`, `development.jsonl`, `test.jsonl` | a sample a line, see `CorpusSample` |
| `images/` | PNG pictures of the items |
| `README.md` | what it is, and how Hugging Face `datasets` reads it |
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from comem_memory.content import Part, below, content_parts
from comem_memory.errors import CorpusError
from comem_memory.synthesis.splits import Split

Answers = Literal["self", "known"]
"""What a corpus is to teach: `self`, what the frozen model answers from the items' text and pictures, where that is
right; or `known`, the known right answer as a short sentence."""


class CorpusItem(BaseModel):
    id: str
    text: str
    """Empty where there is only the picture."""
    image: str | None
    """Relative to the folder."""
    content: list[dict[str, str]] | None = None
    """Of an item of several parts, as `MemoryItem` takes them; the paths of pictures are relative to the folder."""

    def parts(self, folder: Path) -> tuple[Part, ...] | None:
        """Its content, with pictures as paths that begin with the corpus folder."""
        return None if self.content is None else below(folder, content_parts(self.content))


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
        CorpusError: The folder is no corpus, or a line is malformed; the message names it.
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
        CorpusError: As in `read_corpus`; or nothing is left.
    """
    samples = [one for one in read_corpus(folder, split) if pictures or _without_pictures(one)]
    if not samples:
        raise CorpusError(f"No sample of {folder} can do without pictures. Train with them, or make another corpus.")
    return samples


def first_error(error: ValidationError) -> str:
    """What pydantic found first, on one line."""
    found = error.errors()[0]
    return ": ".join([*map(str, found["loc"]), found["msg"].removeprefix("Value error, ")])


def _without_pictures(sample: CorpusSample) -> bool:
    """Whether it can be asked of a model that takes none: every item has a text, and no answer is in a picture.

    Where the answer of an own item is, is not known.
    """
    own_picture = sample.kind == "own" and any(sample.items[place].image for place in sample.gold)
    return "picture" not in sample.kind and not own_picture and all(item.text for item in sample.items)
