"""The order of what is found: by meaning and by exact terms together, by age, by a reranker, and without repetition.

Pure functions over candidates: n of them, in one order throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypedDict

import numpy as np

from comem_memory.errors import QueryError, shortened

RRF = 60
"""The constant of reciprocal rank fusion, as where it was published (Cormack, Clarke and Büttcher, SIGIR 2009)."""
MOST_HOLDING = 20
"""Items that may hold a term: one that more of them hold does not say which is meant."""
WIDER = 4
"""Candidates to choose from, in multiples of k, where more than similarity decides."""
ALL = -1.0
"""`min_similarity` that leaves nothing out, whatever a reranker says: vector stores and key-value stores give as many
as are asked for, and what is to be stored is compared with whatever is nearest."""


class Reranker(Protocol):
    """Judges texts for a question, as sentence-transformers' `CrossEncoder` does.

    One that has a `min_score`, a number on its scale, decides besides what is not about a question in words: an item
    whose text it gives less is not found.
    """

    def predict(self, pairs: list[tuple[str, str]], /) -> Any:
        """Of (question, text) pairs, one score each; larger is better, on any scale."""


class SearchOptions(TypedDict, total=False):
    """How `ContinuousMemory.search` bounds and orders what it finds, for what searches through it."""

    min_similarity: float | None
    recency: float
    half_life: timedelta
    diversity: float
    candidates: int | None


def check_options(
    *,
    min_similarity: float | None = None,
    recency: float = 0.0,
    half_life: timedelta = timedelta(days=30),
    diversity: float = 0.0,
    candidates: int | None = None,
) -> None:
    """
    Raises:
        QueryError: An option is not a number in its range, or no duration.
    """
    for name, share in (("recency", recency), ("diversity", diversity)):
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise QueryError(f"{name} is {share!r}. Pass a share from 0 (does not count) to 1 (counts alone).")
    if not isinstance(half_life, timedelta) or half_life <= timedelta(0):
        raise QueryError(f"half_life is {half_life!r}. Pass a duration above zero, as timedelta(days=30).")
    if min_similarity is not None and not (isinstance(min_similarity, int | float) and -1 <= min_similarity <= 1):
        raise QueryError(f"min_similarity is {min_similarity!r}. Pass a number from -1 to 1, or None.")
    if candidates is not None and not (isinstance(candidates, int) and candidates > 0):
        raise QueryError(f"candidates is {candidates!r}. Pass a whole number of items, at least 1, or None for 4 k.")


def check_margin(margin: Any) -> None:
    """
    Raises:
        QueryError: It is no difference of two similarities.
    """
    if margin is not None and not (isinstance(margin, int | float) and 0 <= margin <= 2):
        raise QueryError(f"margin is {margin!r}. Pass a number from 0 (the best alone) to 2 (all), or None.")


def check_reranker(reranker: Any, *, names: Sequence[str] = ()) -> None:
    """
    Args:
        reranker: What is to judge, if anything.
        names: Of those that can be opened by a name.

    Raises:
        QueryError: It is neither one of these names nor something that can judge, or its `min_score` is no number.
    """
    if reranker is None or (isinstance(reranker, str) and reranker in names):
        return
    if hasattr(reranker, "predict"):
        least = getattr(reranker, "min_score", None)
        if least is None or (isinstance(least, int | float) and np.isfinite(least)):
            return
        raise QueryError(f"The reranker's min_score is {least!r}. Set a number on the scale of its scores, or None.")
    raise QueryError(
        f"The reranker is {shortened(repr(reranker))}. Pass anything with `predict([(question, text), ...])`, as "
        "sentence-transformers' `CrossEncoder`; or to `ContinuousMemory.from_pretrained` 'late-interaction'."
    )


def least_score(reranker: Reranker) -> float:
    """What a text needs of a reranker to be about a question: its `min_score`, where it has one."""
    least = getattr(reranker, "min_score", None)
    return -np.inf if least is None else float(least)


def rarities(holding: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Of each item that holds a term, how rare those are: a term that d items hold counts 1 / d.

    A part of a term counts only where no item holds the whole: 4007 finds INC 4007, if there is no INC-4007.

    Args:
        holding: Ids of the items that hold a term, by term.
    """
    found: dict[str, float] = {}
    for term, ids in holding.items():
        if any(term in whole and term != whole for whole in holding):
            continue
        for id in ids:
            found[id] = found.get(id, 0.0) + 1 / len(ids)
    return found


def fused(similarities: Sequence[float], rarities: Sequence[float]) -> np.ndarray:
    """Similarity and exact terms as one score, by reciprocal rank fusion.

    An item that holds terms comes before all that do not: being named decides, and similarity where it does not.

    Args:
        similarities: (n,) of the candidates with the question.
        rarities: (n,) of the asked terms that each holds, 0 where it holds none.

    Returns:
        (n,) larger is better; the similarities where no candidate holds a term.
    """
    similar, rare = np.asarray(similarities, float), np.asarray(rarities, float)
    if not rare.any():
        return similar
    by_meaning = np.argsort(-similar, kind="stable")
    by_terms = by_meaning[np.argsort(-rare[by_meaning], kind="stable")]
    ranks = np.arange(1, len(similar) + 1)
    scores = np.zeros(len(similar))
    scores[by_meaning] += 1 / (RRF + ranks)
    scores[by_terms] += np.where(rare[by_terms] > 0, 1 / (RRF + ranks), 0)
    return scores


def evenly(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """(n,) scores of any scale as shares: the best candidate's is 1, the worst one's 0; all 1 where they are equal."""
    values = np.asarray(scores, float)
    span = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / span if span else np.ones(len(values))


def near_first(similarities: Sequence[float], margin: float) -> list[int]:
    """Positions of what is not more than `margin` less similar than the first, best first.

    The first is what was judged best, also where exact terms or a reranker put it before more similar ones.
    """
    return [at for at, similarity in enumerate(similarities) if similarity >= similarities[0] - margin]


def recencies(ages: Sequence[timedelta], half_life: timedelta) -> np.ndarray:
    """(n,) 1 for what is new, a half for what is `half_life` old, a quarter after twice that."""
    return np.asarray([0.5 ** (max(age, timedelta(0)) / half_life) for age in ages])


def order(relevances: np.ndarray, k: int, *, keys: Sequence[np.ndarray] = (), diversity: float = 0.0) -> list[int]:
    """Positions of the k best candidates, best first; equal ones as they come.

    With `diversity`, each next one is chosen by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): what
    is much like one chosen before counts less.

    Args:
        relevances: (n,) shares, as `evenly` gives them.
        k: How many.
        keys: n retrieval keys (D,), which say how alike two candidates are; needed for `diversity` alone.
        diversity: The share of being unlike, 0 to 1; the rest is relevance.
    """
    if not diversity:
        return np.argsort(-relevances, kind="stable")[:k].tolist()
    rows = np.stack(keys).astype(float) if len(keys) else np.zeros((0, 1))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    alike = rows @ rows.T
    chosen, left = list[int](), list(range(len(rows)))
    while left and len(chosen) < k:
        repeated = alike[np.ix_(left, chosen)].max(axis=1) if chosen else np.zeros(len(left))
        best = left[int(np.argmax((1 - diversity) * relevances[left] - diversity * repeated))]
        chosen.append(best)
        left.remove(best)
    return chosen
