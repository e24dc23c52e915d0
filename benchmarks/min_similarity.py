"""How similar an answer is to its question, and what was never said: `python benchmarks/min_similarity.py [--key KEY]`.

With `--reranker`, how the late interaction scores both, of the `CANDIDATES` that the key finds.

Right hits are questions whose own fact is among the 3 most similar; unknown are questions about something that the
memory does not hold. A least similarity keeps the former and rejects the latter. It is chosen on development data, such
that it keeps 98% of the right hits, and reported on other data. Prints Markdown tables; `--plot FILE` draws the curves.

| memory | right | unknown |
|---|---|---|
| development: notes-development | its questions | those of `notes`; small talk |
| development: facts of `retrieval_keys.json`, by language | questions in the language | those of notes-development |
| report: notes | its questions | those of notes-development; small talk |
| report: countries | its questions | those of `notes`; small talk |
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from retrieval_keys import COUNTRIES, MEASURED, table

from comem_memory.evaluation.question_sets import question_set
from comem_memory.opening import DEFAULT_KEY, LATE_INTERACTION, open_key, open_reranker
from comem_memory.retrieval import Reranker, RetrievalKey
from comem_memory.retrieval.ranking import WIDER

KEPT = 0.98
NEAREST = 3
CANDIDATES = WIDER * NEAREST
"""As a search of so many has its reranker choose from."""
SMALL_TALK = (
    *("Hello!", "Hi there, how are you?", "Thanks, that is all.", "Good morning", "Tell me a joke.", "OK", "Bye!"),
    *("Can you help me?", "What is the capital of France?", "Write a poem about autumn.", "How do I boil an egg?"),
    *('Translate "good night" to Spanish.', "What is 17 times 23?", "Who won the world cup in 2014?"),
    *("Explain photosynthesis.", "What is the weather today?", "Hola, ¿qué tal?", "¿Cuál es la capital de Francia?"),
    *("Wie spät ist es?", "Erzähl mir einen Witz.", "你好", "今天天气怎么样", "Расскажи анекдот.", "ありがとう"),
    "Merci beaucoup !",
)


@dataclass(frozen=True)
class Judge:
    """Says how well a fact answers a question: by the similarity of their keys, or by a reranker.

    Args:
        key: Finds the facts.
        reranker: Scores the `CANDIDATES` that the key finds, where there is one; the others are not found.
    """

    key: RetrievalKey
    reranker: Reranker | None = None

    def __call__(self, facts: Sequence[str], questions: Sequence[str]) -> np.ndarray:
        """(questions, facts)"""
        keys = self.key.item_keys(facts, [None] * len(facts))
        similar = np.stack([query_key(self.key, question) for question in questions]) @ keys.T
        if self.reranker is None:
            return similar
        scores = np.full(similar.shape, -np.inf)
        for row, question, near in zip(scores, questions, np.argsort(-similar)[:, :CANDIDATES], strict=True):
            row[near] = self.reranker.predict([(question, facts[at]) for at in near])
        return scores


@cache
def query_key(key: RetrievalKey, question: str) -> np.ndarray:
    return key.query_key(question)


def right(scores: np.ndarray, gold: Sequence[int]) -> np.ndarray:
    """Of questions whose own fact is among the best, its score."""
    own = scores[np.arange(len(scores)), gold]
    return own[np.isfinite(own) & ((scores > own[:, None] + 1e-6).sum(axis=1) < NEAREST)]


def named(name: str, **settings: Any) -> tuple[list[str], list[str], list[int]]:
    """Facts of a question set, its questions, and the place of each one's fact."""
    given = question_set(name, **{"searched": True, **settings})
    items = list(given.items)
    places = {item.id: place for place, item in enumerate(items)}
    gold = [places[question.item_ids[0]] for question in given.asked]
    return [item.text or "" for item in items], [question.text for question in given.asked], gold


