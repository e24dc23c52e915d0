"""MRAG-Bench: multiple-choice questions that other pictures of the same thing help to answer (arXiv 2410.08182).

Format: the card of https://huggingface.co/datasets/uclanlp/MRAG-Bench, parquet files with the pictures inside. Rule:
`eval/score.py` and `eval/utils/automatic_extract.py` of https://github.com/mragbench/MRAG-Bench.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from comem_memory.evaluation.benchmarks.question import BenchmarkQuestion, Predictions, choice_score
from comem_memory.evaluation.benchmarks.reading import TablePicture, checked, table_files, table_rows
from comem_memory.types import MemoryItem

LAYOUT = (
    "MRAG-Bench's folder should hold data/test-*.parquet, as https://huggingface.co/datasets/uclanlp/MRAG-Bench does."
)
LETTERS = "ABCD"
_PICTURES = ("image", "gt_images")


class _GoldRow(BaseModel):
    id: str
    scenario: str
    gt_images: list[TablePicture] = []

    def gold(self) -> list[TablePicture]:
        """Of an Incomplete question the first picture only, as the published loader does it."""
        return self.gt_images[:1] if self.scenario == "Incomplete" else self.gt_images


class _Row(_GoldRow):
    question: str
    image: TablePicture | None = None
    A: str
    B: str
    C: str
    D: str
    answer_choice: Literal["A", "B", "C", "D"]
    answer: str


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """Questions with four options; `category` is the scenario. `split` is test.

    Raises:
        ImportError: Pyarrow is not installed.
        BenchmarkError: A file is missing, or a row is malformed.
    """
    paths = table_files(folder, split, LAYOUT)
    return checked(_read(paths, split, skip=_PICTURES), _read(paths, split))


def _read(paths: Sequence[Path], split: str, skip: Collection[str] = ()) -> Iterator[BenchmarkQuestion]:
    for row in table_rows(paths, _Row, LAYOUT, skip):
        yield BenchmarkQuestion(
            id=row.id,
            text=row.question,
            image=row.image.content if row.image else None,
            answers=(row.answer,),
            options=(row.A, row.B, row.C, row.D),
            correct_option=LETTERS.index(row.answer_choice),
            item_ids=tuple(f"{row.id}/{number}" for number in range(len(row.gold()))),
            split=split,
            category=row.scenario,
        )


def items(folder: Path, split: str) -> Iterator[MemoryItem]:
    """The gold pictures of every question, without a text; the benchmark's own retrieved pictures are left out.

    Raises:
        ImportError: Pyarrow is not installed.
        BenchmarkError: A file is missing, or a row is malformed.
    """
    paths = table_files(folder, split, LAYOUT)
    return checked(_read_items(paths, skip=_PICTURES), _read_items(paths))


def _read_items(paths: Sequence[Path], skip: Collection[str] = ()) -> Iterator[MemoryItem]:
    for row in table_rows(paths, _GoldRow, LAYOUT, skip):
        for number, shown in enumerate(row.gold()):
            yield MemoryItem(id=f"{row.id}/{number}", image=shown.content, metadata={"scenario": row.scenario})


def score(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """Accuracy over all questions (`score`) and for each scenario.

    Raises:
        BenchmarkError: A question has no prediction.
    """
    return choice_score(questions, predictions, chosen_option, lambda question: question.category)


def chosen_option(prediction: str) -> int | None:
    """The option whose letter was said last: (A) if any letter is in brackets, else A as a word of its own.

    Where there is no letter, the published script asks a GPT model for one; this says `None`.
    """
    said = " " + prediction.strip().strip(",.!?;:'") + " "
    for written in ("({})", " {} "):
        places = [said.rfind(written.format(letter)) for letter in LETTERS]
        if max(places) >= 0:
            return places.index(max(places))
    return None
