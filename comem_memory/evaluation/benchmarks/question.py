"""One question of any benchmark, and what the scoring rules share."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comem_memory.errors import BenchmarkError


@dataclass(frozen=True)
class BenchmarkQuestion:
    """A question as a benchmark publishes it; what the benchmark does not have is left empty.

    Args:
        id: Unique within the benchmark's split.
        text: The question, without its options.
        image: The question's picture: a file, or its encoded bytes where the benchmark ships them in a table.
        answers: Every accepted answer; for VQA-type benchmarks one for each annotator.
        accepted_range: Least and greatest number that count as right (InfoSeek).
        options: Choices of a multiple-choice question, in the published order.
        correct_option: The right option's place in `options`, counted from 0.
        item_ids: Ids of the `MemoryItem`s that hold the answer.
        where: Narrows a search to the items that may be used, as `ContinuousMemory.search` takes it.
        split: The part of the split that the score is averaged over first, as in `val_unseen_entity`.
        language: As the benchmark names it.
        category: The kind of question, as the benchmark names it.
    """

    id: str
    text: str
    image: Path | bytes | None = field(default=None, repr=False)
    answers: tuple[str, ...] = ()
    accepted_range: tuple[float, float] | None = None
    options: tuple[str, ...] = ()
    correct_option: int | None = None
    item_ids: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    language: str | None = None
    category: str | None = None


Predictions = Mapping[str, str]
"""By the question's id."""
Rule = Callable[[BenchmarkQuestion, str], float]
"""What a prediction for a question earns, 0 to 1."""
Scored = Sequence[tuple[BenchmarkQuestion, float]]


def scored(questions: Iterable[BenchmarkQuestion], predictions: Predictions, rule: Rule) -> Scored:
    """Every question with what its prediction earns.

    Raises:
        BenchmarkError: A question has no prediction, or there are no questions.
    """
    results = []
    for question in questions:
        if question.id not in predictions:
            raise BenchmarkError(
                f"There is no prediction for question {question.id!r}. Give one for every question; '' stands for none."
            )
        results.append((question, rule(question, predictions[question.id])))
    if not results:
        raise BenchmarkError("There are no questions to score. Pass those that the predictions were made for.")
    return results


def unscorable(question: BenchmarkQuestion) -> BenchmarkError:
    return BenchmarkError(
        f"Question {question.id!r} comes without its answer, so it cannot be scored here. "
        "Use a split whose answers are published."
    )


def is_right_option(question: BenchmarkQuestion, chosen: int | None) -> float:
    """1 for the right option, else 0; `None` is no option."""
    if question.correct_option is None:
        raise unscorable(question)
    return float(chosen == question.correct_option)


def choice_score(
    questions: Iterable[BenchmarkQuestion],
    predictions: Predictions,
    chosen_option: Callable[[str], int | None],
    group: Callable[[BenchmarkQuestion], str | None],
) -> dict[str, float]:
    """Accuracy of the options that predictions choose: `score` over all questions, and of each group."""
    results = scored(questions, predictions, lambda asked, said: is_right_option(asked, chosen_option(said)))
    return overall_and_by(results, group)


def overall_and_by(results: Scored, group: Callable[[BenchmarkQuestion], str | None]) -> dict[str, float]:
    """`score`, the mean of all, and the mean of each group."""
    return {"score": mean(results)} | means_by(results, group)


def mean(results: Scored) -> float:
    return statistics.fmean(score for _, score in results)


def means_by(results: Scored, name: Callable[[BenchmarkQuestion], str | None]) -> dict[str, float]:
    """The mean of each group, by its name and sorted by it; questions named `None` are in none."""
    groups: dict[str, list[tuple[BenchmarkQuestion, float]]] = {}
    for question, score in results:
        if (group := name(question)) is not None:
            groups.setdefault(group, []).append((question, score))
    return {group: mean(groups[group]) for group in sorted(groups)}


def harmonic_mean(*values: float) -> float:
    """0 as soon as one value is 0."""
    return statistics.harmonic_mean(values)
