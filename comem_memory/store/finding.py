"""Finding records: by the meaning of a text or picture and by exact terms together, bounded and in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from PIL import Image

from comem_memory.retrieval import PROBE, Reranker, RetrievalKey, asked_terms, ranking
from comem_memory.store.contract import MemoryRecord, MemoryStore
from comem_memory.store.filters import Filter
from comem_memory.store.passages import nearest_passage


@dataclass(frozen=True)
class Found:
    """A record that was found.

    Args:
        record: The record.
        similarity: The inner product of its key with the question's.
        found_by: `meaning`, `terms`, or both, as in `MemoryHit`.
        passage: The place of the passage that is nearest to the question, of a record that has some.
        of_texts: What the texts give to the similarity, of a question with both text and picture.
    """

    record: MemoryRecord
    similarity: float
    found_by: tuple[str, ...]
    passage: int | None = None
    of_texts: float | None = None


def find(
    store: MemoryStore,
    key: RetrievalKey,
    text: str | None,
    image: Image.Image | None,
    *,
    namespace: str,
    k: int,
    where: Filter | None = None,
    min_similarity: float | None = None,
    recency: float = 0.0,
    half_life: timedelta = timedelta(days=30),
    diversity: float = 0.0,
    candidates: int | None = None,
    reranker: Reranker | None = None,
) -> list[Found]:
    """The k records that a text, a picture, or both are about, best first.

    Args:
        store: Where to search.
        key: Makes the vector to search with.
        text, image: What to search for.
        namespace: The only namespace that is searched.
        k: How many.
        where: A condition on the items' metadata.
        min_similarity, recency, half_life, diversity, candidates: As in `ContinuousMemory.search`.
        reranker: Judges the candidates for a text. Of a question in words, what it gives less than its `min_score` is
            left out, unless `min_similarity` is `ALL` or there is no text to judge.

    Raises:
        QueryError: Nothing to search for, `k` is below 1, or a filter that cannot be understood.
    """

    def best(vector: np.ndarray) -> list[float]:
        return store.nearest_similarities(vector, namespace=namespace, k=PROBE, where=where)

    vector = key.query_key(text, image, best=best)
    text, reranker = text or "", reranker if text else None
    chosen = recency or diversity or reranker is not None
    wide = max(k, candidates or ranking.WIDER * k) if chosen else k
    near = store.search(vector, namespace=namespace, k=wide, where=where)
    terms = asked_terms(text)
    rare = ranking.rarities(store.holding(terms, namespace=namespace, most=ranking.MOST_HOLDING)) if terms else {}
    named = store.search(vector, namespace=namespace, k=len(rare), where=where, among=list(rare)) if rare else []
    found = _together(near, named, -np.inf if min_similarity is None else min_similarity)
    if not found:
        return []
    judged = [one.similarity for one in found]
    if reranker is not None:
        pairs = [(text, one.record.full_text) for one in found]
        judged = np.asarray(reranker.predict(pairs), float).reshape(-1).tolist()
        if image is None and min_similarity != ranking.ALL:
            least = ranking.least_score(reranker)
            about = [at for at, (_, said) in enumerate(pairs) if judged[at] >= least or not said]
            found, judged = [found[at] for at in about], [judged[at] for at in about]
    scores = ranking.fused(judged, [rare.get(one.record.id, 0) for one in found])
    relevances = ranking.evenly(scores)
    if recency:
        now = datetime.now(UTC)
        ages = [now - _moment(one.record) for one in found]
        relevances = (1 - recency) * relevances + recency * ranking.recencies(ages, half_life)
    keys = [one.record.key for one in found]
    ordered = [found[at] for at in ranking.order(relevances, k, keys=keys, diversity=diversity)]
    both = bool(text) and image is not None

    def told(one: Found) -> Found:
        of_texts = key.of_texts(vector, np.asarray(one.record.key)) if both else None
        return replace(one, passage=nearest_passage(one.record, vector), of_texts=of_texts)

    return [told(one) for one in ordered]


def _together(
    near: Sequence[tuple[MemoryRecord, float]], named: Sequence[tuple[MemoryRecord, float]], least: float
) -> list[Found]:
    """What was found by meaning and by terms, each record once, most similar first."""
    ways = {"meaning": {record.id for record, _ in near}, "terms": {record.id for record, _ in named}}
    every = {record.id: (record, similarity) for record, similarity in (*near, *named) if similarity >= least}
    ordered = sorted(every.values(), key=lambda one: (-one[1], one[0].id))
    return [
        Found(record, similarity, tuple(way for way, ids in ways.items() if record.id in ids))
        for record, similarity in ordered
    ]


def _moment(record: MemoryRecord) -> datetime:
    """When it was said, or else stored."""
    return datetime.fromisoformat(record.said_at or record.created_at)
