"""What tells a question about something that was never said from one that a stored fact answers.

`python benchmarks/never_said.py` asks each question of `conversations.json`, `retrieval_keys.json` and
notes-development twice: in a memory that holds its fact, and in the same memory without it. The former is known if its
fact is among the 3 most similar items. A score of question and fact keeps the known where it is high enough for their
fact, and rejects the others where none of the 3 most similar reaches that. Prints, for each score, the area under the
ROC curve, and how many of the never said are rejected where 98% and 95% of the known are kept.

| score | of a question and a fact |
|---|---|
| cosine | of their vectors, as `min_similarity` bounds it |
| z-score | cosine, by mean and deviation of the question's cosines with unrelated statements |
| s-norm | the same, and by those of the fact's with unrelated questions |
| above the others | cosine, less its mean with the other items of the memory |
| MaxSim | each token of the question with its most similar one of the fact, the mean weighted by squared rarity |
| MaxSim, both ways | the mean weighted by rarity, and that of each token of the fact with its most similar one |
| all of these | joined by a logistic regression, which is fitted on other languages and other subjects |
| late interaction, untrained | of their tokens, as `late_interaction.py` begins |
| late interaction, trained | the same, trained on the made-up facts of `answers.json`, about other things |
| with the cosine | the latter and the cosine, as the reranker adds them |

Unrelated statements and questions are those of `statements.json`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from retrieval_keys import table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from comem_memory import mini
from comem_memory.evaluation.question_sets import question_set
from comem_memory.retrieval import SentenceTransformerEmbedder
from comem_memory.retrieval.late_interaction import COSINE, LateInteraction

NEAREST = 3
KEPT = (0.98, 0.95)
SCORES = ("cosine", "z-score", "s-norm", "above the others", "MaxSim", "MaxSim, both ways")
JOINED = "all of these"
LATE = ("late interaction, untrained", "late interaction, trained", "with the cosine")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Memory:
    """Facts, and questions with the place of the fact that answers each, and its subject."""

    group: str
    language: str
    facts: list[str]
    asked: list[tuple[str, int, str]]


def memories() -> Iterator[Memory]:
    told = _read("conversations.json")
    for language, spoken in told["languages"].items():
        topics = spoken["topics"]
        facts = [topic["tell"].format(v=told["values"][name][0]) for name, topic in topics.items()]
        asked = [(text, at, name) for at, (name, topic) in enumerate(topics.items()) for text in topic["asks"]]
        yield Memory("conversations", language, facts + spoken["statements"], asked)
    kinds = _read("retrieval_keys.json")
    for language, pairs in kinds["languages"].items():
        some = [pair for pair, group in zip(pairs, kinds["groups"], strict=True) if group != "codes asked for"]
        asked = [(question, at, str(at)) for at, (_, question) in enumerate(some)]
        yield Memory("keys", language.lower(), [fact for fact, _ in some], asked)
    notes = question_set("notes-development", searched=True)
    places = {item.id: at for at, item in enumerate(notes.items)}
    asked = [(one.text, places[one.item_ids[0]], one.kind) for one in notes.asked]
    yield Memory("notes", "english", [item.text or "" for item in notes.items], asked)


@dataclass(frozen=True)
class Embedded:
    """By text, its vector, (D,), its tokens' ids and centred vectors, (tokens, D), and what the model made of them and
    of its prompt."""

    vectors: dict[str, np.ndarray]
    tokens: dict[str, tuple[list[int], np.ndarray]]
    read: dict[str, torch.Tensor]


def embedded(embedder: SentenceTransformerEmbedder, texts: Sequence[str], *, asked: bool) -> Embedded:
    once = sorted(set(texts), key=len)
    windows = [some[0] for some in embedder.read(once, asked=asked)]
    model: Any = embedder._model
    prompt = model.prompts["query" if asked else "document"]
    before = len(model.tokenizer(prompt)["input_ids"]) - 1
    states = [one.tokens[before - 1 : -1].numpy() for one in windows]
    mean = np.concatenate(states).mean(axis=0)
    ids = [model.tokenizer(prompt + text)["input_ids"][before:-1] for text in once]
    centred = [(one - mean) / np.linalg.norm(one - mean, axis=1, keepdims=True) for one in states]
    return Embedded(
        {text: one.vector.numpy() for text, one in zip(once, windows, strict=True)},
        dict(zip(once, zip(ids, centred, strict=True), strict=True)),
        {text: one.tokens for text, one in zip(once, windows, strict=True)},
    )


@dataclass(frozen=True)
class Case:
    """A question, asked where its fact is stored or not, with the scores of the items that count, (items, scores)."""

    memory: Memory
    subject: str
    known: bool
    scores: np.ndarray


def cases(embedder: SentenceTransformerEmbedder) -> list[Case]:
    given = list(memories())
    made = _read("statements.json")["sentences"].values()
    facts = embedded(embedder, [fact for one in given for fact in one.facts], asked=False)
    questions = embedded(embedder, [text for one in given for text, *_ in one.asked], asked=True)
    models = late_interactions()
    statements = embedder.embed([text for sentences in made for text in sentences["facts"]])
    others = embedder.embed_queries([text for sentences in made for text in sentences["questions"]])
    seen = [set(ids) for side in (facts, questions) for ids, _ in side.tokens.values()]
    holding = Counter(id for ids in seen for id in ids)

    def rarity(ids: Sequence[int]) -> np.ndarray:
        return np.log(len(seen) / np.array([holding[id] for id in ids]))

    def scores(text: str, fact: str, cosine: float, rest: np.ndarray) -> list[float]:
        (asked, mine), (_, theirs) = questions.tokens[text], facts.tokens[fact]
        alike, rare = mine @ theirs.T, rarity(asked)
        best = alike.max(axis=1)
        unrelated, unasked = statements @ questions.vectors[text], others @ facts.vectors[fact]
        z = (cosine - unrelated.mean()) / unrelated.std()
        with torch.inference_mode():
            late = [float(model([questions.read[text]], [facts.read[fact]])) for model in models]
        return [
            cosine,
            z,
            z + (cosine - unasked.mean()) / unasked.std(),
            cosine - rest.mean(),
            np.average(best, weights=rare**2),
            np.average(best, weights=rare) + alike.max(axis=0).mean(),
            *late,
            late[-1] + COSINE * cosine,
        ]

    found = []
    for memory in given:
        stored = np.stack([facts.vectors[fact] for fact in memory.facts])
        for text, gold, subject in memory.asked:
            cosines = stored @ questions.vectors[text]
            nearest = np.argsort(-cosines)
            without = [at for at in nearest if at != gold][:NEAREST]
            for known, counting in ((True, [gold]), (False, without)):
                if known and gold not in nearest[:NEAREST]:
                    continue
                gone = [] if known else [gold]
                rows = [
                    scores(text, memory.facts[at], float(cosines[at]), np.delete(cosines, [*gone, at]))
                    for at in counting
                ]
                found.append(Case(memory, subject, known, np.array(rows)))
    return found


def late_interactions() -> tuple[LateInteraction, LateInteraction]:
    """As it begins, and trained."""
    trained = LateInteraction.load()
    projected, dimension = trained.projections[0].shape
    begun = LateInteraction(dimension, projected)
    begun.centres.copy_(trained.centres)
    return begun, trained


def joined(found: Sequence[Case]) -> list[float]:
    """The best score of each case by a logistic regression on cases of other languages and about other subjects."""
    halves = {subject: at % 2 for at, subject in enumerate(sorted({case.subject for case in found}))}
    sides = [(case.memory.language, halves[case.subject]) for case in found]
    best = [0.0] * len(found)
    for language, half in set(sides):
        apart = [spoken != language and side != half for spoken, side in sides]
        fitting = [case for case, fits in zip(found, apart, strict=True) if fits]
        rows = np.concatenate([case.scores[:, : len(SCORES)] for case in fitting])
        known = np.concatenate([np.full(len(case.scores), case.known) for case in fitting])
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        model.fit(rows, known)
        for at, side in enumerate(sides):
            if side == (language, half):
                best[at] = float(model.decision_function(found[at].scores[:, : len(SCORES)]).max())
    return best


def separation(known: np.ndarray, unknown: np.ndarray) -> str:
    area = roc_auc_score([1] * len(known) + [0] * len(unknown), np.concatenate([known, unknown]))
    bounds = [np.quantile(known, 1 - kept, method="lower") for kept in KEPT]
    return ", ".join([f"{area:.2f}", *(f"{100 * (unknown < bound).mean():.0f}" for bound in bounds)])


def _read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    found = cases(SentenceTransformerEmbedder(mini.e5_directory()))
    scores = {name: [float(case.scores[:, at].max()) for case in found] for at, name in enumerate((*SCORES, *LATE))}
    scores[JOINED] = joined(found)
    columns = {
        "conversations": [case.memory.group == "conversations" for case in found],
        **{
            language: [case.memory.group == "conversations" and case.memory.language == language for case in found]
            for language in _read("conversations.json")["languages"]
        },
        "eleven languages": [case.memory.group == "keys" for case in found],
        "notes-development": [case.memory.group == "notes" for case in found],
    }
    known = np.array([case.known for case in found])
    rows = [
        [name, *(separation(np.array(best)[known & here], np.array(best)[~known & here]) for here in columns.values())]
        for name, best in scores.items()
    ]
    counts = [f"{sum(known & here)} known, {sum(~known & here)} never said" for here in columns.values()]
    table(["area, rejected at 98%, at 95%", *columns], [["cases", *counts], *rows])


if __name__ == "__main__":
    main()
