"""Real countries: items, questions, and what the frozen model makes of them with and without memory.

No country is in the training data. The pictures are two artists' renderings of each flag: one is stored, the other
asks. Licences are in `comem_memory/data/countries/README.md`.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from tqdm.auto import tqdm

from comem_memory.backbone import ModelInputs, prompt_length
from comem_memory.evaluation.metrics import contains, exact_match, interval, token_f1
from comem_memory.images import load_image
from comem_memory.memory import ContinuousMemory, Mode
from comem_memory.types import MemoryHit, MemoryItem, Metadata

FOLDER = Path(__file__).parent.parent / "data" / "countries"
MAX_NEW_TOKENS = 24
"""Long enough for a sentence; every mode gets the same."""

Row = dict[str, Any]


@dataclass(frozen=True)
class CountryQuestion:
    code: str
    kind: str
    text: str
    answer: str


def rows(folder: Path = FOLDER) -> list[Row]:
    """The countries, as in `countries.jsonl`."""
    with (folder / "countries.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def item(row: Row, folder: Path = FOLDER) -> MemoryItem:
    """A country as a memory item: a paragraph and its flat flag."""
    text = " ".join(_facts(row).values())
    return MemoryItem(id=row["code"], text=text, image=folder / row["flag"], metadata=_metadata(row))


def short_item(row: Row, kind: str, num_facts: int) -> MemoryItem:
    """A country as a note without picture that holds the fact asked for and `num_facts - 1` others."""
    facts = _facts(row)
    others = [other for other in facts if other != kind]
    chosen = {kind, *random.Random(f"{row['code']}/{kind}").sample(others, min(num_facts - 1, len(others)))}
    opening = [] if "region" in chosen else [f"{row['name']} is a country."]
    text = " ".join([*opening, *(sentence for fact, sentence in facts.items() if fact in chosen)])
    return MemoryItem(id=f"{row['code']}/{kind}/{num_facts}", text=text, metadata=_metadata(row))


def _facts(row: Row) -> dict[str, str]:
    name = row["name"]
    facts = {
        "region": f"{name} is a country in {row['subregion'] or row['region']}.",
        "capital": f"The capital city is {row['capital']}." if row["capital"] else "",
        "language": f"The languages of {name} are {_joined(row['languages'])}." if row["languages"] else "",
        "currency": f"Its money is the {_joined(row['currencies'])}." if row["currencies"] else "",
        "area": f"The country has an area of {row['area_km2']:.0f} square km.",
        "calling code": f"Its telephone code is {row['calling_code']}." if row["calling_code"] else "",
        "internet domain": f"Its internet addresses end with {row['top_level_domain']}."
        if row["top_level_domain"]
        else "",
        "people": f"Its people are called {row['demonym']}." if row["demonym"] else "",
    }
    return {kind: sentence for kind, sentence in facts.items() if sentence}


def _metadata(row: Row) -> Metadata:
    return {"name": row["name"], "region": row["region"]}


def questions(row: Row) -> Iterator[CountryQuestion]:
    """What can be asked about a country whose answer is a single value."""
    name, code = row["name"], row["code"]
    asked = (
        ("capital", f"Which city is the capital of {name}?", row["capital"]),
        ("language", f"What language do people in {name} speak?", _only(row["languages"])),
        ("currency", f"What is the currency of {name}?", _only(row["currencies"])),
        ("region", f"In which part of the world is {name}?", row["subregion"] or row["region"]),
        ("area", f"What is the area of {name}?", f"{row['area_km2']:.0f}"),
        ("calling code", f"What is the calling code of {name}?", row["calling_code"]),
        ("internet domain", f"What is the internet domain of {name}?", row["top_level_domain"]),
        ("people", f"What do you call someone from {name}?", row["demonym"]),
    )
    for kind, text, answer in asked:
        if answer:
            yield CountryQuestion(code, kind, text, answer)


def _only(values: Sequence[str]) -> str | None:
    return values[0] if len(values) == 1 else None


def _joined(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"


# -- comparison --------------------------------------------------------------------------------------------------

SOURCES = (
    "none",
    "text",
    "text without picture",
    "memory",
    "shuffled memory",
    "memory and text",
    "shuffled memory and text",
)
"""The bare model; the item in the prompt, with and without its flag; its vectors; another item's vectors; either
vectors and the question's own item in the prompt."""


