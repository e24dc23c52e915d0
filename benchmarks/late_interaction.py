"""A late interaction of a question's tokens with a fact's, trained to tell whether the fact answers the question.

It is trained on the made-up facts of `answers.json`, each with questions in its own and in quite other words; what the
facts are about, and their sentences, are in none of the test sets. The model that embeds the tokens stays as it is.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SENTENCES = Path(__file__).with_name("answers.json")
VARIANTS = 3
"""Of each fact, with values of their own."""
STEPS, FACTS, RATE = 800, 24, 1e-3
"""Optimizer steps, facts in each, all of one language, and the highest learning rate."""
WARM_UP = 50
HARDEST, THEIR_WEIGHT = 4, 0.25
"""Facts that do not answer a question, of those with the highest scores, which count in a step, and how much."""

Tokens = Mapping[str, tuple[list[int], np.ndarray]]
"""By text, its tokens' ids and their centred vectors of unit length, (tokens, D)."""
Told = tuple[str, list[str]]
"""A fact, and questions that it answers."""


def told(seed: int = 0) -> list[list[list[Told]]]:
    """By language and by what is told: a fact with its questions, in `VARIANTS` variants."""
    content = json.loads(SENTENCES.read_text(encoding="utf-8"))
    rng = random.Random(seed)
    return [
        [
            [_filled(texts, content["values"] | spoken["values"], rng) for _ in range(VARIANTS)]
            for texts in spoken["facts"]
        ]
        for spoken in content["languages"].values()
    ]


def _filled(texts: Sequence[str], values: Mapping[str, Sequence[str]], rng: random.Random) -> Told:
    """The fact with values, and the questions with the same."""
    drawn: dict[str, str] = {}

    def draw(slot: re.Match[str]) -> str:
        value = rng.choice(values[slot[1]])
        drawn.setdefault(slot[1], value)
        return value

    fact = re.sub(r"{(\w+)}", draw, texts[0])
    return fact, [text.format_map(drawn) for text in texts[1:]]


class LateInteraction(nn.Module):
    """Scores questions and facts by their tokens' vectors.

    Each token of one side is compared with the most similar one of the other, in projections that differ for
    questions and facts; learned weights say which tokens count. The weighted means are compared besides.

    Args:
        dimension: Of the tokens' vectors.
        projected: Numbers that tokens are compared in.
    """

    def __init__(self, dimension: int, projected: int = 128) -> None:
        super().__init__()
        start = torch.linalg.qr(torch.randn(dimension, projected))[0].T
        self.projections = nn.ParameterList([start.clone(), start.clone()])
        self.counting = nn.Parameter(torch.zeros(2, dimension))
        self.means = nn.Parameter(torch.eye(dimension))
        self.shares = nn.Parameter(torch.tensor([8.0, 4.0, 4.0]))
        self.constant = nn.Parameter(torch.tensor(-6.0))

    def forward(self, questions: Sequence[np.ndarray], facts: Sequence[np.ndarray]) -> torch.Tensor:
        """
        Args:
            questions: n arrays (tokens, D) of unit rows.
            facts: m of these.

        Returns:
            (n, m) logits that a fact answers a question.
        """
        (asked, asking), (said, saying) = (_padded(side) for side in (questions, facts))
        mine, theirs = (
            functional.normalize(x @ w.T, dim=-1) for x, w in zip((asked, said), self.projections, strict=True)
        )
        weights = [
            (functional.normalize(x, dim=-1) @ count * x.shape[-1] ** 0.5).masked_fill(~there, -1e4).softmax(1)
            for x, there, count in zip((asked, said), (asking, saying), self.counting, strict=True)
        ]
        alike = torch.einsum("qid,pjd->qpij", mine, theirs)
        of_question = alike.masked_fill(~saying[None, :, None, :], -9).amax(3)
        of_fact = alike.masked_fill(~asking[:, None, :, None], -9).amax(2)
        asked_mean, said_mean = (
            functional.normalize((x * w[..., None]).sum(1), dim=-1) for x, w in zip((asked, said), weights, strict=True)
        )
        parts = (
            (of_question * weights[0][:, None]).sum(2),
            (of_fact * weights[1][None]).sum(2),
            functional.normalize(asked_mean @ self.means, dim=-1) @ said_mean.T,
        )
        return sum(share * part for share, part in zip(self.shares, parts, strict=True)) + self.constant


def _padded(rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, tokens, D), and which are there, (n, tokens)."""
    tensors = [torch.from_numpy(one) for one in rows]
    there = nn.utils.rnn.pad_sequence([torch.ones(len(one), dtype=torch.bool) for one in tensors], batch_first=True)
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True), there


def train(
    languages: Sequence[Sequence[Sequence[Told]]], facts: Tokens, questions: Tokens, seed: int = 0
) -> LateInteraction:
    """A late interaction that tells which of the facts of a language answers a question."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    [dimension] = {rows.shape[1] for _, rows in facts.values()}
    model = LateInteraction(dimension)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    sizes = [len(one) for one in languages]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * (1 - step / STEPS)
        [language] = rng.choices(languages, sizes)
        some = [rng.choice(variants) for variants in rng.sample(language, FACTS)]
        asked = [questions[rng.choice(texts)][1] for _, texts in some]
        scores = model(asked, [facts[fact][1] for fact, _ in some])
        right = torch.eye(FACTS)
        counting = right.scatter(1, (scores.detach() - 99 * right).topk(HARDEST).indices, THEIR_WEIGHT)
        apart = functional.binary_cross_entropy_with_logits(scores, right, counting, reduction="sum") / FACTS
        loss = apart + 0.3 * functional.cross_entropy(scores, torch.arange(FACTS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def score(model: Any, question: np.ndarray, fact: np.ndarray) -> float:
    """The logit that a fact answers a question, each (tokens, D)."""
    return float(model([question], [fact]))
