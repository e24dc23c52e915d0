"""Which layout of texts and question the embedded model answers best from: `python benchmarks/text_prompts.py`.

Asks about made-up items of the development split, each question with the item that holds its answer, in the modes
`text` and `both` with every layout of `TEXT_PROMPTS`. The best of each mode are `DEFAULT_TEXT_PROMPTS`.
"""

from __future__ import annotations

import argparse

from comem_memory import ContinuousMemory
from comem_memory.config import Mode
from comem_memory.evaluation.question_sets import of_worlds
from comem_memory.metrics import contains
from comem_memory.model import TEXT_PROMPTS

SETS = ("worlds", "agents")
MODES: tuple[Mode, ...] = ("text", "both")
BATCH = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=40, help="questions of each set")
    parser.add_argument("--tokens", type=int, default=32, help="longest answer")
    given = parser.parse_args()
    with ContinuousMemory.from_pretrained() as memory:
        asked = []
        for name in SETS:
            questions = of_worlds(name, limit=given.limit, split="development")
            memory.add(questions.items, truncate=True)
            asked += [(one, memory.get(one.item_ids)) for one in questions.asked]
        asked.sort(key=lambda pair: len(pair[1][0].text or ""))
        print(f"Right answers of {len(asked)}: layout | {' | '.join(MODES)}", flush=True)
        for layout, template in TEXT_PROMPTS.items():
            view = ContinuousMemory(memory.encoder, memory.key, memory.store, text_prompt=template)
            counts = []
            for mode in MODES:
                right = 0
                for start in range(0, len(asked), BATCH):
                    chunk = asked[start : start + BATCH]
                    prompts = [view.prompt(one.text, None, hits, mode) for one, hits in chunk]
                    made = view.backbone.generate(*zip(*prompts, strict=True), max_new_tokens=given.tokens)
                    for (one, _), tokens in zip(chunk, made, strict=True):
                        said = view.backbone.decode(tokens)
                        right += any(contains(said, answer) for answer in one.answers)
                counts.append(str(right))
            print(f"{layout} | {' | '.join(counts)}", flush=True)


if __name__ == "__main__":
    main()