@dataclass(frozen=True)
class Score:
    """Means over the questions, 0 to 1; intervals are 95% bootstrap intervals."""

    exact_match: float
    contains: float
    token_f1: float
    interval: tuple[float, float]
    """Of `contains`."""
    above_none: tuple[float, float]
    """Of `contains` less the bare model's, question by question."""
    by_kind: dict[str, float]
    """`contains` by what is asked for."""


@dataclass(frozen=True)
class Report:
    """Shares of right answers over n questions, each asked with its own item (k = 1, no retrieval error)."""

    n: int
    scores: dict[str, Score]
    prompt_tokens: dict[str, dict[int, float]]
    """Mean by mode and k."""
    seconds_to_first_token: dict[str, dict[int, float]]
    """Median by mode and k, recall not included."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "scores": {source: asdict(score) for source, score in self.scores.items()},
            "prompt_tokens": self.prompt_tokens,
            "seconds_to_first_token": self.seconds_to_first_token,
        }

    def as_table(self) -> Table:
        ks = sorted(self.prompt_tokens["memory"])
        table = Table("with", "exact match", "token F1", "contains", "above none", *(f"k={k}" for k in ks))
        for source, score in self.scores.items():
            tokens, seconds = self.prompt_tokens.get(source, {}), self.seconds_to_first_token.get(source, {})
            cost = [f"{tokens[k]:.0f}, {seconds[k] * 1000:.0f} ms" if k in tokens else "" for k in ks]
            low, high = score.above_none
            contained = f"{score.contains:.1%} ({score.interval[0]:.1%} to {score.interval[1]:.1%})"
            above = "" if source == "none" else f"{low * 100:+.1f} to {high * 100:+.1f}"
            table.add_row(source, f"{score.exact_match:.1%}", f"{score.token_f1:.1%}", contained, above, *cost)
        table.caption = (
            f"n = {self.n} questions on real countries, 95% intervals; k: prompt tokens, time to first token"
        )
        return table

    def as_kinds_table(self) -> Table:
        """Share of answers that contain the right one, by what is asked for."""
        kinds = sorted(self.scores["none"].by_kind)
        table = Table("with", *kinds)
        for source, score in self.scores.items():
            table.add_row(source, *(f"{score.by_kind[kind]:.0%}" for kind in kinds))
        return table


def compare(
    memory: ContinuousMemory,
    *,
    num_facts: int | None = None,
    limit: int | None = None,
    batch_size: int = 16,
    timed: int = 12,
) -> Report:
    """Asks the same frozen model every question with nothing, with text, with memory, and with shuffled memory.

    Args:
        memory: receives the countries.
        num_facts: items are notes of so many facts (`short_item`); by default whole countries with flags (`item`).
        limit: ask a random selection of so many questions.
        batch_size: questions per `generate`.
        timed: questions whose first token is timed, one by one, in each mode and for k = 1, 3, 10.
    """
    whole = {row["code"]: item(row) for row in rows()}
    drawn = [(question, row) for row in rows() for question in questions(row)]
    random.Random(0).shuffle(drawn)
    items = {q: short_item(row, q.kind, num_facts) if num_facts else whole[q.code] for q, row in drawn[:limit]}
    ids = memory.add(list((items if num_facts else whole).values()))
    hits = {hit.id: hit for hit in memory.get(ids)}
    others = _derangement(ids)
    own = {question: hits[str(one.id)] for question, one in items.items()}
    asked = sorted(items, key=lambda q: len(q.text))
    answers = {}
    for source in SOURCES:
        said: list[str] = []
        for start in tqdm(range(0, len(asked), batch_size), desc=source, unit="batch", disable=None):
            batch = asked[start : start + batch_size]
            prompts = [_prompt(memory, q.text, own[q], hits[others[own[q].id]], source) for q in batch]
            tokens = memory.backbone.generate(*zip(*prompts, strict=True), max_new_tokens=MAX_NEW_TOKENS)
            said += [memory.backbone.decode(row) for row in tokens]
        answers[source] = said
    scores = {source: _score(asked, said, answers["none"]) for source, said in answers.items()}
    tokens_by, seconds_by = _first_tokens(memory, asked[:: max(1, len(asked) // timed)][:timed])
    return Report(len(asked), scores, tokens_by, seconds_by)


def _score(asked: Sequence[CountryQuestion], said: Sequence[str], bare: Sequence[str]) -> Score:
    right = [float(contains(s, q.answer)) for s, q in zip(said, asked, strict=True)]
    without = [float(contains(s, q.answer)) for s, q in zip(bare, asked, strict=True)]
    by_kind: dict[str, list[float]] = {}
    for question, value in zip(asked, right, strict=True):
        by_kind.setdefault(question.kind, []).append(value)
    return Score(
        exact_match=statistics.mean(exact_match(s, q.answer) for s, q in zip(said, asked, strict=True)),
        contains=statistics.mean(right),
        token_f1=statistics.mean(token_f1(s, q.answer) for s, q in zip(said, asked, strict=True)),
        interval=interval(right),
        above_none=interval([a - b for a, b in zip(right, without, strict=True)]),
        by_kind={kind: statistics.mean(values) for kind, values in by_kind.items()},
    )


def _prompt(
    memory: ContinuousMemory, question: str, own: MemoryHit, other: MemoryHit, source: str
) -> tuple[ModelInputs, torch.Tensor | None]:
    """The question with its own item or another one: as text, as vectors, or as both."""
    text_alone = replace(own, image=None)
    given: dict[str, tuple[MemoryHit, Mode]] = {
        "none": (own, "none"),
        "text": (own, "text"),
        "text without picture": (text_alone, "text"),
        "memory": (own, "memory"),
        "shuffled memory": (other, "memory"),
        "memory and text": (text_alone, "text"),
        "shuffled memory and text": (text_alone, "text"),
    }
    hit, mode = given[source]
    prompt, vectors = memory.prompt(question, None, [] if mode == "none" else [hit], mode)
    if source.endswith("memory and text"):
        vectors = (other if source.startswith("shuffled") else own).memory_embeddings
    return prompt, vectors


def _derangement(codes: list[str]) -> dict[str, str]:
    """Every country's memory goes to another one."""
    shuffled = random.Random(0).sample(codes, len(codes))
    return dict(zip(shuffled, shuffled[1:] + shuffled[:1], strict=True))


