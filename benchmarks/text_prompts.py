"""Which layout of texts and question the embedded model answers best from: `python benchmarks/text_prompts.py`.

Asks about made-up items of the development split, each question with the item that holds its answer, in the modes
`text` and `both` with every layout of `TEXT_PROMPTS`. The best of each mode are `DEFAULT_TEXT_PROMPTS`.
"""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from comem_memory import ContinuousMemory
from comem_memory.evaluation.comparison import compare
from comem_memory.evaluation.question_sets import of_worlds
from comem_memory.model.text_prompts import TEXT_PROMPTS

SETS = ("worlds", "agents")
SOURCES = ("text", "memory and text", "shuffled memory and text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=64, help="questions of each set")
    given = parser.parse_args()
    table = Table("layout", *(f"{source}: {name}" for source in SOURCES for name in SETS))
    with ContinuousMemory.from_pretrained() as plain:
        for layout, template in TEXT_PROMPTS.items():
            shares = {}
            for name in SETS:
                memory = ContinuousMemory(plain.encoder, plain.key, plain.store, namespace=name, text_prompt=template)
                questions = of_worlds(name, limit=given.limit, split="development")
                scores = compare(memory, questions, sources=SOURCES).scores
                shares |= {(source, name): f"{scores[source].contains:.0%}" for source in SOURCES}
            row = [layout, *(shares[source, name] for source in SOURCES for name in SETS)]
            print(*row, sep=" | ", flush=True)
            table.add_row(*row)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
