"""Drafts of a user's own image+text items, with the nearest other items given beside each."""

from __future__ import annotations

import random
import re
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from comem_memory.content import audio_of, below, content_parts, pictures_of
from comem_memory.errors import CorpusError, InvalidItemError
from comem_memory.files import MODEL_PIXELS, at_most, load_image
from comem_memory.progress import tracked
from comem_memory.retrieval import RetrievalKey
from comem_memory.synthesis.corpus import first_error
from comem_memory.synthesis.drafts import Draft, DraftItem, Reader, in_order
from comem_memory.synthesis.splits import SPLITS, Split
from comem_memory.types import MemoryItem

NEIGHBOURS = 9
"""Most other items that are given with one."""
WRITE = (
    "Write one question about this that can be answered in a few words, then its answer.",
    "Write one question about a name in this, then its answer.",
    "Write one question about a number, a time or a place in this, then its answer.",
)
FORM = " Use this form:\nQuestion: ...?\nAnswer: ..."


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid")
    question: str
    answer: str


class _OwnItem(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str | None = None
    text: str = ""
    image: str | None = None
    content: list[str | dict[str, str]] | None = None
    questions: list[_Question] | None = None

    @model_validator(mode="after")
    def _something(self) -> _OwnItem:
        if not self.text.strip() and self.image is None and self.content is None:
            raise ValueError("the item has neither text nor image")
        return self


class OwnDrafts:
    """One group an item; development and test have every twentieth item each, at least one.

    Args:
        file: JSON lines {"id", "text", "image", "content", "questions": [{"question", "answer"}]}; an image is a path
            relative to the file's folder, content has the parts of a `MemoryItem`. Only text, image or content is
            required; an item without `questions` gets some by the reader.
        seed: Decides the splits, and how many other items are given.
        key: Says which items are near.
        read: Writes questions where there are none.

    Raises:
        CorpusError: The file is missing, has fewer than three items, or a line is no item; the message names it.
    """

    def __init__(self, file: Path, seed: int, key: RetrievalKey, read: Reader) -> None:
        self.file, self.seed, self.key, self.read = file, seed, key, read
        self._items, self._questions = _load(file)
        order = list(range(len(self._items)))
        random.Random(f"{seed}/splits").shuffle(order)
        held = max(1, min(5, len(order) // 4), len(order) // 20)
        cuts = order[2 * held :], order[held : 2 * held], order[:held]
        self._split: dict[Split, list[int]] = dict(zip(SPLITS, cuts, strict=True))

    def of_group(self, split: Split, number: int) -> list[Draft] | None:
        numbers = self._split[split]
        if number == len(numbers):
            return None
        own = numbers[number]
        nearest = self._nearest(own, numbers)
        rng = random.Random(f"{self.seed}/{split}/{number}/given")
        asked = self._questions[own]
        drafts = []
        for one in self._write(self._items[own]) if asked is None else asked:
            others = nearest[: rng.choice((0, rng.randint(0, NEIGHBOURS)))]
            given = in_order(rng, [own], others[::-1])
            items = tuple(self._items[place] for place in given)
            gold = (given.index(own),)
            draft = Draft(one.question, one.answer, (one.answer,), (), items, gold, "own", "any", written=asked is None)
            drafts.append(draft)
        return drafts

    def _write(self, item: DraftItem) -> list[_Question]:
        said = self.read([(f"{instruction}{FORM}", [item]) for instruction in WRITE])
        found = [re.search(r"Question:\s*(\S.*?)\s*\n+\s*Answer:\s*(\S.*)", one or "") for one in said]
        return [*{q[1]: _Question(question=q[1], answer=q[2].strip()) for q in found if q}.values()]

    def _nearest(self, own: int, numbers: list[int]) -> list[int]:
        """Other items of the split, nearest first."""
        similar = self._keys[numbers] @ self._keys[own]
        ordered = [numbers[place] for place in np.argsort(-similar, kind="stable")]
        return [other for other in ordered if other != own][:NEIGHBOURS]

    @cached_property
    def _keys(self) -> np.ndarray:
        """(n, D) retrieval keys of all items."""
        keys = []
        for start in tracked(range(0, len(self._items), 64), "finding neighbours", unit="batch"):
            items = self._items[start : start + 64]
            pictures = [None if i.image is None else at_most(load_image(i.image), MODEL_PIXELS) for i in items]
            keys.append(self.key.item_keys([item.text for item in items], pictures))
        return np.concatenate(keys)


def _load(file: Path) -> tuple[list[DraftItem], list[list[_Question] | None]]:
    if not file.is_file():
        raise CorpusError(f"{file} does not exist. Pass a file of JSON lines.")
    items, questions = list[DraftItem](), list[list[_Question] | None]()
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                one = _OwnItem.model_validate_json(line)
            except ValidationError as error:
                raise CorpusError(
                    f"{file}, line {number}: {first_error(error)}. Each line is an object with text, image or both, "
                    "or content, and optionally id and questions, a list of objects with question and answer."
                ) from error
            items.append(_draft(one, f"{file}, line {number}", one.id or f"line-{number}", file.parent))
            questions.append(one.questions)
    if len({item.id for item in items}) < len(items):
        raise CorpusError(f"{file} has two items of the same id. Give each its own.")
    if len(items) < len(SPLITS):
        raise CorpusError(f"{file} has {len(items)} items. Training, development and test need one each; pass more.")
    return items, questions


def _draft(given: _OwnItem, place: str, id: str, folder: Path) -> DraftItem:
    image = None if given.image is None else folder / given.image
    try:
        content = None if given.content is None else below(folder, content_parts(given.content))
        item = MemoryItem(text=given.text or None, image=image, content=content)
    except InvalidItemError as error:
        raise CorpusError(f"{place}: {error}") from error
    parts = item.content or ()
    files = [("picture", picture) for picture in (item.image, *pictures_of(parts))]
    files += [("recording", recording.source) for recording in audio_of(parts)]
    for kind, file in files:
        if isinstance(file, Path) and not file.is_file():
            raise CorpusError(f"{place}: there is no {kind} {file}. Correct the path.")
    return DraftItem(id, item.text or "", item.image, item.content)
