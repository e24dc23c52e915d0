"""A-OKVQA: questions about COCO pictures, each with four options and ten direct answers (arXiv 2206.01718).

Format: https://github.com/allenai/aokvqa, "Downloading the dataset". Rule: `evaluation/eval_predictions.py` there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from comem_memory.errors import BenchmarkError
from comem_memory.evaluation.benchmarks.question import (
    BenchmarkQuestion,
    Predictions,
    is_right_option,
    mean,
    scored,
    unscorable,
)
from comem_memory.evaluation.benchmarks.reading import existing, json_file

LAYOUT = (
    "A-OKVQA's folder should hold aokvqa_v1p0_<split>.json, split being train, val or test "
    "(https://github.com/allenai/aokvqa), and COCO's pictures as <split>2017/<12 digits>.jpg."
)
DIFFICULT = "difficult direct answer"
"""The category of questions that are asked with options only."""


class _Row(BaseModel):
    question_id: str
    image_id: int
    question: str
    choices: list[str]
    correct_choice_idx: int | None = None
    direct_answers: list[str] = []
    difficult_direct_answer: bool


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """Questions with options and direct answers; those of the test split come without the right ones.

    Raises:
        BenchmarkError: A file, an entry or a picture is missing or malformed.
    """
    path = folder / f"aokvqa_v1p0_{split}.json"
    rows = json_file(path, list[_Row], LAYOUT)
    for row in rows:
        if row.correct_choice_idx is not None and not 0 <= row.correct_choice_idx < len(row.choices):
            raise BenchmarkError(
                f"{path}, question {row.question_id}: correct_choice_idx is none of the choices. {LAYOUT}"
            )
    return iter(
        [
            BenchmarkQuestion(
                id=row.question_id,
                text=row.question,
                image=existing(folder / f"{split}2017" / f"{row.image_id:012}.jpg", LAYOUT),
                answers=tuple(row.direct_answers),
                options=tuple(row.choices),
                correct_option=row.correct_choice_idx,
                split=split,
                category=DIFFICULT if row.difficult_direct_answer else None,
            )
            for row in rows
        ]
    )


def score_options(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """`score` is the share of predictions that are the right option's text, letter for letter.

    Raises:
        BenchmarkError: A question has no prediction, or no published answer.
    """
    return {"score": mean(scored(questions, predictions, _is_option))}


def score_answers(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """`score` is the mean of min(annotators who gave the same answer / 3, 1), without difficult questions.

    Texts are compared letter for letter; unlike in VQA accuracy no annotator is left out.

    Raises:
        BenchmarkError: A question has no prediction, or no published answers.
    """
    asked = (question for question in questions if question.category != DIFFICULT)
    return {"score": mean(scored(asked, predictions, _agreement))}


def _is_option(question: BenchmarkQuestion, prediction: str) -> float:
    return is_right_option(question, question.options.index(prediction) if prediction in question.options else None)


def _agreement(question: BenchmarkQuestion, prediction: str) -> float:
    if not question.answers:
        raise unscorable(question)
    return min(1.0, question.answers.count(prediction) / 3)
