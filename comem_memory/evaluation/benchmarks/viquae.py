"""ViQuAE: trivia about the named entity that a picture shows (SIGIR 2022, https://doi.org/10.1145/3477495.3531753).

Format: the README of https://github.com/PaulLerner/ViQuAE. Rule: `meerqat/train/metrics.py` there, which is SQuAD's.
The README shows `output` with `original_answer` only; `output.answer`, the list of aliases, is read as
`CoMEM-inference/Viquae/run_viquae_baseline.py` of https://github.com/WenyiWU0111/CoMEM does. KILT's provenance is not
read, because its form in this data set could not be verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from comem_memory.errors import BenchmarkError
from comem_memory.evaluation.benchmarks.answers import squad_score
from comem_memory.evaluation.benchmarks.question import BenchmarkQuestion, Predictions
from comem_memory.evaluation.benchmarks.reading import checked, existing, json_lines
from comem_memory.types import MemoryItem

LAYOUT = (
    "ViQuAE's folder should hold train.jsonl, validation.jsonl and test.jsonl "
    "(https://huggingface.co/datasets/PaulLerner/viquae_dataset), images/ unpacked from PaulLerner/viquae_images, and "
    "for its knowledge one or more of humans_with_faces.jsonl.gz, humans_without_faces.jsonl.gz and "
    "non_humans.jsonl.gz from PaulLerner/viquae_wikipedia."
)
KNOWLEDGE = ("humans_with_faces.jsonl.gz", "humans_without_faces.jsonl.gz", "non_humans.jsonl.gz")


class _Output(BaseModel):
    answer: Annotated[list[str], Field(min_length=1)]


class _Row(BaseModel):
    id: str
    input: str
    image: str
    output: _Output
    wikidata_id: str


class _Text(BaseModel):
    paragraph: list[str]


class _Entity(BaseModel):
    wikidata_id: str


class _Article(BaseModel):
    wikipedia_title: str
    wikidata_info: _Entity
    text: _Text
    image: str | None = None


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """Questions with every alias of the answer; `item_ids` is the Wikidata id of what the picture shows.

    `split` is train, validation or test.

    Raises:
        BenchmarkError: A file, a line or a picture is missing or malformed.
    """
    path = existing(folder / f"{split}.jsonl", LAYOUT)
    return checked(_read(folder, path, split), _read(folder, path, split))


def _read(folder: Path, path: Path, split: str) -> Iterator[BenchmarkQuestion]:
    for row in json_lines(path, _Row, LAYOUT):
        yield BenchmarkQuestion(
            id=row.id,
            text=row.input,
            image=existing(folder / "images" / row.image, LAYOUT),
            answers=tuple(row.output.answer),
            item_ids=(row.wikidata_id,),
            split=split,
        )


def items(folder: Path, split: str) -> Iterator[MemoryItem]:
    """The knowledge base: an article's title and paragraphs, with its picture if `images/` has it.

    The same for every split; the id is the Wikidata id. Section titles and lists are left out, as the published
    preprocessing does. 1.5 million articles, so lines are not checked ahead: one that is malformed is reported when
    it is reached.

    Raises:
        BenchmarkError: No file of the knowledge base is there, or a line is malformed.
    """
    if not (paths := [folder / name for name in KNOWLEDGE if (folder / name).exists()]):
        raise BenchmarkError(f"{folder / KNOWLEDGE[0]} is missing, and so are the others. {LAYOUT}")
    return _read_items(folder, paths)


def _read_items(folder: Path, paths: Iterable[Path]) -> Iterator[MemoryItem]:
    for article in chain.from_iterable(json_lines(path, _Article, LAYOUT) for path in paths):
        kept = [
            paragraph.strip()
            for paragraph in article.text.paragraph[1:]  # the first is the title
            if not paragraph.startswith(("Section::::", "BULLET::::"))
        ]
        picture = folder / "images" / article.image if article.image else None
        yield MemoryItem(
            id=article.wikidata_info.wikidata_id,
            text="\n".join([article.wikipedia_title, *kept]),
            image=picture if picture and picture.exists() else None,
            metadata={"title": article.wikipedia_title},
        )


def score(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """`exact_match` and `f1` over words, each the best over the aliases.

    Raises:
        BenchmarkError: A question has no prediction.
    """
    return squad_score(questions, predictions, lambda question: question.answers)
