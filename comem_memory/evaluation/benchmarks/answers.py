"""SQuAD's comparison of short texts, which InfoSeek and ViQuAE take over unchanged.

Source: `evaluate-v2.0.py` of SQuAD (https://rajpurkar.github.io/SQuAD-explorer). `evaluation.metrics` differs: it
keeps the + and . of codes.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Sequence

from comem_memory.evaluation.benchmarks.question import BenchmarkQuestion, Predictions, mean, scored
from comem_memory.metrics import word_f1

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and doubled spaces."""
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def squad_exact_match(prediction: str, answer: str) -> float:
    return float(squad_normalise(prediction) == squad_normalise(answer))


def squad_f1(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall of the answer's words; two empty texts agree."""
    said, right = squad_normalise(prediction).split(), squad_normalise(answer).split()
    return word_f1(said, right) if said or right else 1.0


def squad_score(
    questions: Iterable[BenchmarkQuestion],
    predictions: Predictions,
    gold: Callable[[BenchmarkQuestion], Sequence[str]],
) -> dict[str, float]:
    """`exact_match` and `f1`, each the best over a question's gold answers.

    Raises:
        BenchmarkError: A question has no prediction.
    """
    asked = list(questions)
    exact = scored(asked, predictions, lambda question, said: max(squad_exact_match(said, a) for a in gold(question)))
    f1 = scored(asked, predictions, lambda question, said: max(squad_f1(said, a) for a in gold(question)))
    return {"exact_match": mean(exact), "f1": mean(f1)}
