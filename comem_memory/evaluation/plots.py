"""Results as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING

from comem_memory.evaluation.comparison import Comparison
from comem_memory.metrics import share_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curve(axes: Axes, curve: Mapping[int, Comparison], sources: Sequence[str]) -> None:
    """Share of answers that contain the right one over the keys of `curve`, with 95% intervals, a line a source."""
    for source in sources:
        scores = [comparison.scores[source] for comparison in curve.values()]
        line = axes.plot(list(curve), [score.contains for score in scores], marker="o", label=source)
        low, high = zip(*(score.interval for score in scores), strict=True)
        axes.fill_between(list(curve), low, high, alpha=0.15, color=line[0].get_color(), linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_xticks(list(curve), [f"{value:,}" for value in curve])
    axes.minorticks_off()


def draw_shares(file: Path, right: Mapping[str, Mapping[str, Sequence[bool]]], label: str) -> None:
    """Shares of right answers as bars with 95% intervals, by source, beside each other for each question set.

    Args:
        file: Where the picture is written.
        right: Of each question set, whether each answer is right, by source.
        label: Of the axis.

    Raises:
        ImportError: Matplotlib (extra `notebooks`) is not installed.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    width = 0.8 / len(right)
    for number, (name, by_source) in enumerate(right.items()):
        shares = [fmean(answers) for answers in by_source.values()]
        ends = [share_interval(answers) for answers in by_source.values()]
        errors = [[s - low for s, (low, _) in zip(shares, ends, strict=True)]]
        errors += [[high - s for s, (_, high) in zip(shares, ends, strict=True)]]
        places = [place + number * width for place in range(len(shares))]
        axes.bar(places, shares, width, label=name, yerr=errors, capsize=3)
    sources = [fill(source, 14) for source in next(iter(right.values()))]
    axes.set_xticks([place + width * (len(right) - 1) / 2 for place in range(len(sources))], sources)
    axes.set_ylim(0, 1)
    axes.set_ylabel(label)
    figure.legend(loc="outside upper center", ncols=len(right))
    figure.savefig(file, dpi=110)
    plt.close(figure)