def measured(judge: Judge) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores of right hits to choose with, of other right hits, and the greatest ones of unknown questions."""
    development, asked_development, gold_development = named("notes-development")
    notes, asked_notes, gold_notes = named("notes")
    countries, asked_countries, gold_countries = named("countries", **COUNTRIES)
    in_development = judge(development, [*asked_development, *asked_notes, *SMALL_TALK])
    in_notes = judge(notes, [*asked_notes, *asked_development, *SMALL_TALK])
    in_countries = judge(countries, [*asked_countries, *asked_notes, *SMALL_TALK])
    chosen = {"notes-development": right(in_development[: len(asked_development)], gold_development)}
    others = []
    for language, pairs in MEASURED["languages"].items():
        told, asked = zip(*pairs, strict=True)
        scores = judge(told, [*asked, *asked_development])
        chosen[language] = right(scores[: len(asked)], range(len(asked)))
        others.append(scores[len(asked) :].max(axis=1))
    reported = {
        "notes": right(in_notes[: len(asked_notes)], gold_notes),
        "countries": right(in_countries[: len(asked_countries)], gold_countries),
    }
    talk = -len(SMALL_TALK)
    unknown = {
        "other notes, in notes-development": in_development[len(asked_development) : talk].max(axis=1),
        "small talk, in notes-development": in_development[talk:].max(axis=1),
        "notes, in facts of eleven languages": np.concatenate(others),
        "other notes, in notes": in_notes[len(asked_notes) : talk].max(axis=1),
        "small talk, in notes": in_notes[talk:].max(axis=1),
        "notes, in countries": in_countries[len(asked_countries) : talk].max(axis=1),
        "small talk, in countries": in_countries[talk:].max(axis=1),
    }
    return chosen, reported, unknown


def percent(shares: np.ndarray) -> str:
    return f"{100 * shares.mean():.0f}"


def plot(
    file: Path, kept: dict[str, np.ndarray], rejected: dict[str, np.ndarray], least: float, bounds: np.ndarray, of: str
) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, values in kept.items():
        axes.plot(bounds, [100 * (values >= bound).mean() for bound in bounds], label=f"kept: {name}")
    for name, values in rejected.items():
        axes.plot(bounds, [100 * (values < bound).mean() for bound in bounds], "--", label=f"rejected: {name}")
    axes.axvline(least, color="grey", linewidth=1)
    axes.set(xlabel=f"least {of}", ylabel="per cent")
    axes.legend(fontsize="x-small")
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", default=DEFAULT_KEY, help="as from_pretrained and `comem --key` take it")
    parser.add_argument("--reranker", action="store_true", help=f"{LATE_INTERACTION} judges what the key finds")
    parser.add_argument("--plot", type=Path, help="a picture file to draw the curves into")
    given = parser.parse_args()
    torch.set_num_threads(1)
    key = open_key(given.key)
    chosen, reported, unknown = measured(Judge(key, open_reranker(LATE_INTERACTION if given.reranker else None, key)))
    pooled = np.concatenate(list(chosen.values()))
    languages = np.concatenate([values for name, values in chosen.items() if name in MEASURED["languages"]])
    kept = {
        "notes-development": chosen["notes-development"],
        "eleven languages": languages,
        "notes": reported["notes"],
        "countries": reported["countries"],
    }
    digits, of, step = (1, "score", 2.0) if given.reranker else (2, "similarity", 0.05)
    least = float(np.floor(10**digits * np.quantile(pooled, 1 - KEPT, method="lower")) / 10**digits)
    first = step * np.floor(least / step) - 3 * step
    bounds = sorted({*np.arange(first, first + 9 * step, step).round(digits).tolist(), least})
    print(f"{given.key}: {least:.{digits}f} keeps {percent(pooled >= least)}% of {len(pooled)} right hits.\n")
    table(
        ["kept right hits", *(f"{bound:.{digits}f}" for bound in bounds)],
        [[name, *(percent(values >= bound) for bound in bounds)] for name, values in kept.items()],
    )
    table(
        ["rejected unknown", *(f"{bound:.{digits}f}" for bound in bounds)],
        [[name, *(percent(values < bound) for bound in bounds)] for name, values in unknown.items()],
    )
    if given.plot is not None:
        plot(given.plot, kept, unknown, least, np.linspace(first - 2 * step, first + 16 * step, 181), of)


if __name__ == "__main__":
    main()
