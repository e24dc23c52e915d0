"""`comem report`: every comparison on the embedded question sets, as Markdown with plots.

A finished comparison is kept as JSON with its questions and answers; an interrupted report goes on after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter

from comem_memory.evaluation import tables
from comem_memory.evaluation.comparison import MAX_NEW_TOKENS, SOURCES, Comparison, QuestionSet, compare
from comem_memory.evaluation.first_token import Cost, first_token
from comem_memory.evaluation.plots import draw_curve
from comem_memory.evaluation.question_sets import MADE_UP, of_countries, of_flags, of_worlds
from comem_memory.files import atomic_write
from comem_memory.memory import ContinuousMemory
from comem_memory.store import PRECISIONS, Precision, encode_block

PAGE, PLOTS = "report.md", "report.png"
FACTS = (1, 2, 4, 8)
KS = (1, 3, 5, 10, 20, 50)
CURVES = ("none", "text", "memory")
"""Sources along a curve."""
PLOTTED = (*CURVES, "memory and text")
"""Sources that are drawn, where a curve has them."""
TIMED = 12
"""Questions whose first token is timed."""

Result = TypeVar("Result", Comparison, Cost)


def write_report(memory: ContinuousMemory, folder: Path, *, limit: int = 300) -> Path:
    """Runs what is missing and writes the page, its plots, and in `answers/` every question and answer.

    Args:
        memory: Receives the question sets in namespaces of its own, so best an empty, temporary one.
        folder: Made if missing.
        limit: Questions of a comparison; each point of a curve, and each kind apart, takes a third of them.

    Returns:
        The page.

    Raises:
        ImportError: Matplotlib (extra `notebooks`) or Faker (extra `train`) is not installed.
    """
    import faker  # noqa: F401  # needed hours later, so what is missing is told now
    import matplotlib.pyplot as plt

    results = _Results(folder / "answers", memory, limit)
    fewer = max(1, limit // 3)
    one_fact = partial(of_countries, num_facts=1, limit=limit)
    notes = results.compare("notes", one_fact, sources=SOURCES)
    own_item = [
        results.compare("countries", partial(of_countries, limit=limit), sources=SOURCES),
        notes,
        results.compare("worlds", partial(of_worlds, limit=limit), sources=SOURCES),
    ]
    sets = [*own_item, results.compare("flags", partial(of_flags, limit=fewer), k=1)]
    apart = [
        results.compare(f"made-up {name}", partial(of_worlds, name, limit=fewer))
        for name in MADE_UP
        if name != "worlds"
    ]
    by_facts = {n: results.compare(f"facts-{n}", partial(of_countries, num_facts=n, limit=fewer)) for n in FACTS}
    among_notes = partial(of_countries, num_facts=1, searched=True, limit=fewer)
    by_k = {k: results.compare(f"k-{k}", among_notes, k=k, sources=PLOTTED) for k in KS}
    by_precision = {
        precision: results.compare(f"stored-{precision}", one_fact, precision=precision, sources=("memory",))
        for precision in PRECISIONS
    }
    cost = results.cost()

    vectors = memory.encoder.encoder_config.qformer.num_query_tokens, memory.backbone.hidden_size
    one_item = torch.ones(vectors, dtype=torch.float32, device="cpu")
    sizes = {precision: len(encode_block(one_item, precision)) for precision in PRECISIONS}
    by_size = {sizes[p]: replace(one, scores=notes.scores | one.scores) for p, one in by_precision.items()}
    figure, (facts, found, stored) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained", sharey=True)
    facts.set(xlabel="facts in the item")
    stored.set(xlabel="characters of an item's block", xscale="log")
    found.set(xlabel="notes of one fact found by search (k)", xscale="log")
    facts.set_ylabel("answers that contain the right one")
    for axes, curve in ((facts, by_facts), (found, by_k), (stored, by_size)):
        draw_curve(axes, curve, [source for source in PLOTTED if source in next(iter(curve.values())).scores])
    stored.set_xticks(list(by_size), [f"{size:,}\n{precision}" for precision, size in sizes.items()])
    figure.legend(*found.get_legend_handles_labels(), loc="outside upper center", ncols=len(PLOTTED))
    figure.savefig(folder / PLOTS, dpi=110)
    plt.close(figure)

    parts = [
        f"# Results of {memory.backbone.name}",
        f"Made by `comem report {folder} --limit {limit}` with memory encoder `{memory.encoder.fingerprint}`. Every "
        f"source asks the same frozen model, which may say {MAX_NEW_TOKENS} tokens; no country and none of these items "
        "is in what `comem train` and `comem synthesize` make up. The command also writes every question and "
        "answer to `answers/`, beside this page.",
        f"![Right answers over facts in an item, over items found, and over bytes of a block]({PLOTS})",
    ]
    parts += [_aims(own_item, by_k, by_precision, cost).as_markdown()]
    for comparison in sets:
        parts += [f"## {comparison.name.capitalize()}", tables.scores(comparison).as_markdown()]
        parts += [tables.kinds(comparison).as_markdown(), _failures(comparison)]
        parts += [tables.lengths(comparison, partial(tables.answer_tokens, memory.backbone)).as_markdown()]
    parts += ["## Made-up items apart", _sets_table(apart).as_markdown()]
    parts += ["## Facts in an item", _curve_table(by_facts, "facts").as_markdown()]
    parts += ["## Notes found by search", _curve_table(by_k, "k").as_markdown()]
    parts += ["## Bytes of an item", _precision_table(by_precision, sizes).as_markdown()]
    parts += ["## Cost", tables.costs(cost).as_markdown()]
    (folder / PAGE).write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return folder / PAGE


@dataclass(frozen=True)
class _Results:
    """Results of one encoder, each in a file of its own as soon as it is there."""

    folder: Path
    memory: ContinuousMemory
    limit: int

    def compare(
        self,
        name: str,
        questions: Callable[[], QuestionSet],
        *,
        precision: Precision | None = None,
        sources: Sequence[str] = CURVES,
        **settings: Any,
    ) -> Comparison:
        def run() -> Comparison:
            asked = questions()
            return compare(self._view(asked, precision or self.memory.precision), asked, sources=sources, **settings)

        asked_with = {"sources": list(sources), "k": settings.get("k"), "max_new_tokens": MAX_NEW_TOKENS}
        kept = self._kept(name, run, Comparison, asked_with)
        if (now := kept.rescored()) != kept:
            self._keep(name, asked_with, now)
        return now

    def _view(self, questions: QuestionSet, precision: Precision) -> ContinuousMemory:
        """Where this set's items are kept in this precision, whichever comparison comes first."""
        return self.memory.namespace(f"{questions.name}, {precision}", precision=precision)

    def cost(self) -> Cost:
        def run() -> Cost:
            questions = of_countries(limit=TIMED)
            view = self._view(questions, self.memory.precision)
            view.add(questions.items)
            return first_token(view, questions.asked, (1, 3, 10, 50))

        return self._kept("cost", run, Cost, {})

    def _kept(self, name: str, run: Callable[[], Result], kind: type[Result], settings: Mapping[str, object]) -> Result:
        path = self.folder / f"{name}.json"
        if path.is_file() and self._made_by(settings).items() <= (kept := json.loads(path.read_bytes())).items():
            return TypeAdapter(kind).validate_python(kept["result"])
        result = run()
        self._keep(name, settings, result)
        return result

    def _keep(self, name: str, settings: Mapping[str, object], result: Comparison | Cost) -> None:
        text = json.dumps(self._made_by(settings) | {"result": result.as_dict()}, indent=1, ensure_ascii=False)
        atomic_write(self.folder / f"{name}.json", text + "\n")

    def _made_by(self, settings: Mapping[str, object]) -> dict[str, object]:
        made_by = {"key": self.memory.key.name, "text_prompts": dict(self.memory.text_prompts)}
        return {"encoder": self.memory.encoder.fingerprint.digest, "limit": self.limit, **made_by, **settings}


