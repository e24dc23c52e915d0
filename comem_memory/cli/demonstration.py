"""`comem demo`: notes about real countries into memory, questions by text and by flag, answers side by side."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Column, Table

from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.synthesis.countries import FOLDER, find_by_flag, notes, rows

ASKED = (
    ("What is the currency of Iceland?", None),
    ("In which part of the world is Kiribati?", None),
    ("What language do people in Brazil speak?", None),
    ("Which city is the capital of Latvia?", None),
    ("In which part of the world is this country?", "JP"),
    ("Which country has this flag?", "CH"),
)
"""Questions, and whose waving flag goes with them."""


KINDS = ("region", "capital", "currency", "language", "people")
"""What the notes of a country tell, one each."""


def run(memory: ContinuousMemory, console: Console) -> None:
    """Stores the notes in a memory, asks `ASKED` in every mode, and prints the answers with their cost."""
    backbone = memory.backbone
    console.print(f"{memory.encoder.num_parameters()}; the base model stays frozen.")
    start = time.perf_counter()
    ids = memory.add([note for row in rows() for note in notes(row, KINDS)])
    console.print(
        f"{memory.count()} notes about {len(rows())} countries, one with its flag each, are stored after "
        f"{time.perf_counter() - start:.0f} s, each as {tuple(memory.get(ids[0])[0].memory_embeddings.shape)} vectors "
        "(notes already there are not encoded again)."
    )
    recall = find_by_flag(memory)
    console.print(
        "Asking with another artist's waving flag finds the country: "
        + ", ".join(f"recall@{k} {share:.2f}" for k, share in recall.items())
    )
    modes: tuple[Mode, ...] = ("none", "text", "memory", "both")
    for question, flag in ASKED:
        image = None if flag is None else FOLDER / "flags_waving" / f"{flag}.png"
        console.print(f"\n{question}" + (f" (with the waving flag {flag}.png)" if flag else ""))
        table = Table("mode", Column("answer", ratio=1), "recalled", "tokens", "first token", expand=True)
        for mode in modes:
            start = time.perf_counter()
            prompt, vectors, hits = memory.prepare(question, image, k=1, mode=mode)
            pieces = backbone.stream(prompt, vectors, max_new_tokens=24)
            first = next(pieces, "")
            waited = time.perf_counter() - start
            answer = (first + "".join(pieces)).strip()
            names = ", ".join(str(hit.metadata["name"]) for hit in hits)
            table.add_row(mode, answer, names, str(backbone.prompt_length(prompt, vectors)), f"{waited * 1000:.0f} ms")
        console.print(table)
