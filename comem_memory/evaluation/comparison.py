"""The same frozen model asked the same questions with nothing, with text, with memory, with both, and with memory of
other items: what the vectors carry is what the last one lacks."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from comem_memory.config import Mode
from comem_memory.errors import QueryError
from comem_memory.memory import ContinuousMemory
from comem_memory.metrics import contains, exact_match, interval, normalise, share_interval, token_f1
from comem_memory.model import ModelInputs
from comem_memory.passages import PassageRule
from comem_memory.progress import tracked
from comem_memory.retrieval import check_margin, near_first
from comem_memory.store import Filter
from comem_memory.types import MemoryHit, MemoryItem

MAX_NEW_TOKENS = 64
"""As `ContinuousMemory.answer` has by default."""

SOURCES = (
    "none",
    "text",
    "text without picture",
    "memory",
    "shuffled memory",
    "memory and text",
    "shuffled memory and text",
)
"""The bare model; items in the prompt, with and without their pictures; their vectors; other items' vectors; either
vectors and the right items' text in the prompt."""

CONTROLS = {"memory": "shuffled memory", "memory and text": "shuffled memory and text"}
"""What stands beside every result of vectors: what other items' vectors reach as well is manner, not memory."""


@dataclass(frozen=True)
class EvaluationQuestion:
    """A question.

    Args:
        text: As it is asked.
        answers: An answer that holds any of these is right.
        wrong: An answer that holds any of these is not right, whatever else it holds.
        kind: Results are also shown by kind.
        item_ids: The items that hold the answer, where that is known.
        image: The picture that goes with the question.
        where: Narrows a search, as `ContinuousMemory.search` takes it.
        id: As a benchmark names it.
    """

    text: str
    answers: tuple[str, ...]
    kind: str
    item_ids: tuple[str, ...] = ()
    image: Path | bytes | None = field(default=None, repr=False)
    where: Filter | None = field(default=None, hash=False)
    id: str | None = None
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuestionSet:
    """Items and questions about them.

    Args:
        name: Also of the results.
        items: Cut where they are too long for the encoder.
        asked: The questions.
        published_score: A benchmark's own rule, from answers by question id to shares.
    """

    name: str
    items: Iterable[MemoryItem]
    asked: Sequence[EvaluationQuestion]
    published_score: Callable[[Mapping[str, str]], dict[str, float]] | None = None


@dataclass(frozen=True)
class Score:
    """Means over the questions, 0 to 1; intervals are 95% bootstrap intervals.

    Args:
        exact_match, contains, token_f1: See `metrics`; of several right answers the best counts.
        interval: 95% interval of `contains`; see `share_interval`.
        above_none: 95% interval of `contains` less the bare model's, question by question.
        by_kind: `contains` by the kind of question.
        prompt_tokens: Text, pictures and vectors.
        said: The answers, in the order of the questions.
    """

    exact_match: float
    contains: float
    token_f1: float
    interval: tuple[float, float]
    above_none: tuple[float, float]
    by_kind: dict[str, float]
    prompt_tokens: float
    said: list[str]


@dataclass(frozen=True)
class Comparison:
    """What one model makes of one question set.

    Args:
        name: The question set.
        asked: The questions, in the order of the answers.
        k: Items searched for; `None` where each question got those that hold its answer.
        recall: Share of the items that hold the answers which were among them; `None` where these are not known.
        scores: By source.
        published: By source, what a benchmark's own rule says; empty for other question sets.
    """

    name: str
    asked: list[EvaluationQuestion]
    k: int | None
    recall: float | None
    scores: dict[str, Score]
    published: dict[str, dict[str, float]]

    @property
    def n(self) -> int:
        return len(self.asked)

    @property
    def kinds(self) -> dict[str, int]:
        """How many questions there are of each kind."""
        kinds = sorted({asked.kind for asked in self.asked})
        return {kind: sum(asked.kind == kind for asked in self.asked) for kind in kinds}

    def right(self, source: str) -> list[bool]:
        """Whether each answer contains a right one."""
        return _right(self.asked, self.scores[source].said)

    def rescored(self) -> Comparison:
        """The same answers, scored by the metrics as they are now."""
        said = {source: score.said for source, score in self.scores.items()}
        lengths = {source: score.prompt_tokens for source, score in self.scores.items()}
        return replace(self, scores=_scores(self.asked, said, lengths))

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the questions' pictures."""
        whole = asdict(replace(self, asked=[replace(one, image=None) for one in self.asked]))
        return {"n": self.n} | whole


