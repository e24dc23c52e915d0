"""Scores of a short answer, normalised much as SQuAD's evaluation does (arXiv 1606.05250)."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts, as Unicode names their letters, that put no spaces between words."""
_BETWEEN_WORDS = str.maketrans(dict.fromkeys('()[]{}<>="', " "))
"""Signs that part words in code and JSON."""


def normalise(text: str) -> str:
    """Lower case, without punctuation, doubled spaces and, beside other words, articles.

    A leading + or . of a code stays.
    """
    words = [word.rstrip(".") for word in "".join(filter(_counts, text.lower())).split()]
    words = [word for word in words if word]
    return " ".join([word for word in words if not re.fullmatch("a|an|the", word)] or words)


def _counts(letter: str) -> bool:
    return letter in "+." or not (letter in string.punctuation or unicodedata.category(letter).startswith("P"))


def exact_match(prediction: str, answer: str) -> bool:
    return normalise(prediction) == normalise(answer)


def contains(prediction: str, answer: str) -> bool:
    """Whether the answer stands in the prediction, as whole words where its script separates them.

    Brackets and quotes may part words, as in `click(element="Help")`, or belong to one.
    """
    return _holds(prediction, answer) or _holds(*(text.translate(_BETWEEN_WORDS) for text in (prediction, answer)))


def _holds(prediction: str, answer: str) -> bool:
    right, said = normalise(answer), normalise(prediction)
    if any(unicodedata.name(letter, "").startswith(_WITHOUT_SPACES) for letter in right):
        return right in said
    return f" {right} " in f" {said} "


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
    from scipy.stats import binomtest  # slow to import

    low, high = binomtest(sum(right), len(right)).proportion_ci()
    return float(low), float(high)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95% bootstrap interval of the mean (percentiles of 10,000 resamples, always the same ones)."""
    if len(set(values)) < 2:
        return values[0], values[0]
    from scipy.stats import bootstrap  # slow to import

    rng = np.random.default_rng(0)
    low, high = bootstrap(
        (values,), np.mean, n_resamples=10_000, batch=1_000, method="percentile", rng=rng
    ).confidence_interval
    return float(low), float(high)