def _aims(
    own_item: Sequence[Comparison],
    by_k: Mapping[int, Comparison],
    by_precision: Mapping[Precision, Comparison],
    cost: Cost,
) -> tables.Grid:
    """What the method should give, after arXiv 2505.17670, beside what it gives here."""
    rows: list[tuple[str, str, bool]] = []
    for one in own_item:
        share = {source: score.contains for source, score in one.scores.items()}
        none, text, memory, shuffled = (share[source] for source in ("none", "text", "memory", "shuffled memory"))
        both = share["memory and text"] - share.get("text without picture", text)
        rows += [
            (f"{one.name}: memory 10 points above text", _points(memory - text), memory - text >= 0.1),
            (f"{one.name}: memory and text 10 points above text", _points(both), both >= 0.1),
            (f"{one.name}: memory above none", _points(memory - none), one.scores["memory"].above_none[0] > 0),
            (f"{one.name}: another item's memory no better than none", _points(shuffled - none), shuffled <= none),
        ]
    at_1, at_10 = (by_k[k].scores["memory"].contains for k in (1, 10))
    more = at_10 - by_k[10].scores["text"].contains
    rows += [
        ("10 found notes: memory within 3 points of 1", _points(at_10 - at_1), at_10 - at_1 >= -0.03),
        ("10 found notes: memory above text", _points(more), more > 0),
    ]
    fewer = cost.prompt_tokens["text"][10] / cost.prompt_tokens["memory"][10]
    faster = cost.seconds["text"][10] / cost.seconds["memory"][10]
    loss = by_precision["int8"].scores["memory"].contains - by_precision["fp32"].scores["memory"].contains
    rows += [
        ("10 items: text takes at least 10 times the tokens", f"{fewer:.1f} times", fewer >= 10),
        ("10 items: text takes at least 8 times as long to the first token", f"{faster:.1f} times", faster >= 8),
        ("int8 within 0.5 points of fp32", _points(loss), loss >= -0.005),
    ]
    table = [[aim, found, "yes" if reached else "no"] for aim, found, reached in rows]
    return tables.Grid(
        "What the method should give, and what this model and encoder give", ["", "here", "reached"], table
    )


