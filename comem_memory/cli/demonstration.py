"""`comem demo`: private facts and pictures into memory, then questions that no model can answer without."""

from __future__ import annotations

import json
import time
from collections import Counter
from functools import cache
from pathlib import Path

from rich.console import Console

from comem_memory import mini
from comem_memory.config import Mode
from comem_memory.files import read_items
from comem_memory.memory import ContinuousMemory
from comem_memory.metrics import contains
from comem_memory.types import MemoryHit

FOLDER = Path(__file__).parent.parent / "data" / "demo"
MODES: tuple[Mode, ...] = ("none", "text", "memory", "both")
MAX_NEW_TOKENS = 24
ROW = "  {:<8}{:<7}{:>6}{:>13}   {}"
"""Mode, whether it is right, tokens of the prompt, time to the first token of the answer, and the answer."""


@cache
def questions() -> list[dict[str, str]]:
    """What is asked: `question`, `answer` and, for some, the file of an `image`."""
    return [json.loads(line) for line in (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()]


def run(memory: ContinuousMemory, console: Console) -> None:
    """Stores the facts in a memory, asks `questions` in every mode as they come, and sums up what was right."""
    items = list(read_items(str(FOLDER / "items.jsonl")))
    before = memory.count()
    start = time.perf_counter()
    memory.add(items)
    pictures = sum(item.image is not None for item in items)
    console.print(
        f"{len(items)} private facts, {pictures} with a picture, are stored after {time.perf_counter() - start:.0f} s"
        f"{', encoded before and not again' if before else ''}. No model can know them: they are invented."
    )
    asked = questions()
    warm_up(memory, asked[0]["question"])
    right = Counter[Mode]()
    for one in asked:
        image = FOLDER / one["image"] if "image" in one else None
        right.update(show_answers(memory, console, one["question"], image, one["answer"]))
    console.print(
        f"\nOf {len(asked)} questions right: {right['none']} with nothing, {right['text']} with the recalled text in "
        f"the prompt, {right['memory']} with its vectors alone, {right['both']} with both."
    )
    if memory.backbone.name == mini.NAME:
        console.print(
            "(The vectors of this embedded model, of 138M parameters, hold a short note and not a long one, so it "
            "answers with both unless told otherwise; an adapter for a larger model is trained with comem train.)"
        )


def warm_up(memory: ContinuousMemory, question: str) -> None:
    """Loads all that an answer needs, so that the first one that is timed takes as long as the others."""
    prompt, vectors, _ = memory.prepare(question, k=1, mode="both")
    next(memory.backbone.stream(prompt, vectors, max_new_tokens=1), "")


def show_answers(
    memory: ContinuousMemory, console: Console, question: str, image: Path | None, right: str
) -> list[Mode]:
    """Asks a question in every mode, prints each answer with its cost, and returns the modes that had it right."""
    console.print(f"\n{question}" + (f" (with the picture {image.name})" if image else ""))
    console.print(ROW.format("with", "right", "tokens", "first token", "answer"))
    console.print(ROW.format("", "", "", "", f"{right}    <- the right answer"))
    hits: list[MemoryHit] = []
    contained: list[Mode] = []
    for mode in MODES:
        start = time.perf_counter()
        prompt, vectors, hits = memory.prepare(question, image, k=1, mode=mode)
        pieces = memory.backbone.stream(prompt, vectors, max_new_tokens=MAX_NEW_TOKENS)
        first = next(pieces, "")
        waited = time.perf_counter() - start
        answer = " ".join((first + "".join(pieces)).split())
        if contains(answer, right):
            contained.append(mode)
        mark, tokens = "yes" if mode in contained else "no", memory.backbone.prompt_length(prompt, vectors)
        console.print(ROW.format(mode, mark, tokens, f"{waited * 1000:.0f} ms", answer))
    console.print(f"  recalled: {'; '.join(hit.text or hit.id for hit in hits) or 'nothing'}")
    return contained
