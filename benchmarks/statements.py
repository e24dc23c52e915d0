"""The linear functions that tell what a user states: `python benchmarks/statements.py FILE`.

Fits two functions of multilingual-e5-small's vectors of questions on the made-up sentences of `statements.json`:
`statement` tells what states something from questions without a mark, small talk and requests; `change` tells what says
that something has changed, with the corrections of `conversations.json` besides. Prints how well they do on each
language when fitted on the others, and how often a correction then takes the right item's place; writes both, fitted on
all languages (the file in `comem_memory/data`).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from comem_memory import mini
from comem_memory.integrations.keeping import SAME_THING, _common, _has_frame, _words
from comem_memory.retrieval import SentenceTransformerEmbedder

SENTENCES = Path(__file__).with_suffix(".json")
CONVERSATIONS = SENTENCES.with_name("conversations.json")
STRENGTH = 30.0
"""Inverse of the regularisation; 3 to 100 differ by a point."""
LEANS = {"statement": float(np.log(2)), "change": 0.0}
"""Added to the constants: a fact that is lost costs twice as much as something else that is kept."""
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


def fit(vectors: np.ndarray, positive: np.ndarray, lean: float) -> np.ndarray:
    """(n, D) and (n,) -> (D + 1,): weights, and the constant."""
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=3000).fit(vectors, positive)
    return np.append(model.coef_[0], model.intercept_[0] + lean).astype(np.float32)


def left_out(all_rows: list[Row], vectors: np.ndarray, positive: np.ndarray, lean: float) -> dict[str, float]:
    """Share of each kind that is told right in a language that was not fitted on."""
    languages = np.array([language for language, *_ in all_rows])
    right, total = Counter[str](), Counter[str]()
    for language in set(languages):
        function = fit(vectors[languages != language], positive[languages != language], lean)
        for at in np.flatnonzero(languages == language):
            kind = all_rows[at][1]
            total[kind] += 1
            right[kind] += bool(vectors[at] @ function[:-1] + function[-1] > 0) == positive[at]
    return {kind: round(right[kind] / total[kind], 3) for kind in total}


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
    made = json.loads(SENTENCES.read_text(encoding="utf-8"))
    spoken = said_in_conversations(json.loads(CONVERSATIONS.read_text(encoding="utf-8")))
    embedder = SentenceTransformerEmbedder(mini.e5_directory())
    functions = {}
    for name, some, wanted in zip(("statement", "change"), rows(made, spoken), ("facts", "change"), strict=True):
        vectors = embedder.embed_queries([text for *_, text in some])
        positive, lean = np.array([kind == wanted for _, kind, _ in some]), LEANS[name]
        print(f"{name}, told right in a language that was left out: {left_out(some, vectors, positive, lean)}")
        functions[name] = fit(vectors, positive, lean)
    print(corrections(made, spoken, embedder))
    save_file(functions, file, {"embedder": embedder.name})


if __name__ == "__main__":
    main()