def _points(difference: float) -> str:
    return f"{difference * 100:+.1f} points"


def _sets_table(comparisons: Sequence[Comparison]) -> tables.Grid:
    rows = [[c.name, *(f"{c.scores[source].contains:.1%}" for source in CURVES)] for c in comparisons]
    caption = f"{comparisons[0].n} questions of each kind or language: answers that contain the right one"
    return tables.Grid(caption, ["about", *CURVES], rows)


def _curve_table(curve: Mapping[int, Comparison], name: str) -> tables.Grid:
    comparisons = list(curve.values())
    found = all(comparison.k is not None for comparison in comparisons)
    rows = [
        [source, *(f"{c.scores[source].contains:.1%}, {c.scores[source].prompt_tokens:.0f}" for c in comparisons)]
        for source in comparisons[0].scores
    ]
    rows += [["right item found", *(f"{comparison.recall:.1%}" for comparison in comparisons)]] if found else []
    caption = f"{comparisons[0].n} questions at each point: answers that contain the right one, and prompt tokens"
    return tables.Grid(caption, ["with", *(f"{name} = {value}" for value in curve)], rows)


def _precision_table(curve: Mapping[Precision, Comparison], sizes: Mapping[Precision, int]) -> tables.Grid:
    rows = [
        [
            precision,
            f"{sizes[precision]:,}",
            f"{score.contains:.1%} ({score.interval[0]:.1%} to {score.interval[1]:.1%})",
        ]
        for precision, score in ((precision, comparison.scores["memory"]) for precision, comparison in curve.items())
    ]
    [n] = {comparison.n for comparison in curve.values()}
    caption = f"{n} questions on notes of one fact, memory alone: answers that contain the right one"
    return tables.Grid(caption, ["stored as", "characters of a block", "contains"], rows)


def _failures(comparison: Comparison) -> str:
    """What memory does not carry, by kind."""
    memory, none = comparison.scores["memory"].by_kind, comparison.scores["none"].by_kind
    lost = [f"{kind} ({memory[kind]:.0%}, none {none[kind]:.0%})" for kind in memory if memory[kind] <= none[kind]]
    if not lost:
        return "Memory is above none for every kind."
    return f"Memory is not above none for: {', '.join(lost)}."
