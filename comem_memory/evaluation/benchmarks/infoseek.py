"""InfoSeek, and the multilingual InfoSeek of CoMEM: facts about what a picture shows (arXiv 2302.11713, 2505.17670).

Format: https://github.com/open-vision-language/infoseek, "InfoSeek Annotation"; question types and knowledge as the
`infoseek/README.md` of https://github.com/edchengg/infoseek_eval lists them. Rule: `infoseek_eval.py` there. The five
translations of a part of the validation questions are `CoMEM-inference/infoseek/val_dataset/` of
https://github.com/WenyiWU0111/CoMEM, scored by the same rule; no other rule for them is published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from comem_memory.evaluation.benchmarks.answers import squad_exact_match
from comem_memory.evaluation.benchmarks.oven import picture
from comem_memory.evaluation.benchmarks.question import (
    BenchmarkQuestion,
    Predictions,
    harmonic_mean,
    means_by,
    scored,
    unscorable,
)
from comem_memory.evaluation.benchmarks.reading import checked, existing, json_lines

LAYOUT = (
    "InfoSeek's folder should hold infoseek_<split>.jsonl, split being train, val or test, or a translation as in "
    "val_spanish; oven_images/<2 digits>/<image id>.jpg; and for train and val infoseek_<split>_withkb.jsonl, for val "
    "infoseek_val_qtype.jsonl (https://github.com/open-vision-language/infoseek, "
    "https://github.com/edchengg/infoseek_eval)."
)
_KNOWLEDGE_SPLITS = ("train", "val")
_NUMBER = re.compile(r"[-+]?\.?\d+(?:,\d{3})*\.?\d*(?:[eE][-+]?\d+)?")
_TOLERANCE = 1e-12


class _Accepted(BaseModel):
    range: Annotated[list[float], Field(min_length=2)]


class _Row(BaseModel):
    data_id: str
    image_id: str
    question: str
    answer: list[str] = []
    answer_eval: list[str | _Accepted] | _Accepted = []
    data_split: str | None = None


class _Kind(BaseModel):
    data_id: str
    question_type: str


class _Knowledge(BaseModel):
    data_id: str
    entity_id: str


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """Questions with every accepted way of saying the answer, or the accepted range of a number.

    `split` is train, val or test, or a translation: val_bulgarian, val_chinese, val_portuguese, val_russian,
    val_spanish. `category` (string, numerical or time) is known for val only, `item_ids` (a Wikidata id) for train
    and val.

    Raises:
        BenchmarkError: A file, a line or a picture is missing or malformed.
    """
    original, _, language = split.partition("_")
    path = existing(folder / f"infoseek_{split}.jsonl", LAYOUT)
    kinds, entities = {}, {}
    if original == "val":
        rows = json_lines(existing(folder / "infoseek_val_qtype.jsonl", LAYOUT), _Kind, LAYOUT)
        kinds = {row.data_id: row.question_type.lower() for row in rows}
    if original in _KNOWLEDGE_SPLITS:
        known = json_lines(existing(folder / f"infoseek_{original}_withkb.jsonl", LAYOUT), _Knowledge, LAYOUT)
        entities = {row.data_id: row.entity_id for row in known}
    first, second = (_read(folder, path, language or "english", kinds, entities) for _ in range(2))
    return checked(first, second)


def _read(
    folder: Path, path: Path, language: str, kinds: Mapping[str, str], entities: Mapping[str, str]
) -> Iterator[BenchmarkQuestion]:
    for row in json_lines(path, _Row, LAYOUT):
        accepted = row.answer_eval if isinstance(row.answer_eval, list) else [row.answer_eval]
        numbers = [value.range for value in accepted if isinstance(value, _Accepted)]
        yield BenchmarkQuestion(
            id=row.data_id,
            text=row.question,
            image=picture(folder, row.image_id, LAYOUT),
            answers=tuple(row.answer if numbers else [value for value in accepted if isinstance(value, str)]),
            accepted_range=(numbers[0][0], numbers[0][1]) if numbers else None,
            item_ids=(entities[row.data_id],) if row.data_id in entities else (),
            split=row.data_split,
            language=language,
            category=kinds.get(row.data_id),
        )


def score(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """`score` is the harmonic mean of `unseen_question` and `unseen_entity`; each also by kind of question.

    A text or time is right if it is one of the accepted answers (dates come with the years around them); a number if
    it lies in the accepted range, published as +-10% of the true one; a range if it lies in the accepted one or covers
    half of what both cover. As in the published script, the first two numbers of a prediction are its range if they
    ascend, no number at all is the range 0 to 0, and a split other than unseen_question counts as unseen_entity.
    `score` is left out when only one of the two was asked. Values are not rounded.

    Raises:
        BenchmarkError: A question has no prediction, or no published answer.
    """
    results = scored(questions, predictions, _is_right)
    scores = means_by(results, _part)
    if len(scores) == 2:
        scores["score"] = harmonic_mean(*scores.values())
    return scores | means_by(results, lambda asked: f"{_part(asked)} {asked.category}" if asked.category else None)


def _part(question: BenchmarkQuestion) -> str:
    return "unseen_question" if (question.split or "").endswith("unseen_question") else "unseen_entity"


def _is_right(question: BenchmarkQuestion, prediction: str) -> float:
    if question.accepted_range is not None:
        return float(_is_accepted(_said_range(prediction), question.accepted_range))
    if not question.answers:
        raise unscorable(question)
    return max(squad_exact_match(prediction, answer) for answer in question.answers)


def _said_range(prediction: str) -> tuple[float, float]:
    """The first number twice, or the first two if they ascend."""
    spaced = re.sub(r"(?<=\d)-", " - ", prediction)  # 9-10 is a range, not 9 and -10
    found = (number.replace(",", "").strip(".") for number in _NUMBER.findall(spaced))
    numbers = [float(number) for number in found if number.count(".") < 2] or [0.0]
    ascending = len(numbers) > 1 and numbers[0] <= numbers[1]
    return numbers[0], numbers[1] if ascending else numbers[0]


def _is_accepted(said: tuple[float, float], accepted: tuple[float, float]) -> bool:
    low, high = accepted
    if low <= said[0] and said[1] <= high:
        return True
    if said[0] == said[1]:
        return False
    overlap = max(0.0, min(said[1], high) - max(said[0], low))
    return overlap / (said[1] - said[0] + high - low - overlap + _TOLERANCE) >= 0.5 - _TOLERANCE
