"""Benchmarks of the CoMEM paper (arXiv 2505.17670) and of text memory, read from the files they are published as.

Nothing is downloaded: each module's docstring says where its format and rule are described, and its errors what the
folder should hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from comem_memory.errors import BenchmarkError
from comem_memory.evaluation.benchmarks import (
    a_okvqa,
    cvqa,
    infoseek,
    locomo,
    mrag_bench,
    ok_vqa,
    oven,
    squad,
    viquae,
    wikipedia,
)
from comem_memory.evaluation.benchmarks.question import BenchmarkQuestion, Predictions
from comem_memory.types import MemoryItem

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkQuestion", "Predictions", "items", "load"]


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark is read and scored; folder and split are the first two arguments of either reader."""

    questions: Callable[[Path, str], Iterator[BenchmarkQuestion]]
    score: Callable[[Iterable[BenchmarkQuestion], Predictions], dict[str, float]]
    """Shares, 0 to 1."""
    items: Callable[[Path, str], Iterator[MemoryItem]] | None = None
    """`None` where the benchmark publishes no knowledge."""
    option: str = "({letter}) {text}"
    """How an option is shown, so that the rule reads an answer that repeats it."""
    scores_text: bool = True
    """Whether the rule scores what a model says; OVEN's scores Wikidata ids."""


BENCHMARKS = {
    "infoseek": Benchmark(infoseek.questions, infoseek.score, wikipedia.items),
    "multilingual-infoseek": Benchmark(infoseek.questions, infoseek.score, wikipedia.items),
    "oven": Benchmark(oven.questions, oven.score, wikipedia.items, scores_text=False),
    "mrag-bench": Benchmark(mrag_bench.questions, mrag_bench.score, mrag_bench.items),
    "ok-vqa": Benchmark(ok_vqa.questions, ok_vqa.score),
    "a-okvqa-options": Benchmark(a_okvqa.questions, a_okvqa.score_options),
    "a-okvqa-answers": Benchmark(a_okvqa.questions, a_okvqa.score_answers),
    "viquae": Benchmark(viquae.questions, viquae.score, viquae.items),
    "cvqa": Benchmark(cvqa.questions, cvqa.score, option="{number}. {text}"),
    "squad": Benchmark(squad.questions, squad.score, squad.items),
    "locomo": Benchmark(locomo.questions, locomo.score, locomo.items),
}


def load(name: str, folder: str | Path, split: str) -> Iterator[BenchmarkQuestion]:
    """The questions of a benchmark's split, all of them checked before the first is given.

    Raises:
        ImportError: The benchmark comes as parquet files, and pyarrow is not installed.
        BenchmarkError: There is no such benchmark, or a file is missing or malformed.
    """
    return _named(name).questions(Path(folder), split)


def items(name: str, folder: str | Path, split: str) -> Iterator[MemoryItem]:
    """The knowledge that a benchmark publishes for a split.

    Raises:
        BenchmarkError: There is no such benchmark, it publishes none, or a file is missing or malformed.
    """
    if (read := _named(name).items) is None:
        raise BenchmarkError(f"{name} publishes no knowledge to remember. Use another benchmark for a comparison.")
    return read(Path(folder), split)


def _named(name: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise BenchmarkError(f"There is no benchmark {name!r}. There are: {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[name]
