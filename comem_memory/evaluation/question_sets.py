"""What can be asked: real countries by name or by flag, unseen made-up worlds, and published benchmarks."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

from comem_memory.errors import BenchmarkError
from comem_memory.evaluation import benchmarks, countries
from comem_memory.evaluation.benchmarks import BENCHMARKS, BenchmarkQuestion, Predictions
from comem_memory.evaluation.comparison import Asked, QuestionSet
from comem_memory.types import MemoryItem

UNSEEN_SEED = -3
"""No training and no development draws these worlds; their seeds are 0 and more, -1 and -2."""


def chosen(
    name: str,
    *,
    num_facts: int | None = None,
    folder: Path | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> QuestionSet:
    """A question set by its name: countries, flags, worlds, or a benchmark's.

    Args:
        name: which.
        num_facts: of countries, see `of_countries`.
        folder, split: of a benchmark, where its published files are and which of them.
        limit: so many questions; 300 of the endless worlds unless given.

    Raises:
        BenchmarkError: there is no such set, a benchmark comes without folder or split, or as in `of_benchmark`.
    """
    if name == "countries":
        return of_countries(num_facts=num_facts, limit=limit)
    if name == "flags":
        return of_flags(limit=limit)
    if name == "worlds":
        return of_worlds(limit=limit or 300)
    if name not in BENCHMARKS:
        known = ", ".join(("countries", "flags", "worlds", *BENCHMARKS))
        raise BenchmarkError(f"There are no questions {name!r}. There are: {known}.")
    if folder is None or split is None:
        raise BenchmarkError(f"Pass folder and split of {name}: nothing is downloaded.")
    return of_benchmark(name, folder, split, limit=limit)


def of_countries(*, num_facts: int | None = None, limit: int | None = None) -> QuestionSet:
    """Questions that name their country.

    Args:
        num_facts: items are notes of so many facts (`countries.short_item`); by default whole countries with flags.
        limit: a random selection of so many questions, always the same.
    """
    drawn = _drawn(limit)
    if num_facts is None:
        items = [countries.item(row) for row in countries.rows()]
        asked = [_asked(question, question.code) for question, _ in drawn]
        return QuestionSet("countries", items, asked)
    items = [countries.short_item(row, question.kind, num_facts) for question, row in drawn]
    asked = [_asked(question, str(item.id)) for (question, _), item in zip(drawn, items, strict=True)]
    return QuestionSet(f"countries, {num_facts} fact{'s' * (num_facts > 1)}", items, asked)


def of_flags(*, limit: int | None = None) -> QuestionSet:
    """The same questions without the country's name, asked with another artist's waving flag."""
    items = [countries.item(row) for row in countries.rows()]
    asked = [
        replace(
            _asked(question, question.code),
            text=question.text.replace(row["name"], "the country with this flag"),
            image=countries.FOLDER / row["flag_waving"],
        )
        for question, row in _drawn(limit)
    ]
    return QuestionSet("flags", items, asked)


def of_worlds(*, limit: int = 300) -> QuestionSet:
    """Made-up items that no training has drawn, with one question each; their names are made of syllables.

    Kinds: numbers (any digit), names (of somebody or something), words.

    Raises:
        ImportError: Faker is not installed; it belongs to the extra `train`.
    """
    from comem_memory.training.worlds import samples

    items, asked = list[MemoryItem](), list[Asked]()
    for sample in samples(UNSEEN_SEED):
        question = next((one for one in sample.questions if one.names_item), None)
        if question is None:
            continue
        id = f"world-{len(items)}"
        items.append(MemoryItem(id=id, text=sample.text))
        asked.append(Asked(question.text, (question.value,), _kind(question.value), (id,)))
        if len(items) == limit:
            break
    return QuestionSet("unseen worlds", items, asked)


def of_benchmark(name: str, folder: Path, split: str, *, limit: int | None = None) -> QuestionSet:
    """The questions of a published benchmark that have an answer; options stand below their question.

    Kinds are the question's language, category or part of the split, whichever the benchmark has.

    Raises:
        ImportError: the benchmark comes as parquet files, and pyarrow is not installed.
        BenchmarkError: there is no such benchmark, it publishes no items, or a file is missing or malformed.
    """
    answered = (one for one in benchmarks.load(name, folder, split) if one.answers or one.correct_option is not None)
    questions = list(itertools.islice(answered, limit))

    def score(predictions: Predictions) -> dict[str, float]:
        return BENCHMARKS[name].score(questions, predictions)

    asked = [_of_benchmark(one) for one in questions]
    return QuestionSet(name, benchmarks.items(name, folder, split), asked, score)


def _of_benchmark(question: BenchmarkQuestion) -> Asked:
    options = [f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(question.options)]
    right = () if question.correct_option is None else (question.options[question.correct_option],)
    return Asked(
        "\n".join([question.text, *options]),
        question.answers or right,
        question.language or question.category or question.split or "all",
        question.item_ids,
        question.image,
        dict(question.where) or None,
        question.id,
    )


def _drawn(limit: int | None) -> list[tuple[countries.CountryQuestion, countries.Row]]:
    drawn = [(question, row) for row in countries.rows() for question in countries.questions(row)]
    random.Random(0).shuffle(drawn)
    return drawn[:limit]


def _asked(question: countries.CountryQuestion, item_id: str) -> Asked:
    return Asked(question.text, (question.answer,), question.kind, (item_id,))


def _kind(value: str) -> str:
    if any(letter.isdigit() for letter in value):
        return "numbers"
    return "names" if any(letter.isupper() for letter in value) else "words"
