"""What an agent does next on a made-up website, with a run in memory: `python benchmarks/next_actions.py`.

Every step of the eight tasks of `comem_memory.testing.website` is asked about, with the picture of the page: once with
the run itself in memory, and once with one of the same task in other words and, in five tasks, with another value.
Another item's memory is always that of another task.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from comem_memory import ContinuousMemory
from comem_memory.evaluation.actions import Match, match
from comem_memory.evaluation.comparison import Comparison, compare
from comem_memory.evaluation.next_actions import Pair, means, next_actions, own, right_actions
from comem_memory.evaluation.plots import draw_shares
from comem_memory.evaluation.tables import Grid
from comem_memory.metrics import interval, share_interval
from comem_memory.model import TEXT_PROMPTS
from comem_memory.testing.website import TASKS, Task, steps
from comem_memory.trajectory import Step, Trajectory

SOURCES = ("text", "text without picture", "memory", "memory and text")
OTHER = {
    "3 Harbour Row": "9 Mill Lane",
    "March": "February",
    "LOOM-250": "REED-417",
    "9 o'clock": "4 o'clock",
    "violet-moth": "amber-finch",
}
"""Values of the tasks, and those of the other runs."""


def run(task: Task) -> Trajectory:
    taken = [Step(picture=picture, action=action) for picture, action in steps(task.actions)]
    return Trajectory(task=task.task, steps=taken, domain="Lantern and Loom")


def other_run(task: Task) -> Trajectory:
    """The same task in other words, with another value where it has one."""

    def changed(text: str) -> str:
        for value, other in OTHER.items():
            text = text.replace(value, other)
        return text

    actions = tuple(replace(one, label=changed(one.label), text=changed(one.text)) for one in task.actions)
    return run(replace(task, task=changed(task.reworded), actions=actions))


def matches(comparison: Comparison, pairs: list[Pair]) -> dict[str, list[Match]]:
    right = right_actions(pairs)
    return {
        source: [match(said, right[str(one.id)]) for one, said in zip(comparison.asked, score.said, strict=True)]
        for source, score in comparison.scores.items()
    }


def table(comparison: Comparison, found: dict[str, list[Match]]) -> Grid:
    def share(right: list[bool]) -> str:
        low, high = share_interval(right)
        return f"{sum(right) / len(right):.1%} ({low:.1%} to {high:.1%})"

    rows = []
    for source, all in found.items():
        low, high = interval([float(one.step) - float(bare.step) for one, bare in zip(all, found["none"], strict=True)])
        rows.append(
            [
                source,
                share([one.element for one in all]),
                f"{means(all)['operation F1']:.1%}",
                share([one.step for one in all]),
                "" if source == "none" else f"{low * 100:+.1f} to {high * 100:+.1f}",
                f"{comparison.scores[source].prompt_tokens:.0f}",
            ]
        )
    return Grid(
        f"{comparison.name}: {comparison.n} questions; 95% bootstrap intervals",
        ["with", "element accuracy", "operation F1", "step success", "points above none", "prompt tokens"],
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="questions of each of the two sets; by default every step")
    parser.add_argument("--model", help="base model; by default the embedded one")
    parser.add_argument("--adapter", help="its memory encoder")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES, help="what is given, beside none")
    parser.add_argument("--layout", choices=TEXT_PROMPTS, help="of text and question; by default that of each mode")
    parser.add_argument("--plot", type=Path, help="a PNG file for the plot")
    given = parser.parse_args()
    runs = [run(task) for task in TASKS]
    sets = {
        "the run itself in memory": own(runs),
        "another run of the task in memory": list(zip(runs, map(other_run, TASKS), strict=True)),
    }
    successes = {}
    with (
        TemporaryDirectory() as folder,
        ContinuousMemory.from_pretrained(
            given.model, given.adapter, persist_directory=folder, text_prompt=TEXT_PROMPTS.get(given.layout)
        ) as memory,
    ):
        for name, pairs in sets.items():
            view = memory.namespace(name)
            asked = next_actions(name, pairs, limit=given.limit)
            comparison = compare(view, asked, sources=given.sources)
            found = matches(comparison, pairs)
            successes[name] = {source: [one.step for one in all] for source, all in found.items()}
            hits = view.get([str(item.id) for item in asked.items])
            kept = [len(hit.content or ()) - len(hit.left_out) for hit in hits]
            parts = sum(len(hit.content or ()) for hit in hits)
            print(f"{table(comparison, found).as_markdown()}\n\nIn the vectors: {sum(kept)} of {parts} parts.\n")
            for source, score in comparison.scores.items():
                said = "; ".join(repr(answer.splitlines()[0] if answer else "") for answer in score.said[:3])
                print(f"- {source}: {said}")
            print(flush=True)
    if given.plot is not None:
        draw_shares(given.plot, successes, "step success")


if __name__ == "__main__":
    main()
