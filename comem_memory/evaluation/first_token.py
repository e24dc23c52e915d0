"""What memory costs and saves: prompt tokens, time and memory to the first token, by how the items are given."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from comem_memory.config import Mode
from comem_memory.evaluation.comparison import EvaluationQuestion
from comem_memory.evaluation.peak_memory import peak_bytes
from comem_memory.files import load_image
from comem_memory.memory import ContinuousMemory
from comem_memory.model import ModelInputs
from comem_memory.retrieval import ALL

MODES: tuple[Mode, ...] = ("none", "text", "memory")


@dataclass(frozen=True)
class Cost:
    """By mode and k: mean tokens of the prompt, median seconds and, of one question, highest bytes beyond the model's
    to the first token; without the search. See `peak_bytes` for where bytes are `None`."""

    prompt_tokens: dict[Mode, dict[int, float]]
    seconds: dict[Mode, dict[int, float]]
    peak_bytes: dict[Mode, dict[int, int | None]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def first_token(memory: ContinuousMemory, asked: Sequence[EvaluationQuestion], ks: Sequence[int] = (1, 3, 10)) -> Cost:
    """Times questions one by one; of one question all modes and ks run before the next, so that they share its times.

    Args:
        memory: Is searched for k items.
        asked: A dozen questions give a median.
        ks: How many items; those beyond the items that there are, are left out.
    """
    ks = [k for k in ks if k <= memory.count()]
    tokens: dict[Mode, dict[int, list[int]]] = {mode: {k: [] for k in ks} for mode in MODES}
    seconds: dict[Mode, dict[int, list[float]]] = {mode: {k: [] for k in ks} for mode in MODES}
    peaks: dict[Mode, dict[int, int | None]] = {mode: {} for mode in MODES}

    def first(prompt: ModelInputs, vectors: torch.Tensor | None) -> None:
        memory.backbone.generate([prompt], [vectors], max_new_tokens=1)

    for question in asked:
        picture = None if question.image is None else load_image(question.image)
        for k in ks:
            hits = memory.search(question.text, question.image, k=k, where=question.where, min_similarity=ALL)
            for mode in MODES:
                start = time.perf_counter()
                prompt, vectors = memory.prompt(question.text, picture, [] if mode == "none" else hits, mode)
                first(prompt, vectors)
                seconds[mode][k].append(time.perf_counter() - start)
                tokens[mode][k].append(memory.backbone.prompt_length(prompt, vectors))
                if k not in peaks[mode]:
                    peaks[mode][k] = peak_bytes(partial(first, prompt, vectors))
    return Cost(
        {mode: {k: statistics.mean(found) for k, found in by_k.items()} for mode, by_k in tokens.items()},
        {mode: {k: statistics.median(found) for k, found in by_k.items()} for mode, by_k in seconds.items()},
        peaks,
    )
