"""OK-VQA: questions about COCO pictures that need outside knowledge (arXiv 1906.00067).

Format: VQA's (https://visualqa.org/download.html) under OK-VQA's file names (https://okvqa.allenai.org/download.html).
Rule: `PythonEvaluationTools/vqaEvaluation/vqaEval.py` of https://github.com/GT-Vision-Lab/VQA, which reads `answer`.
OK-VQA adds the annotators' own words as `raw_answer`; whether its authors score against those was not verified.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from comem_memory.errors import BenchmarkError
from comem_memory.evaluation.benchmarks.question import (
    BenchmarkQuestion,
    Predictions,
    overall_and_by,
    scored,
    unscorable,
)
from comem_memory.evaluation.benchmarks.reading import existing, json_file

LAYOUT = (
    "OK-VQA's folder should hold OpenEnded_mscoco_<split>2014_questions.json and mscoco_<split>2014_annotations.json, "
    "split being train or val (https://okvqa.allenai.org/download.html), and COCO's pictures as "
    "<split>2014/COCO_<split>2014_<12 digits>.jpg."
)


class _Asked(BaseModel):
    question_id: int
    image_id: int
    question: str


class _Questions(BaseModel):
    questions: list[_Asked]


class _Answer(BaseModel):
    answer: str


class _Annotation(BaseModel):
    question_id: int
    question_type: str
    answers: list[_Answer]


class _Annotations(BaseModel):
    annotations: list[_Annotation]


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """Questions with one answer for each of ten annotators. `split` is train or val (val is what papers call test).

    Raises:
        BenchmarkError: A file, an entry or a picture is missing or malformed.
    """
    asked = json_file(folder / f"OpenEnded_mscoco_{split}2014_questions.json", _Questions, LAYOUT)
    path = folder / f"mscoco_{split}2014_annotations.json"
    annotations = {entry.question_id: entry for entry in json_file(path, _Annotations, LAYOUT).annotations}
    if missing := [row.question_id for row in asked.questions if row.question_id not in annotations]:
        raise BenchmarkError(f"{path} has no annotation for question {missing[0]}. {LAYOUT}")
    return iter(
        [
            BenchmarkQuestion(
                id=str(row.question_id),
                text=row.question,
                image=existing(folder / f"{split}2014" / f"COCO_{split}2014_{row.image_id:012}.jpg", LAYOUT),
                answers=tuple(answer.answer for answer in annotations[row.question_id].answers),
                split=split,
                category=annotations[row.question_id].question_type,
            )
            for row in asked.questions
        ]
    )


def score(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """VQA accuracy over all questions (`score`) and for each type of question.

    Raises:
        BenchmarkError: A question has no prediction, or no published answers.
    """
    results = scored(questions, predictions, _accuracy)
    return overall_and_by(results, lambda question: question.category)


def _accuracy(question: BenchmarkQuestion, prediction: str) -> float:
    if not question.answers:
        raise unscorable(question)
    return vqa_accuracy(prediction, question.answers)


# -- VQA accuracy ------------------------------------------------------------------------------------------------


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """min(matching annotators / 3, 1), averaged over leaving out each annotator in turn.

    The prediction is normalised in full; the annotators' answers lose their punctuation, and only if they differ, as
    in the published script (GT-Vision-Lab/VQA at 07aecec; a later one keeps other marks).
    """
    said = vqa_normalise(prediction)
    if len(set(answers)) > 1:
        answers = [_without_punctuation(answer) for answer in answers]
    matches = [answer == said for answer in answers]
    return statistics.fmean(min(1.0, (sum(matches) - match) / 3) for match in matches)


def vqa_normalise(text: str) -> str:
    """Lower case, digits for number words up to ten, no articles, apostrophes back in contractions."""
    words = _without_punctuation(re.sub(r"[\n\t]", " ", text).strip()).lower().split()
    digits = (_DIGITS.get(word, word) for word in words)
    return " ".join(_CONTRACTIONS.get(word, word) for word in digits if word not in ("a", "an", "the"))


def _without_punctuation(text: str) -> str:
    """Marks beside a space go, and all do if a number has a thousands comma; others become a space.

    A full stop stays before a digit.
    """
    without = text
    for mark in ";:/'[]\"()=+\\_><@`,?":
        removed = f"{mark} " in text or f" {mark}" in text or re.search(r"\d,\d", text)
        without = without.replace(mark, "" if removed else " ")
    return re.sub(r"\.(?!\d)", "", without)


_DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ENDINGS = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could might must not should they we what where who would you",
    "'ll": "how it somebody someone something they what who why you",
    "'s": "he how somebody someone that there what when where who why",
    "'d": "he how it someone something there they where who",
    "'re": "there they what why you",
}
"""By ending the words that the script knows it on; the marks it keys by were removed before, so none has one."""
_CONTRACTIONS = {
    word + ending.replace("'", ""): word + ending for ending, words in _ENDINGS.items() for word in words.split()
} | {"maam": "ma'am", "oclock": "o'clock", "twas": "'twas", "yall": "y'all"}