def compare(
    memory: ContinuousMemory,
    questions: QuestionSet,
    *,
    k: int | None = None,
    margin: float | None = None,
    sources: Sequence[str] = SOURCES,
    passages: PassageRule | None = None,
    batch_size: int = 16,
) -> Comparison:
    """Asks every question of a set with every source.

    Args:
        memory: Receives the items.
        questions: What to ask.
        k: Search for so many items; by default each question gets those that hold its answer, without a search.
        margin: Of those that were searched for, a question in words gets the ones that are at most so much less
            similar than the first, as `ContinuousMemory.margin` has answers get; by default all.
        sources: Some of `SOURCES`; the bare model is always asked, and beside vectors their control (`CONTROLS`).
        passages: How texts are cut into passages, as in `ContinuousMemory.add`; the vectors are then those of the one
            that the question is about, of other items as well.
        batch_size: Questions per `generate`.

    Raises:
        QueryError: There are no questions; one does not say which item holds its answer, and there is no `k`; there is
            a margin, but no `k`; or a source or margin cannot be.
        PromptTooLongError: What a source puts before a question exceeds the model's window.
        ImportError: A benchmark's own rule needs a library that is not installed.
    """
    if not questions.asked:
        raise QueryError(f"{questions.name} has no questions. Raise the limit, or check the files.")
    if k is None and (lost := [one for one in questions.asked if not one.item_ids]):
        raise QueryError(
            f"{len(lost)} questions of {questions.name}, first {lost[0].text!r}, do not say which item holds their "
            "answer. Pass k to search for items instead."
        )
    check_margin(margin)
    if margin is not None and k is None:
        raise QueryError("A margin is for items that are searched for. Pass k, or leave out the margin.")
    if unknown := [source for source in sources if source not in SOURCES]:
        raise QueryError(f"There is no source {unknown[0]!r}. There are: {', '.join(SOURCES)}.")
    if (rule := questions.published_score) is not None:
        rule({str(one.id): "" for one in questions.asked})  # what it lacks is told before anything is generated
    about: list[str] = []

    def noted() -> Iterator[MemoryItem]:
        for item in questions.items:
            about.append(normalise(item.text or ""))
            yield item

    ids = memory.add(noted(), truncate=True, passages=passages)
    following, subjects = _derangement(sorted(set(ids))), dict(zip(ids, about, strict=True))
    asked = sorted(questions.asked, key=lambda one: len(one.text))
    found = [_hits(memory, one, k, margin) for one in asked]
    pictures = any(hit.image is not None for hits in found for hit in hits)
    answers: dict[str, list[str]] = {}
    lengths: dict[str, float] = {}
    for source in dict.fromkeys(("none", *sources, *(CONTROLS[source] for source in sources if source in CONTROLS))):
        if source == "text without picture" and not pictures:
            continue
        shuffled = source.startswith("shuffled")
        others = [_others([hit.id for hit in hits], following, subjects) if shuffled else [] for hits in found]
        if None in others:
            continue  # there are no others
        said: list[str] = []
        tokens: list[int] = []
        for start in tracked(range(0, len(asked), batch_size), f"{questions.name}: {source}", unit="batch"):
            batch = slice(start, start + batch_size)
            prompts = [
                _prompt(memory, one, hits, other, source)
                for one, hits, other in zip(asked[batch], found[batch], others[batch], strict=True)
            ]
            made = memory.backbone.generate(*zip(*prompts, strict=True), max_new_tokens=MAX_NEW_TOKENS)
            said += [memory.backbone.decode(row) for row in made]
            tokens += [memory.backbone.prompt_length(*prompt) for prompt in prompts]
        answers[source], lengths[source] = said, statistics.mean(tokens)
    known = [
        ({*one.item_ids}, {hit.id for hit in hits}) for one, hits in zip(asked, found, strict=True) if one.item_ids
    ]
    recall = statistics.mean(len(own & hits) / len(own) for own, hits in known) if known else None
    published = {}
    if rule is not None:
        by_id = {
            source: {str(one.id): s for one, s in zip(asked, said, strict=True)} for source, said in answers.items()
        }
        published = {source: rule(predictions) for source, predictions in by_id.items()}
    name = f"{questions.name}, in passages" if passages else questions.name
    return Comparison(name, asked, k, recall, _scores(asked, answers, lengths), published)


