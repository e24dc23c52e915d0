"""Multimodal-Mind2Web: what people did on real websites, step by step with screenshots (arXiv 2401.01614, 2306.06070).

Format: the card of https://huggingface.co/datasets/osunlp/Multimodal-Mind2Web, parquet files of an action a row with
its screenshot inside. The rule, with an action in words instead of a choice among elements: `actions.match`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from comem_memory.evaluation.benchmarks.reading import TablePicture, table_files, table_rows
from comem_memory.trajectory import Step, Trajectory

LAYOUT = (
    "Multimodal-Mind2Web's folder should hold data/SPLIT-*.parquet (train, test_task, test_website, test_domain), as "
    "https://huggingface.co/datasets/osunlp/Multimodal-Mind2Web does."
)


_Said = Annotated[str, Field(pattern=r"\S")]


class _Place(BaseModel):
    annotation_id: str


class _Row(_Place):
    confirmed_task: _Said
    website: str
    domain: str
    subdomain: str
    action_reprs: Annotated[list[_Said], Field(min_length=1)]
    target_action_index: int
    screenshot: TablePicture | None = None


def trajectories(folder: Path, split: str) -> Iterator[Trajectory]:
    """The tasks of a split, each as soon as its last row is read; its screenshots are in memory until then.

    A step is an entry of `action_reprs`, with the screenshot of its row, if it has one. The website is the trajectory's
    domain; the dataset's own `domain` and `subdomain` are `category` and `subdomain` of its metadata.

    Args:
        folder: The dataset's folder.
        split: `train`, `test_task`, `test_website` or `test_domain`.

    Raises:
        ImportError: Pyarrow is not installed.
        BenchmarkError: A file is missing, or a row is malformed.
    """
    paths = table_files(folder, split, LAYOUT)
    left = Counter(row.annotation_id for row in table_rows(paths, _Place, LAYOUT))
    seen: dict[str, dict[int, bytes]] = {}
    for row in table_rows(paths, _Row, LAYOUT):
        pictures = seen.setdefault(row.annotation_id, {})
        if row.screenshot is not None:
            pictures[row.target_action_index] = row.screenshot.content
        left[row.annotation_id] -= 1
        if not left[row.annotation_id]:
            yield Trajectory(
                id=row.annotation_id,
                task=row.confirmed_task,
                domain=row.website,
                steps=[Step(picture=pictures.get(n), action=action) for n, action in enumerate(row.action_reprs)],
                metadata={"category": row.domain, "subdomain": row.subdomain},
            )
            del seen[row.annotation_id]
