"""Wiki6M: the six million Wikipedia articles that InfoSeek and OVEN ask about.

Format: https://github.com/open-vision-language/infoseek (`Wiki6M_ver_1_0.jsonl.gz`) names the file; its fields
`wikidata_id`, `wikipedia_title`, `wikipedia_summary` are described in UniIR's conversion of OVEN for M-BEIR. That the
pictures of `all_wikipedia_images.tar` lie at `wikipedia_images_full/Q806/Q806563.jpg` is known from users of the
archive only, and was not checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from comem_memory.evaluation.benchmarks.reading import existing, json_lines
from comem_memory.types import MemoryItem

LAYOUT = (
    "The folder should hold Wiki6M_ver_1_0.jsonl or Wiki6M_ver_1_0.jsonl.gz "
    "(https://github.com/open-vision-language/infoseek) and, if wanted, wikipedia_images_full/."
)


class _Article(BaseModel):
    wikidata_id: str
    wikipedia_title: str
    wikipedia_summary: str | None = None


def items(folder: Path, split: str) -> Iterator[MemoryItem]:
    """Every article's title and opening, with its picture where the folder has it; the id is the Wikidata id.

    The same for every split. 6.9 GB packed, so lines are not checked ahead: one that is malformed is reported when it
    is reached. Keep what you need by `item.id`.

    Raises:
        BenchmarkError: The file is missing, or a line is malformed.
    """
    plain = folder / "Wiki6M_ver_1_0.jsonl"
    return _items(folder, plain if plain.exists() else existing(folder / "Wiki6M_ver_1_0.jsonl.gz", LAYOUT))


def _items(folder: Path, path: Path) -> Iterator[MemoryItem]:
    for article in json_lines(path, _Article, LAYOUT):
        name = article.wikidata_id
        picture = folder / "wikipedia_images_full" / name[:4] / f"{name}.jpg"
        yield MemoryItem(
            id=name,
            text=f"{article.wikipedia_title}\n{article.wikipedia_summary or ''}".strip(),
            image=picture if picture.exists() else None,
            metadata={"title": article.wikipedia_title},
        )
