"""OVEN: which of six million Wikipedia entities a picture shows (arXiv 2302.11154).

Format: https://github.com/open-vision-language/oven, "OVEN Annotation"; pictures as `merge_oven_images.py` of
https://github.com/edchengg/oven_eval lays them out. Rule: `oven_eval.py` there. Whether the test files hold
`entity_id` was not checked, so it may be missing; `oven_human.jsonl` is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from pydantic import BaseModel

from comem_memory.errors import BenchmarkError
from comem_memory.evaluation.benchmarks.question import (
    BenchmarkQuestion,
    Predictions,
    harmonic_mean,
    means_by,
    scored,
    unscorable,
)
from comem_memory.evaluation.benchmarks.reading import checked, existing, json_lines

LAYOUT = (
    "OVEN's folder should hold oven_entity_<split>.jsonl and oven_query_<split>.jsonl, split being train, val or test "
    "(https://github.com/open-vision-language/oven), and oven_images/<2 digits>/<image id>.jpg, the digits being the "
    "first two of the image id's number."
)
_EXTENSIONS = (".jpg", ".JPEG", ".jpeg", ".JPG", ".png")
"""A picture keeps the extension of the data set it is from."""


class _Row(BaseModel):
    data_id: str
    image_id: str
    question: str
    entity_id: str | None = None
    entity_text: str | None = None
    data_split: str


def picture(folder: Path, image_id: str, layout: str) -> Path:
    """`oven_images/04/oven_04925739.jpg`; InfoSeek's pictures are among OVEN's.

    Raises:
        BenchmarkError: There is no such picture.
    """
    shown = folder / "oven_images" / image_id.split("_")[-1][:2] / image_id
    for extension in _EXTENSIONS:
        if (path := shown.with_name(image_id + extension)).exists():
            return path
    raise BenchmarkError(f"{shown}.jpg is missing. {layout}")


def questions(folder: Path, split: str) -> Iterator[BenchmarkQuestion]:
    """The entity and the query questions. An answer is the entity's name, `item_ids` its Wikidata id.

    Raises:
        BenchmarkError: A file, a line or a picture is missing or malformed.
    """
    paths = [existing(folder / f"oven_{part}_{split}.jsonl", LAYOUT) for part in ("entity", "query")]
    return checked(_read(folder, paths), _read(folder, paths))


def _read(folder: Path, paths: Iterable[Path]) -> Iterator[BenchmarkQuestion]:
    for row in chain.from_iterable(json_lines(path, _Row, LAYOUT) for path in paths):
        yield BenchmarkQuestion(
            id=row.data_id,
            text=row.question,
            image=picture(folder, row.image_id, LAYOUT),
            answers=(row.entity_text,) if row.entity_text else (),
            item_ids=(row.entity_id,) if row.entity_id else (),
            split=row.data_split,
            category=row.data_split.split("_")[0],
        )


def score(questions: Iterable[BenchmarkQuestion], predictions: Predictions) -> dict[str, float]:
    """Accuracy of predicted Wikidata ids, as in `{"oven_query_val_00000000": "Q755737"}`.

    `query` and `entity` are the harmonic means of their seen and unseen accuracies, `score` is theirs. A harmonic mean
    is left out when one of its parts was not asked. The published script rounds in between; this does not.

    Raises:
        BenchmarkError: A question has no prediction, or no published entity.
    """
    results = scored(questions, predictions, _is_entity)
    scores = means_by(results, lambda question: question.split)
    for part in ("query", "entity"):
        seen, unseen = (
            [value for name, value in scores.items() if name.startswith(part) and name.endswith(kind)]
            for kind in ("_seen", "_unseen")
        )
        if seen and unseen:
            scores[part] = harmonic_mean(*seen, *unseen)
    if "query" in scores and "entity" in scores:
        scores["score"] = harmonic_mean(scores["query"], scores["entity"])
    return scores


def _is_entity(question: BenchmarkQuestion, prediction: str) -> float:
    if not question.item_ids:
        raise unscorable(question)
    return float(prediction == question.item_ids[0])