def _hits(memory: ContinuousMemory, asked: EvaluationQuestion, k: int | None, margin: float | None) -> list[MemoryHit]:
    if k is None:
        return memory.get(asked.item_ids, question=asked.text)
    hits = memory.search(asked.text, asked.image, k=k, where=asked.where)
    if margin is None or asked.image is not None:
        return hits
    return [hits[at] for at in near_first([float(hit.similarity or 0) for hit in hits], margin)]


def _derangement(ids: list[str]) -> dict[str, str]:
    """All items in a circle, each with the one that follows it; an only item follows itself."""
    shuffled = random.Random(0).sample(ids, len(ids))
    return dict(zip(shuffled, shuffled[1:] + shuffled[:1], strict=True))


def _others(ids: Sequence[str], following: Mapping[str, str], subjects: Mapping[str, str]) -> list[str] | None:
    """For each item that is given the next in the circle that none is given of, nor one with the same text.

    Items with the same text are, for instance, two runs of a task. `None` where there are no others.
    """
    own, texts = {*ids}, {subjects[id] for id in ids} - {""}

    def other(id: str) -> str | None:
        start, id = id, following[id]
        while id in own or subjects[id] in texts:
            if id == start:
                return None
            id = following[id]
        return id

    found = [one for id in ids if (one := other(id)) is not None]
    return found if len(found) == len(ids) else None


def _prompt(
    memory: ContinuousMemory,
    asked: EvaluationQuestion,
    hits: Sequence[MemoryHit],
    others: Sequence[str] | None,
    source: str,
) -> tuple[ModelInputs, torch.Tensor | None]:
    in_text, in_vectors = "text" in source, "memory" in source
    modes: dict[tuple[bool, bool], Mode] = {
        (False, False): "none",
        (True, False): "text",
        (False, True): "memory",
        (True, True): "both",
    }
    shown = [replace(hit, image=None) if in_text and source != "text" else hit for hit in hits]
    if source.startswith("shuffled"):
        pairs = zip(shown, memory.get(others or (), question=asked.text), strict=True)
        shown = [replace(hit, memory_embeddings=other.memory_embeddings) for hit, other in pairs]
    prompt, vectors = memory.prompt(asked.text, asked.image, shown, modes[in_text, in_vectors])
    memory.backbone.remaining_tokens(prompt, vectors)  # an error if there is none
    return prompt, vectors


def _scores(
    asked: Sequence[EvaluationQuestion], said: Mapping[str, list[str]], prompt_tokens: Mapping[str, float]
) -> dict[str, Score]:
    return {source: _score(asked, answers, said["none"], prompt_tokens[source]) for source, answers in said.items()}


def _right(asked: Sequence[EvaluationQuestion], said: Sequence[str]) -> list[bool]:
    def has(text: str, some: Sequence[str]) -> bool:
        return any(contains(text, one) for one in some)

    return [has(s, one.answers) and not has(s, one.wrong) for s, one in zip(said, asked, strict=True)]


def _score(asked: Sequence[EvaluationQuestion], said: list[str], bare: Sequence[str], prompt_tokens: float) -> Score:
    def best(rule: Callable[[str, str], float], answers: Sequence[str]) -> list[float]:
        return [max(float(rule(s, a)) for a in one.answers) for s, one in zip(answers, asked, strict=True)]

    right, without = _right(asked, said), _right(asked, bare)
    by_kind: dict[str, list[bool]] = {}
    for one, value in zip(asked, right, strict=True):
        by_kind.setdefault(one.kind, []).append(value)
    return Score(
        exact_match=statistics.mean(best(exact_match, said)),
        contains=statistics.fmean(right),
        token_f1=statistics.mean(best(token_f1, said)),
        interval=share_interval(right),
        above_none=interval([float(a) - float(b) for a, b in zip(right, without, strict=True)]),
        by_kind={kind: statistics.fmean(by_kind[kind]) for kind in sorted(by_kind)},
        prompt_tokens=prompt_tokens,
        said=said,
    )
