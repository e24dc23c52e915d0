"""`comem demo --countries`: notes about real countries into memory, found by a flag, asked about."""

from __future__ import annotations

import time

from rich.console import Console

from comem_memory.cli.demonstration import show_answers
from comem_memory.memory import ContinuousMemory
from comem_memory.synthesis.countries import FOLDER, find_by_flag, notes, rows

ASKED = (
    ("What is the currency of Iceland?", None, "Icelandic króna"),
    ("In which part of the world is Kiribati?", None, "Micronesia"),
    ("What language do people in Brazil speak?", None, "Portuguese"),
    ("Which city is the capital of Latvia?", None, "Riga"),
    ("In which part of the world is this country?", "JP", "Eastern Asia"),
    ("Which country has this flag?", "CH", "Switzerland"),
)
"""Questions, whose waving flag goes with them, and the right answers."""


KINDS = ("region", "capital", "currency", "language", "people")
"""What the notes of a country tell, one each."""


def run(memory: ContinuousMemory, console: Console) -> None:
    """Stores the notes in a memory, finds each by its flag, asks `ASKED` in every mode, and prints the answers."""
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
    for question, flag, right in ASKED:
        image = None if flag is None else FOLDER / "flags_waving" / f"{flag}.png"
        show_answers(memory, console, question, image, right)
