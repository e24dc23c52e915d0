"""Scores of a short answer, as SQuAD's evaluation normalises it (arXiv 1606.05250)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, bootstrap

_QUOTES = "\u2018\u2019\u201c\u201d"
_PUNCTUATION = str.maketrans("", "", string.punctuation.replace("+", "").replace(".", "") + _QUOTES)


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and doubled spaces; a leading + or . of a code stays."""
    words = (word.rstrip(".") for word in text.lower().translate(_PUNCTUATION).split())
    return " ".join(word for word in words if word and not re.fullmatch("a|an|the", word))


def exact_match(prediction: str, answer: str) -> bool:
    return normalise(prediction) == normalise(answer)


def contains(prediction: str, answer: str) -> bool:
    """Whether the answer stands in the prediction as whole words."""
    return f" {normalise(answer)} " in f" {normalise(prediction)} "


def token_f1(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the answer's words."""
    return word_f1(normalise(prediction).split(), normalise(answer).split())


def word_f1(said: Sequence[str], right: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of words; 0 where they have none in common."""
    common = (Counter(said) & Counter(right)).total()
    return 2 * common / (len(said) + len(right)) if common else 0.0


def share_interval(right: Sequence[bool]) -> tuple[float, float]:
    """95% interval of a share: as `interval`; the exact one (Clopper-Pearson) where all are alike, 0 of 33 say."""
    if 0 < sum(right) < len(right):
        return interval([float(one) for one in right])
    low, high = binomtest(sum(right), len(right)).proportion_ci()
    return float(low), float(high)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95% bootstrap interval of the mean (percentiles of 10,000 resamples, always the same ones)."""
    if len(set(values)) < 2:
        return values[0], values[0]
    rng = np.random.default_rng(0)
    low, high = bootstrap(
        (values,), np.mean, n_resamples=10_000, batch=1_000, method="percentile", rng=rng
    ).confidence_interval
    return float(low), float(high)
