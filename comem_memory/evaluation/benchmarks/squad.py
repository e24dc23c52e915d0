"""SQuAD and XQuAD: questions whose answer stands in a paragraph (arXiv 1606.05250, 1806.03822, 1910.11856).

Format: https://rajpurkar.github.io/SQuAD-explorer and https://github.com/google-deepmind/xquad, which is the same.
Rule: SQuAD's `evaluate-v2.0.py`. XQuAD is scored with `evaluate-v1.1.py`, English articles and all, as its README
says; the two differ only where a text has no words left, which version 1.1 gives an F1 of 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from comem_memory.evaluation.benchmarks.answers import squad_normalise, squad_score
from comem_memory.evaluation.benchmarks.question import BenchmarkQuestion, Predictions
from comem_memory.evaluation.benchmarks.reading import json_file
from comem_memory.types import MemoryItem

LAYOUT = (
    "The folder should hold the split as <split>.json, as in train-v1.1, dev-v1.1, train-v2.0, dev-v2.0 "
    "(https://rajpurkar.github.io/SQuAD-explorer) or xquad.es (https://github.com/google-deepmind/xquad)."
)


class _Answer(BaseModel):
    text: str


class _Asked(BaseModel):
    id: str
    question: str
    answers: list[_Answer]


class _Paragraph(BaseModel):
    context: str
    qas: list[_Asked]


class _Article(BaseModel):
    title: str
    paragraphs: list[_Paragraph]


class _File(BaseModel):
    data: list[_Article]


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """Questions with every accepted span; one without answers cannot be answered (SQuAD 2.0).

    `split` is the file's name without `.json`; of `xquad.es`, `language` is es. `item_ids` is the paragraph,
    `category` the article's title.

    Raises:
        BenchmarkError: The file is missing, or an entry is malformed.
    """
    language = split.removeprefix("xquad.") if split.startswith("xquad.") else None
    return iter(
        [
            BenchmarkQuestion(
                id=asked.id,
                text=asked.question,
                answers=tuple(answer.text for answer in asked.answers),
                item_ids=(item_id,),
                split=split,
                language=language,
                category=article.title,
            )
            for item_id, article, paragraph in _paragraphs(folder, split)
            for asked in paragraph.qas
        ]
    )


def items(folder: Path, split: str) -> Iterator[MemoryItem]:
    """The paragraphs; the id is the split with article and paragraph, counted from 0.

    Raises:
        BenchmarkError: The file is missing, or an entry is malformed.
    """
    return (
        MemoryItem(id=item_id, text=paragraph.context, metadata={"title": article.title})
        for item_id, article, paragraph in _paragraphs(folder, split)
    )


def _paragraphs(folder: Path, split: str) -> list[tuple[str, _Article, _Paragraph]]:
    articles = json_file(folder / f"{split}.json", _File, LAYOUT).data
    return [
        (f"{split}/{number}/{place}", article, paragraph)
        for number, article in enumerate(articles)
        for place, paragraph in enumerate(article.paragraphs)
    ]


def score(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """`exact_match` and `f1` over words, each the best over the answers; '' is right where there is none.

    Raises:
        BenchmarkError: A question has no prediction.
    """
    return squad_score(questions, predictions, _gold)


def _gold(question: BenchmarkQuestion) -> list[str]:
    return [answer for answer in question.answers if squad_normalise(answer)] or [""]
