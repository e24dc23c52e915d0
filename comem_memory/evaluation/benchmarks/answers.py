"""SQuAD's comparison of short texts, which InfoSeek and ViQuAE take over unchanged.

Source: `evaluate-v2.0.py` of SQuAD (https://rajpurkar.github.io/SQuAD-explorer). `evaluation.metrics` differs: it
keeps the + and . of codes.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and doubled spaces."""
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def squad_exact_match(prediction: str, answer: str) -> float:
    return float(squad_normalise(prediction) == squad_normalise(answer))


def squad_f1(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the answer's words; two empty texts agree."""
    return word_f1(squad_normalise(prediction).split(), squad_normalise(answer).split())


def word_f1(said: Sequence[str], right: Sequence[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = (Counter(said) & Counter(right)).total()
    return 2 * common / (len(said) + len(right))
