"""How many vectors an item needs, and how many training samples: `python benchmarks/ablation.py runs/ablation`.

Trains encoders of the embedded model side by side on made-up notes of one or two facts, and asks each about real
countries. Run it again to resume. The page and its plot are written to `docs/results/`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from pydantic import TypeAdapter

from comem_memory import Backbone, ContinuousMemory, MemoryEncoder, mini
from comem_memory.evaluation.comparison import Comparison, compare
from comem_memory.evaluation.plots import draw_curve
from comem_memory.evaluation.question_sets import of_countries
from comem_memory.evaluation.tables import Grid, answer_tokens, lengths
from comem_memory.files import atomic_write
from comem_memory.opening import load_backbone
from comem_memory.training import TrainingRecipe, training_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VECTORS = (1, 2, 4, 8, 16)
SAMPLES = (1_000, 4_000, 15_600)
MAX_FACTS = 2
SOURCES = ("none", "memory", "shuffled memory")
INTRODUCTION = (
    "A sample is a question with its answer. Every encoder is trained with its own schedule on notes of one or two "
    "made-up facts; no country is among them. Asked are notes of one fact about real countries."
)
ABOUT = {
    "vectors": "Each goes on from the shipped encoder, `{shipped}`, whose 8 query tokens are interpolated to so "
    "many; so 8 has the advantage of its longer training.",
    "samples": "Each is trained from the start: 100 steps of warm start without the answering model, then these.",
}
DOCS = Path(__file__).parent.parent / "docs" / "results"
PAGE, PLOT = "ablation.md", "ablation.png"


@dataclass(frozen=True)
class Trained:
    """An encoder, trained for so many steps."""

    folder: Path
    steps: int
    how: Sequence[str]
    """Options of `comem train`."""
    limit: int
    """Questions."""

    def run(self) -> None:
        """Trains and evaluates what is not there yet."""
        if not (self.folder / "config.json").is_file():
            words = ("train", self.folder, "--steps", self.steps, "--max-facts", MAX_FACTS, "--no-pictures", *self.how)
            subprocess.run([Path(sys.executable).with_name("comem"), *map(str, words)], check=True)
        if not self.answers.is_file():
            with ContinuousMemory.from_pretrained(adapter=self.folder) as memory:
                comparison = compare(memory, of_countries(num_facts=1, limit=self.limit), sources=SOURCES)
            atomic_write(self.answers, json.dumps(comparison.as_dict()))

    @property
    def answers(self) -> Path:
        return self.folder / f"notes-{self.limit}.json"

    @property
    def comparison(self) -> Comparison:
        return TypeAdapter(Comparison).validate_json(self.answers.read_bytes())

    @property
    def losses(self) -> dict[str, float]:
        """Of unseen made-up notes at the end: with their own memory, and with another note's."""
        [state] = self.folder.glob(f"checkpoint-{self.steps}/trainer_state.json")
        last = [entry for entry in json.loads(state.read_bytes())["log_history"] if "eval_loss" in entry][-1]
        return {"own": last["eval_loss"], "shuffled": last["eval_shuffled_loss"]}


def steps_of(samples: int, backbone: Backbone) -> int:
    """After how many steps of the recipe so many questions were asked."""
    batches = training_data(backbone, TrainingRecipe(steps=samples, max_facts=MAX_FACTS, pictures=False)).train
    asked = itertools.accumulate(len(batches[i]["asked"]) for i in range(samples))
    return 1 + sum(1 for _ in itertools.takewhile(lambda so_far: so_far < samples, asked))


def table(curve: dict[int, Trained], name: str) -> Grid:
    header = [name, "steps", "loss, own memory", "loss, another's", "memory", "another's memory", "none"]
    rows = []
    for value, trained in curve.items():
        scores, losses = trained.comparison.scores, trained.losses
        low, high = scores["memory"].interval
        row = [f"{value:,}", str(trained.steps), f"{losses['own']:.2f}", f"{losses['shuffled']:.2f}"]
        row += [f"{scores['memory'].contains:.0%} ({low:.0%} to {high:.0%})"]
        rows.append(row + [f"{scores[source].contains:.0%}" for source in ("shuffled memory", "none")])
    return Grid("Losses on unseen made-up notes; shares of answers about countries that are right", header, rows)


def by_length(curve: dict[int, Trained], name: str, backbone: Backbone) -> Grid:
    grids = {n: lengths(one.comparison, partial(answer_tokens, backbone)) for n, one in curve.items()}
    rows = [
        [f"{value:,}", *cells] for value, grid in grids.items() for source, *cells in grid.rows if source == "memory"
    ]
    return Grid("Memory alone, by the tokens of the right answer", [name, *next(iter(grids.values())).header[1:]], rows)


def draw(loss: Axes, right: Axes, curve: dict[int, Trained], name: str) -> None:
    values, all_trained = list(curve), list(curve.values())
    for axes, what in ((loss, "loss on unseen made-up notes"), (right, "answers about countries that are right")):
        axes.set(xlabel=name, ylabel=what, xscale="log")
    loss.plot(values, [trained.losses["own"] for trained in all_trained], marker="o", label="own memory")
    loss.plot(values, [trained.losses["shuffled"] for trained in all_trained], marker="o", label="another's memory")
    answered = {value: trained.comparison for value, trained in curve.items()}
    draw_curve(right, answered, SOURCES)
    loss.set_ylim(bottom=0)
    loss.legend()
    right.legend()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the encoders; 150 MB each")
    parser.add_argument("--vectors", nargs="+", type=int, default=VECTORS)
    parser.add_argument("--samples", nargs="+", type=int, default=SAMPLES)
    parser.add_argument("--samples-of-vectors", type=int, default=1_000, help="with which each number is trained on")
    parser.add_argument("--limit", type=int, default=100, help="questions")
    given = parser.parse_args()
    backbone = load_backbone()
    start = MemoryEncoder.from_pretrained(mini.ADAPTER, backbone).fingerprint

    def trained(name: str, samples: int, *how: str) -> Trained:
        one = Trained(given.folder / f"{name}-{samples}", steps_of(samples, backbone), how, given.limit)
        one.run()
        return one

    shipped = ("--start", str(mini.ADAPTER), "--seed", "8")
    curves = {
        "vectors": {
            n: trained(f"vectors-{n}", given.samples_of_vectors, "--vectors", str(n), *shipped) for n in given.vectors
        },
        "samples": {n: trained("samples", n, "--warm-start-steps", "100") for n in given.samples},
    }
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained", sharex="row")
    parts = [
        f"# Vectors and samples\n\nMade by `{' '.join(['python', *sys.argv])}`. {INTRODUCTION}",
        f"![Curves]({PLOT})",
    ]
    for (loss, right), (name, curve) in zip(axes, curves.items(), strict=True):
        draw(loss, right, curve, name)
        parts += [f"## {name.capitalize()}", ABOUT[name].format(shipped=start)]
        parts += [table(curve, name).as_markdown(), by_length(curve, name, backbone).as_markdown()]
    figure.savefig(DOCS / PLOT, dpi=110)
    (DOCS / PAGE).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
