"""What the vectors of private notes say word for word: `python benchmarks/restated.py`; another adapter with --adapter.

Each of the 100 notes of `comem evaluate --questions notes` is stored alone and restated from its vectors
(`ContinuousMemory.describe`). Prints, by the length of the note in tokens, how many come back with the same words in
the same order (case and punctuation aside), what share of words (F1), and the F1 with the next note as the control.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from comem_memory import ContinuousMemory
from comem_memory.evaluation.question_sets import question_set
from comem_memory.metrics import exact_match, share_interval, token_f1
from comem_memory.progress import tracked

LENGTHS = ((1, 12), (13, 16), (17, 24), (25, 512))
"""Tokens of a note, from and to."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--questions", default="notes", choices=("notes", "notes-development"))
    options = parser.parse_args()
    texts = [str(item.text) for item in question_set(options.questions).items]
    with (
        tempfile.TemporaryDirectory() as folder,
        ContinuousMemory.from_pretrained(adapter=options.adapter, persist_directory=folder) as memory,
    ):
        ids = memory.add(texts)
        said = [memory.describe(id, max_new_tokens=64).restated for id in tracked(ids, "restating", unit="note")]
        tokens = [len(memory.backbone.prompts.text_ids(text)) for text in texts]
    print("| tokens of the note | notes | the same words | F1 of words | with the next note |\n|---|---|---|---|---|")
    for first, last in ((1, 16), *LENGTHS, (1, 512)):
        some = [i for i, n in enumerate(tokens) if first <= n <= last]
        if not some:
            continue
        same = [bool(exact_match(said[i], texts[i])) for i in some]
        low, high = share_interval(same)
        own = statistics.mean(token_f1(said[i], texts[i]) for i in some)
        other = statistics.mean(token_f1(said[i], texts[(i + 1) % len(texts)]) for i in some)
        share = f"{statistics.mean(same):.0%} ({low:.0%} to {high:.0%})"
        print(f"| {first} to {last} | {len(some)} | {share} | {own:.2f} | {other:.2f} |")


if __name__ == "__main__":
    main()
