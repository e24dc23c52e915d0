"""Scores of a short answer, as SQuAD's evaluation normalises it (arXiv 1606.05250)."""

from __future__ import annotations

import re
import string

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
