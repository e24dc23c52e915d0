"""LoCoMo: questions about conversations of two people over many sessions (arXiv 2402.17753).

Format: the README of https://github.com/snap-research/locomo and its `data/locomo10.json`. Rule:
`task_eval/evaluation.py` there. The names of the categories are not in the data; they follow from that script's
comments (https://github.com/snap-research/locomo/issues/29).
"""

from __future__ import annotations

import re
import statistics
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, model_validator

from comem_memory.evaluation.benchmarks.question import BenchmarkQuestion, Predictions, overall_and_by, scored
from comem_memory.evaluation.benchmarks.reading import json_file
from comem_memory.metrics import word_f1
from comem_memory.types import MemoryItem

LAYOUT = (
    "The folder should hold <split>.json, a list of conversations with sample_id, conversation and qa, as "
    "locomo10.json of https://github.com/snap-research/locomo."
)
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
NOT_MENTIONED = "Not mentioned in the conversation"
"""The right option of an adversarial question, in the published prompt's words."""


class _Turn(BaseModel):
    speaker: str
    dia_id: str
    text: str
    blip_caption: str | None = None


class _Session(BaseModel):
    date_time: str
    turns: list[_Turn]


class _Conversation(BaseModel):
    sessions: dict[int, _Session]

    @model_validator(mode="before")
    @classmethod
    def _numbered(cls, published: Any) -> Any:
        """`session_1` and `session_1_date_time` belong together; some dates have no session."""
        if not isinstance(published, dict):
            return published
        numbers = [int(found[1]) for key in published if (found := re.fullmatch(r"session_(\d+)", key))]
        return {
            "sessions": {
                number: {
                    "date_time": published.get(f"session_{number}_date_time"),
                    "turns": published[f"session_{number}"],
                }
                for number in sorted(numbers)
            }
        }


class _Asked(BaseModel):
    question: str
    answer: str | int | float | None = None
    adversarial_answer: str | None = None
    evidence: list[str] = []
    category: Literal[1, 2, 3, 4, 5]

    @model_validator(mode="after")
    def _answered(self) -> _Asked:
        if self.category != 5 and self.answer is None:
            raise ValueError("only a question of category 5 may come without an answer")
        return self


class _Sample(BaseModel):
    sample_id: str
    conversation: _Conversation
    qa: list[_Asked]

    def turns(self) -> Iterator[tuple[str, _Session, _Turn]]:
        """Every turn with its item's id."""
        for session in self.conversation.sessions.values():
            for turn in session.turns:
                yield f"{self.sample_id}/{turn.dia_id}", session, turn


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """Questions, each to be asked with its own conversation's items: `where` narrows a search to them.

    `split` is the file's name without `.json`. `item_ids` are the turns of the evidence; a few pieces of evidence name
    no turn that exists, and are left out. An adversarial question has two options, of which the first or, of
    every second question, the second is right (the published script draws it).

    Raises:
        BenchmarkError: The file is missing, or an entry is malformed.
    """
    return iter(
        [
            _question(sample, turns, number, asked, split)
            for sample in _samples(folder, split)
            for turns in [{item_id for item_id, _, _ in sample.turns()}]
            for number, asked in enumerate(sample.qa)
        ]
    )


def _question(sample: _Sample, turns: set[str], number: int, asked: _Asked, split: str) -> BenchmarkQuestion:
    named = re.findall(r"D:?(\d+):(\d+)", " ".join(asked.evidence))  # "D8:6; D9:17", "D:11:26" and "D30:05" occur
    evidence = (f"{sample.sample_id}/D{int(session)}:{int(turn)}" for session, turn in named)
    adversarial = asked.category == 5
    options = (NOT_MENTIONED, asked.adversarial_answer) if adversarial and asked.adversarial_answer else ()
    second = number % 2
    return BenchmarkQuestion(
        id=f"{sample.sample_id}/{number}",
        text=asked.question,
        answers=() if adversarial else (str(asked.answer),),
        options=options[::-1] if second else options,
        correct_option=second if options else None,
        item_ids=tuple(item_id for item_id in evidence if item_id in turns),
        where={"conversation": sample.sample_id},
        split=split,
        category=CATEGORIES[asked.category],
    )


def items(folder: Path, split: str) -> Iterator[MemoryItem]:
    """One item a turn: when it was said, by whom, and the caption of a shared picture. Pictures are not published.

    Raises:
        BenchmarkError: The file is missing, or an entry is malformed.
    """
    return (
        MemoryItem(
            id=item_id,
            text=f'{session.date_time}: {turn.speaker} said, "{turn.text}"'
            + (f" [shares {turn.blip_caption}]" if turn.blip_caption else ""),
            metadata={"conversation": sample.sample_id, "speaker": turn.speaker},
        )
        for sample in _samples(folder, split)
        for item_id, session, turn in sample.turns()
    )


def _samples(folder: Path, split: str) -> list[_Sample]:
    return json_file(folder / f"{split}.json", list[_Sample], LAYOUT)


# -- scores ------------------------------------------------------------------------------------------------------


def score(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """`score` is the mean over all questions; also by category.

    F1 over stemmed words. Of a multi-hop answer each part between commas is compared with the prediction's best part;
    of an open-domain answer only what stands before the first semicolon counts. An adversarial question is right if
    the prediction says "not mentioned" or "no information available", or is the letter of the option that does.

    Raises:
        ImportError: Nltk, whose Porter stemmer the published script uses, is not installed.
        BenchmarkError: A question has no prediction.
    """
    results = scored(questions, predictions, _earned)
    return overall_and_by(results, lambda question: question.category)


def _earned(question: BenchmarkQuestion, prediction: str) -> float:
    if question.category == CATEGORIES[5]:
        letter = prediction.strip().lower()
        if question.options and len(letter) in (1, 3):
            prediction = question.options[0 if letter in ("a", "(a)") else 1]
        return float(any(words in prediction.lower() for words in ("not mentioned", "no information available")))
    [answer] = question.answers
    if question.category == CATEGORIES[1]:
        said = prediction.split(",")
        return statistics.fmean(max(_f1(part, right) for part in said) for right in answer.split(","))
    return _f1(prediction, answer.split(";")[0] if question.category == CATEGORIES[3] else answer)


def _f1(prediction: str, answer: str) -> float:
    return word_f1(_stems(prediction), _stems(answer))


def _stems(text: str) -> list[str]:
    """Without ASCII punctuation, articles and "and"."""
    try:
        from nltk.stem import PorterStemmer
    except ImportError as error:
        raise ImportError(
            "LoCoMo's score compares stemmed words. Install the stemmer with: pip install nltk"
        ) from error
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    stemmer = PorterStemmer()
    return [stemmer.stem(word) for word in re.sub(r"\b(?:a|an|the|and)\b", " ", plain).split()]
