"""Which layout of texts and question the embedded model answers best from: `python benchmarks/text_prompts.py`.

Asks about made-up items of the development split, each question with the item that holds its answer, in the modes
`text` and `both` with every layout of `TEXT_PROMPTS`: half of the items are notes of one fact, half have several. The
best of each mode are `DEFAULT_TEXT_PROMPTS`.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.config import Mode
from comem_memory.metrics import contains
from comem_memory.model import TEXT_PROMPTS
from comem_memory.synthesis.groups import Mixture, Task, group

MODES: tuple[Mode, ...] = ("text", "both")
BATCH = 20


def questions(max_facts: int | None, pictured: float) -> Iterator[tuple[MemoryItem, Task]]:
    """Made-up items of the development split, each with one question about a fact of it."""
    mixture = Mixture(
        agents=0.5, translated=0.0, languages=("english",), pictured=pictured, without_text=0.0, max_facts=max_facts
    )
    for number in itertools.count():
        drawn = group(0, "development", number, mixture)
        for position, item in enumerate(drawn.items):
            asked = [task for task in drawn.tasks if task.about == position and task.kind == "fact"]
            if asked:
                id = f"{max_facts}-{number}-{position}"
                yield MemoryItem(id=id, text=item.text, image=item.picture()), asked[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=100, help="questions about each kind of item")
    parser.add_argument("--tokens", type=int, default=32, help="longest answer")
    parser.add_argument("--layouts", nargs="+", default=list(TEXT_PROMPTS), choices=list(TEXT_PROMPTS))
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--pictures", action="store_true", help="every item has a picture too, of two shapes")
    given = parser.parse_args()
    with ContinuousMemory.from_pretrained() as memory:
        kinds = {"notes of one fact": 1, "items of several": None}
        print(f"Right answers of {given.limit} | {' | '.join(f'{m}, {kind}' for m in given.modes for kind in kinds)}")
        sets = []
        for max_facts in kinds.values():
            drawn = list(itertools.islice(questions(max_facts, float(given.pictures)), given.limit))
            memory.add([item for item, _ in drawn], truncate=True)
            drawn.sort(key=lambda pair: len(pair[0].text or ""))
            sets.append([(task, memory.get(str(item.id))) for item, task in drawn])
        for layout in given.layouts:
            view = ContinuousMemory(memory.encoder, memory.key, memory.store, text_prompt=TEXT_PROMPTS[layout])
            counts = []
            for mode, asked in itertools.product(given.modes, sets):
                right = 0
                for chunk in (asked[start : start + BATCH] for start in range(0, len(asked), BATCH)):
                    prompts = [view.prompt(task.question, None, hits, mode) for task, hits in chunk]
                    made = view.backbone.generate(*zip(*prompts, strict=True), max_new_tokens=given.tokens)
                    for (task, _), tokens in zip(chunk, made, strict=True):
                        said = view.backbone.decode(tokens)
                        right += any(contains(said, answer) for answer in task.right)
                counts.append(str(right))
            print(f"{layout} | {' | '.join(counts)}", flush=True)


if __name__ == "__main__":
    main()