def _first_tokens(
    memory: ContinuousMemory, asked: Sequence[CountryQuestion]
) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
    tokens: dict[str, dict[int, float]] = {}
    seconds: dict[str, dict[int, float]] = {}
    modes: tuple[Mode, ...] = ("none", "text", "memory")
    for mode in modes:
        for k in (1, 3, 10):
            lengths, times = [], []
            for question in asked:
                hits = memory.search(question.text, k=k)
                start = time.perf_counter()
                prompt, vectors = memory.prompt(question.text, None, [] if mode == "none" else hits, mode)
                memory.backbone.generate([prompt], [vectors], max_new_tokens=1)
                times.append(time.perf_counter() - start)
                lengths.append(prompt_length(prompt, vectors))
            tokens.setdefault(mode, {})[k] = statistics.mean(lengths)
            seconds.setdefault(mode, {})[k] = statistics.median(times)
    return tokens, seconds


def find_by_flag(memory: ContinuousMemory, folder: Path = FOLDER, *, k: int = 10) -> dict[int, float]:
    """Recall@1, @5, @k of the stored flat flag when asked with the other artist's waving one."""
    ranks = []
    for row in tqdm(rows(folder), desc="flags", unit="flag", disable=None):
        found = [hit.id for hit in memory.search(image=load_image(folder / row["flag_waving"]), k=k)]
        ranks.append(found.index(row["code"]) if row["code"] in found else k)
    return {at: sum(rank < at for rank in ranks) / len(ranks) for at in (1, 5, k)}
