"""Items as points in a plane: alike ones lie together."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import normalize

from comem_memory.memory import ContinuousMemory
from comem_memory.types import MemoryHit, leaves

MOST = 2000
"""Items of a map: t-SNE of as many takes some ten seconds on a core."""
COLOURS = 9
"""Values that have a colour of their own; the rarer ones share one."""
DIMENSIONS = 50
"""Of the vectors, before t-SNE, as its authors advise."""
PERPLEXITY = 30
"""Neighbours that count, as its authors advise; fewer where there are not many items."""


def sample(memory: ContinuousMemory, most: int = MOST) -> list[MemoryHit]:
    """All items of a namespace, or as many of them, drawn evenly and the same each time."""
    ids = memory.ids()
    chosen = ids if len(ids) <= most else random.Random(0).sample(ids, most)
    return memory.get(chosen, skip_missing=True)


def plane(hits: Sequence[MemoryHit]) -> np.ndarray:
    """(n, 2) of n items, by t-SNE of their vectors, less their mean, which all share."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    vectors = torch.stack([hit.blocks.float().mean(0) for hit in hits])  # of one in passages, of what these share
    rows = normalize((vectors - vectors.mean(0)).flatten(1), dim=-1).numpy()
    if len(hits) < 4 or not rows.any():
        return np.pad(np.arange(len(hits), dtype=float)[:, None], ((0, 0), (0, 1)))
    rows = PCA(min(DIMENSIONS, *rows.shape), random_state=0).fit_transform(rows)
    perplexity = min(PERPLEXITY, (len(hits) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(rows)


def groups(values: Sequence[str]) -> list[str]:
    """For each value itself, or `other` where too many are more frequent."""
    frequent = {value for value, _ in Counter(values).most_common(COLOURS)}
    return [value if value in frequent else "other" for value in values]


def fields(hits: Sequence[MemoryHit]) -> list[str]:
    """Names of metadata that several of the items have, the most frequent first."""
    counts = Counter(name for hit in hits for name in leaves(hit.metadata))
    return [name for name, count in counts.most_common() if count > 1]
