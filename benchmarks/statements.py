"""The linear functions that tell what a user states: `python benchmarks/statements.py FILE`.

Fits two functions of multilingual-e5-small's vectors of questions on the made-up sentences of `statements.json`:
`statement` tells what states something from questions without a mark, small talk and requests, with the facts of
`answers.json` and its questions, whose marks are taken off, besides; `change` tells what says that something has
changed, with the corrections of `conversations.json` besides. Prints how well they do on each language when fitted on
the others, how `statement` does on `conversations.json` and `retrieval_keys.json`, on which it is not fitted, and how
often a correction then takes the right item's place; writes both, fitted on all languages (the file in
`comem_memory/data`).
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import late_interaction
import numpy as np
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from comem_memory import mini
from comem_memory.integrations.keeping import SAME_THING, _above, _common, _has_frame, _words
from comem_memory.retrieval import SentenceTransformerEmbedder

SENTENCES = Path(__file__).with_suffix(".json")
CONVERSATIONS = SENTENCES.with_name("conversations.json")
KEYS = SENTENCES.with_name("retrieval_keys.json")
ANSWERS = SENTENCES.with_name("answers.json")
STRENGTH = 30.0
"""Inverse of the regularisation; 3 to 100 differ by a point."""
LEANS = {"statement": float(np.log(3)), "change": 0.0}
"""Added to the constants: a fact that is lost costs three times as much as something else that is kept."""
ASKED_WEIGHT = 0.3
"""Of a fact or question of `answers.json`: there is no small talk among them, which they would outnumber."""
MARKS = "?\u00bf\u061f\uff1f"
ENDS = MARKS + " .!\u0964\u3002\uff01"
SAME_CHANGE = 0.8
"""Cosine of two items of which a correction may replace either: they tell the same."""

Row = tuple[str, str, str]
"""Language, kind, sentence."""
Changes = dict[str, list[list[str]]]
"""By language: what is told, the same in other words, a correction, and the new value told as if it were the first."""


def said_in_conversations(spoken: dict[str, Any]) -> Changes:
    changes: Changes = {}
    for language, said in spoken["languages"].items():
        for name, topic in said["topics"].items():
            old, new = spoken["values"][name][:2]
            fourfold = [("tell", old), ("again", old), ("correct", new), ("tell", new)]
            changes.setdefault(language, []).append([topic[kind].format(v=v).strip(".\u3002") for kind, v in fourfold])
    return changes


def rows(made: dict[str, Any], spoken: Changes) -> tuple[list[Row], list[Row]]:
    """Sentences by whether they state something, and statements by whether they say that something changed."""
    kinds: list[Row] = []
    changes: list[Row] = []
    for language, sentences in made["sentences"].items():
        for kind, texts in sentences.items():
            ends = ("",) if kind == "questions" else ("", ".")
            kinds += [(language, kind, text + end) for text in texts for end in ends]
    for language, fourfolds in made["changes"].items():
        for told, other_words, corrected, contradicted in fourfolds:
            kinds += [(language, "facts", text) for text in (told, other_words, corrected, contradicted)]
        for told, other_words, corrected, contradicted in [*fourfolds, *spoken.get(language, [])]:
            for end in ("", "."):
                changes += [(language, "change", corrected + end), (language, "fact", told + end)]
            changes += [(language, "fact", other_words), (language, "fact", contradicted)]
        changes += [(language, "fact", text) for text in made["sentences"][language]["facts"]]
    return kinds, changes


def without_marks(text: str) -> str:
    return re.sub(f"[{MARKS}]", "", text).strip(ENDS)


def asked_and_told() -> list[Row]:
    """The facts of `answers.json`, and those of its questions that have a mark, without it."""
    texts: list[Row] = []
    languages = json.loads(ANSWERS.read_text(encoding="utf-8"))["languages"]
    for language, facts in zip(languages, late_interaction.told(), strict=True):
        for fact, questions in (one for variants in facts for one in variants):
            texts.append((language, "facts of answers.json", fact.strip(ENDS)))
            marked = [one for one in questions if re.search(f"[{MARKS}]", one)]
            texts += [(language, "questions of answers.json", without_marks(one)) for one in marked]
    return list(dict.fromkeys(texts))


def not_fitted_on(spoken: dict[str, Any], asked: dict[str, Any]) -> list[Row]:
    """Sentences of conversations, and facts with their questions, all without marks."""
    texts: list[Row] = []
    for language, said in spoken["languages"].items():
        for name, topic in said["topics"].items():
            values = spoken["values"][name]
            told = [topic[kind].format(v=values[0]) for kind in ("tell", "again", "correct")]
            texts += [(language, "facts", text.strip(ENDS)) for text in told]
            texts += [(language, "questions", without_marks(text)) for text in [*topic["asks"], topic["time"]]]
            texts.append((language, "forget", topic["forget"].strip(ENDS)))
        for name, kind in (("statements", "facts"), ("small_talk", "small_talk"), ("requests", "requests")):
            texts += [(language, kind, text.strip(ENDS)) for text in said[name]]
    for language, pairs in asked["languages"].items():
        for fact, question in pairs:
            texts.append((language, "facts of retrieval_keys.json", fact.strip(ENDS)))
            texts.append((language, "questions of retrieval_keys.json", without_marks(question)))
    return texts


def fit(vectors: np.ndarray, positive: np.ndarray, lean: float, counting: np.ndarray) -> np.ndarray:
    """Vectors (n, D), which are positive (n,), how much each counts (n,) -> (D + 1,): weights, and the constant."""
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=3000)
    model.fit(vectors, positive, sample_weight=counting)
    return np.append(model.coef_[0], model.intercept_[0] + lean).astype(np.float32)


def left_out(
    all_rows: list[Row], vectors: np.ndarray, positive: np.ndarray, lean: float, counting: np.ndarray
) -> dict[str, float]:
    """Share of each kind that is told right in a language that was not fitted on."""
    languages = np.array([language for language, *_ in all_rows])
    right = np.zeros(len(all_rows), dtype=bool)
    for language in set(languages):
        others, these = languages != language, languages == language
        function = fit(vectors[others], positive[others], lean, counting[others])
        right[these] = np.array(_above(function, vectors[these])) == positive[these]
    return shares(all_rows, right)


def shares(some: list[Row], right: np.ndarray) -> dict[str, float]:
    """Of each kind, how many are told right."""
    kinds = np.array([kind for _, kind, _ in some])
    return {kind: round(float(right[kinds == kind].mean()), 3) for kind in dict.fromkeys(kinds.tolist())}


def corrections(made: dict[str, Any], spoken: Changes, embedder: SentenceTransformerEmbedder) -> dict[str, int]:
    """Whose place corrections take, among the other facts of their language, with the corrected one and without."""
    counts = Counter[str]()
    for language, fourfolds in made["changes"].items():
        fourfold = [*fourfolds, *spoken.get(language, [])]
        olds = [told for told, *_ in fourfold]
        pool = list(dict.fromkeys([*olds, *made["sentences"][language]["facts"]]))
        stored = dict(zip(pool, embedder.embed(pool), strict=True))
        for told, _, corrected, _ in fourfold:
            [new] = embedder.embed([corrected])
            same = {text for text in pool if float(stored[text] @ stored[told]) > SAME_CHANGE}
            for there in (True, False):
                framed = [text for text in pool if _has_frame(_words(text), _words(corrected))]
                near = [(float(new @ stored[text]), text) for text in framed if there or text not in same]
                alike, text = max(near, default=(0.0, ""))
                found = alike >= SAME_THING
                name = "right" if text in same else "another's"
                counts[f"corrected item {'stored' if there else 'not stored'}: {name if found else 'none'}"] += 1
    for old, new in made["both_hold"]:
        counts["both hold: one has all words of the other"] += _common(_words(old), _words(new)) == len(_words(old))
    return dict(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    files = SENTENCES, CONVERSATIONS, KEYS
    made, conversations, keys = (json.loads(one.read_text(encoding="utf-8")) for one in files)
    spoken = said_in_conversations(conversations)
    embedder = SentenceTransformerEmbedder(mini.e5_directory())

    def read(some: list[Row]) -> np.ndarray:
        return embedder.embed_queries([text for *_, text in some])

    (kinds, changes), asked = rows(made, spoken), asked_and_told()
    functions = {}
    for name, some, wanted, weights in (
        ("statement", kinds + asked, "facts", [1.0] * len(kinds) + [ASKED_WEIGHT] * len(asked)),
        ("change", changes, "change", [1.0] * len(changes)),
    ):
        vectors, counting = read(some), np.array(weights)
        positive, lean = np.array([kind.startswith(wanted) for _, kind, _ in some]), LEANS[name]
        right = left_out(some, vectors, positive, lean, counting)
        print(f"{name}, told right in a language that was left out: {right}")
        functions[name] = fit(vectors, positive, lean, counting)
    unseen = not_fitted_on(conversations, keys)
    stating = np.array([kind.startswith("facts") for _, kind, _ in unseen])
    right = shares(unseen, np.array(_above(functions["statement"], read(unseen))) == stating)
    print(f"statement, told right of sentences that were not fitted on: {right}")
    print(corrections(made, spoken, embedder))
    save_file(functions, file, {"embedder": embedder.name})


if __name__ == "__main__":
    main()
