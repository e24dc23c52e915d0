"""Trains the late interaction that reranks what the default key finds: `python benchmarks/late_interaction.py FILE`.

It learns to tell which of 24 facts answers a question, on the made-up facts of `answers.json`, each with questions in
its own and in quite other words; what the facts are about, and their sentences, are in none of the test sets. The model
that embeds the tokens stays as it is. The file in `comem_memory/data` was made so.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.nn import functional

from comem_memory import mini
from comem_memory.retrieval import SentenceTransformerEmbedder
from comem_memory.retrieval.late_interaction import LateInteraction

SENTENCES = Path(__file__).with_name("answers.json")
VARIANTS = 3
"""Of each fact, with values of their own."""
PROJECTED = 256
STEPS, FACTS, RATE = 800, 24, 1e-3
"""Optimizer steps, facts in each, all of one language, and the highest learning rate."""
WARM_UP = 50
HARDEST, THEIR_WEIGHT = 4, 0.25
"""Facts that do not answer a question, of those with the highest scores, which count in a step, and how much."""

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


Tokens = Mapping[str, torch.Tensor]
"""By text, what the model makes of its tokens, (tokens, D)."""


def read(embedder: SentenceTransformerEmbedder, texts: Sequence[str], *, asked: bool) -> Tokens:
    once = sorted(set(texts), key=len)
    return {text: windows[0].tokens for text, windows in zip(once, embedder.read(once, asked=asked), strict=True)}


def train(
    languages: Sequence[Sequence[Sequence[Told]]], questions: Tokens, facts: Tokens, seed: int = 0
) -> LateInteraction:
    """A late interaction that tells which of the facts of a language answers a question."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    centres = torch.stack([torch.cat(list(side.values())).mean(dim=0) for side in (questions, facts)])
    model = LateInteraction(centres.shape[1], PROJECTED)
    model.centres.copy_(centres)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    sizes = [len(one) for one in languages]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * (1 - step / STEPS)
        [language] = rng.choices(languages, sizes)
        some = [rng.choice(variants) for variants in rng.sample(language, FACTS)]
        scores = model([questions[rng.choice(asked)] for _, asked in some], [facts[fact] for fact, _ in some])
        right = torch.eye(FACTS)
        counting = right.scatter(1, (scores.detach() - 99 * right).topk(HARDEST).indices, THEIR_WEIGHT)
        apart = functional.binary_cross_entropy_with_logits(scores, right, counting, reduction="sum") / FACTS
        loss = apart + 0.3 * functional.cross_entropy(scores, torch.arange(FACTS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    embedder = SentenceTransformerEmbedder(mini.e5_directory())
    languages = told()
    every = [one for language in languages for variants in language for one in variants]
    questions = read(embedder, [text for _, texts in every for text in texts], asked=True)
    facts = read(embedder, [fact for fact, _ in every], asked=False)
    model = train(languages, questions, facts, arguments.seed)
    model.embedder = embedder.name
    model.save(arguments.file)
    print(f"{arguments.file}: {sum(one.numel() for one in model.state_dict().values())} numbers")


if __name__ == "__main__":
    main()
