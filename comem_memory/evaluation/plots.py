"""Results as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from comem_memory.evaluation.comparison import Comparison

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
