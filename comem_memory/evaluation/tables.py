"""Results as tables, for the terminal and for Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from comem_memory.evaluation.comparison import Comparison
from comem_memory.evaluation.first_token import Cost
from comem_memory.model import AnsweringModel

LONG = 4
"""Tokens; right answers of so many and more are told together."""


@dataclass(frozen=True)
class Grid:
    """A table of strings.

    Args:
        caption: What it shows, and how many questions it is of.
        header: One name a column.
        rows: As long as the header.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def as_rich(self) -> Table:
        table = Table(*self.header, caption=self.caption)
        for row in self.rows:
            table.add_row(*row)
        return table

    def as_markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return f"{self.caption}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scores(comparison: Comparison) -> Grid:
    """By source: shares of right answers, how far above the bare model, and the prompt's length."""
    rows = [
        [
            source,
            _percent(score.exact_match),
            _percent(score.token_f1),
            f"{_percent(score.contains)} ({_percent(score.interval[0])} to {_percent(score.interval[1])})",
            "" if source == "none" else f"{score.above_none[0] * 100:+.1f} to {score.above_none[1] * 100:+.1f}",
            f"{score.prompt_tokens:.0f}",
        ]
        for source, score in comparison.scores.items()
    ]
    given = "each with the items that hold its answer" if comparison.k is None else f"best {comparison.k} by search"
    found = "" if comparison.k is None or comparison.recall is None else f", {_percent(comparison.recall)} found"
    return Grid(
        f"{comparison.name}: {comparison.n} questions, {given}{found}; 95% bootstrap intervals",
        ["with", "exact match", "token F1", "contains", "points above none", "prompt tokens"],
        rows,
    )


def kinds(comparison: Comparison) -> Grid:
    """By source and kind of question: share of answers that contain the right one."""
    counted = comparison.kinds
    return Grid(
        f"{comparison.name}: answers that contain the right one, by kind (number of questions)",
        ["with", *(f"{kind} ({count})" for kind, count in counted.items())],
        [[source, *(f"{score.by_kind[kind]:.0%}" for kind in counted)] for source, score in comparison.scores.items()],
    )


def answer_tokens(backbone: AnsweringModel[Any], answer: str) -> int:
    """Tokens of an answer within a sentence, for `lengths`."""
    return len(backbone.prompts.text_ids(f" {answer}"))


def lengths(comparison: Comparison, tokens: Callable[[str], int]) -> Grid:
    """By source and length of the shortest right answer in tokens: share of answers that contain a right one."""
    long = [min(LONG, *(tokens(answer) for answer in one.answers)) for one in comparison.asked]
    counted = Counter(sorted(long))
    rows = []
    for source in comparison.scores:
        right = Counter(length for length, good in zip(long, comparison.right(source), strict=True) if good)
        rows.append([source, *(f"{right[length] / count:.0%}" for length, count in counted.items())])
    names = {length: f"{length} token{'s' * (length > 1)}" for length in counted} | {LONG: f"{LONG} or more"}
    return Grid(
        f"{comparison.name}: answers that contain the right one, by its tokens (number of questions)",
        ["with", *(f"{names[length]} ({count})" for length, count in counted.items())],
        rows,
    )


def published(comparison: Comparison) -> Grid:
    """By source: what a benchmark's own rule says."""
    names = list(next(iter(comparison.published.values())))
    rows = [[source, *map(_percent, shares.values())] for source, shares in comparison.published.items()]
    return Grid(f"{comparison.name}: by its published rule", ["with", *names], rows)


def costs(cost: Cost) -> Grid:
    """By mode and k: prompt tokens, time to the first token as a multiple of memory's, and memory where it is known."""
    ks = list(cost.seconds["memory"])
    rows = []
    for mode, by_k in cost.seconds.items():
        cells = [
            f"{cost.prompt_tokens[mode][k]:.0f}, {seconds / cost.seconds['memory'][k]:.2f} : 1"
            + ("" if (peak := cost.peak_bytes[mode][k]) is None else f", {peak / 2**20:.0f} MiB")
            for k, seconds in by_k.items()
        ]
        rows.append([mode, *cells])
    return Grid(
        "Tokens of the prompt, time to the first token (memory = 1, one run, without the search), and highest memory "
        "until then beyond the model's",
        ["with", *(f"k = {k}" for k in ks)],
        rows,
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"
