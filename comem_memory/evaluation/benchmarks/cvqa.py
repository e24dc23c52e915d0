"""CVQA: multiple-choice questions in many languages about pictures from many countries (arXiv 2406.05967).

Format: the card of https://huggingface.co/datasets/afaji/cvqa, parquet files with the pictures inside. That `Label`
counts from 0 follows from `CoMEM-inference/CVQA/cvqa_eval.py` of https://github.com/WenyiWU0111/CoMEM, which is also
the source of the rule: CVQA's own script could not be found, its card sends predictions to an evaluation server.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, Field, model_validator

from comem_memory.evaluation.benchmarks.question import BenchmarkQuestion, Predictions, choice_score
from comem_memory.evaluation.benchmarks.reading import TablePicture, checked, table_files, table_rows

LAYOUT = "CVQA's folder should hold data/test-*.parquet, as https://huggingface.co/datasets/afaji/cvqa does."


class _Row(BaseModel):
    id: str = Field(alias="ID")
    image: TablePicture | None = None
    subset: str = Field(alias="Subset")
    question: str = Field(alias="Question")
    options: list[str] = Field(alias="Options")
    label: int = Field(alias="Label")
    category: str = Field(alias="Category")

    @model_validator(mode="after")
    def _labelled(self) -> _Row:
        if not 0 <= self.label < len(self.options):
            raise ValueError(f"Label {self.label} is none of the {len(self.options)} options, counted from 0")
        return self


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """Questions and options in the pair's own language; `language` is the pair, as in `('Spanish', 'Spain')`.

    `split` is test.

    Raises:
        ImportError: Pyarrow is not installed.
        BenchmarkError: A file is missing, or a row is malformed.
    """
    paths = table_files(folder, split, LAYOUT)
    return checked(_read(paths, split, skip=("image",)), _read(paths, split))


def _read(paths: Sequence[Path], split: str, skip: Collection[str] = ()) -> Iterator[BenchmarkQuestion]:
    for row in table_rows(paths, _Row, LAYOUT, skip):
        yield BenchmarkQuestion(
            id=row.id,
            text=row.question,
            image=row.image.content if row.image else None,
            answers=(row.options[row.label],),
            options=tuple(row.options),
            correct_option=row.label,
            split=split,
            language=row.subset,
            category=row.category,
        )


def score(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """Accuracy over all questions (`score`) and for each pair of country and language.

    Raises:
        BenchmarkError: A question has no prediction.
    """
    return choice_score(questions, predictions, chosen_option, lambda question: question.language)


def chosen_option(prediction: str) -> int | None:
    r"""The option's number, counted from 1 as CoMEM prompts: what \boxed{} holds, or all that follows the last colon.

    Spaces around the number are ignored, which CoMEM's script does not do.
    """
    boxed = re.search(r"\\boxed\{(.*?)\}", prediction)
    said = (boxed[1] if boxed else prediction.rsplit(":", 1)[-1]).strip()
    return int(said) - 1 if re.fullmatch("[1-9][0-9]?", said) else None
