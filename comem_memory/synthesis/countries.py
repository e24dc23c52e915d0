"""Real countries: items, questions, and flags to ask with.

No country is in the training data. The pictures are two artists' renderings of each flag: one is stored, the other
asks. Licences are in `comem_memory/data/countries/README.md`.
"""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comem_memory.files import load_image
from comem_memory.metrics import contains
from comem_memory.progress import tracked
from comem_memory.types import MemoryItem, Metadata

if TYPE_CHECKING:
    from comem_memory.memory import ContinuousMemory

FOLDER = Path(__file__).parent.parent / "data" / "countries"
Row = dict[str, Any]
SHORT = {
    "South-Eastern": "Southeast",
    "Northern": "North",
    "Southern": "South",
    "Eastern": "East",
    "Western": "West",
    "Middle": "Central",
}
"""Parts of the world as people call them, beside the United Nations' names."""


@dataclass(frozen=True)
class CountryQuestion:
    code: str
    kind: str
    text: str
    answer: str
    """In the item's words."""
    also: tuple[str, ...] = ()
    """Other wordings of it."""


def rows(folder: Path = FOLDER) -> list[Row]:
    """The countries, as in `countries.jsonl`."""
    with (folder / "countries.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def item(row: Row, folder: Path = FOLDER) -> MemoryItem:
    """A country as a memory item: a paragraph and its flat flag."""
    text = " ".join(_facts(row).values())
    return MemoryItem(id=row["code"], text=text, image=folder / row["flag"], metadata=_metadata(row))


def short_item(row: Row, kind: str, num_facts: int) -> MemoryItem:
    """A country as a note without picture that holds the fact asked for and `num_facts - 1` others."""
    facts = _facts(row)
    others = [other for other in facts if other != kind]
    chosen = {kind, *random.Random(f"{row['code']}/{kind}").sample(others, min(num_facts - 1, len(others)))}
    opening = [] if "region" in chosen else [f"{row['name']} is a country."]
    text = " ".join([*opening, *(sentence for fact, sentence in facts.items() if fact in chosen)])
    return MemoryItem(id=f"{row['code']}/{kind}/{num_facts}", text=text, metadata=_metadata(row))


def notes(row: Row, kinds: Sequence[str], folder: Path = FOLDER) -> list[MemoryItem]:
    """A country as notes of one fact each, for the facts that it has; the note of its region carries its flat flag."""
    carried = {"region": {"image": folder / row["flag"]}}
    told = [kind for kind in kinds if kind in _facts(row)]
    return [short_item(row, kind, 1).model_copy(update=carried.get(kind)) for kind in told]


def _facts(row: Row) -> dict[str, str]:
    name = row["name"]
    facts = {
        "region": f"{name} is a country in {row['subregion'] or row['region']}.",
        "capital": f"The capital city is {row['capital']}." if row["capital"] else "",
        "language": f"The languages of {name} are {_joined(row['languages'])}." if row["languages"] else "",
        "currency": f"Its money is the {_joined(row['currencies'])}." if row["currencies"] else "",
        "area": f"The country has an area of {row['area_km2']:.0f} square km." if row["area_km2"] > 0 else "",
        "calling code": f"Its telephone code is {row['calling_code']}." if row["calling_code"] else "",
        "internet domain": f"Its internet addresses end with {row['top_level_domain']}."
        if row["top_level_domain"]
        else "",
        "people": f"Its people are called {row['demonym']}." if row["demonym"] else "",
    }
    return {kind: sentence for kind, sentence in facts.items() if sentence}


def _metadata(row: Row) -> Metadata:
    return {"name": row["name"], "region": row["region"]}


@cache
def proper_words() -> frozenset[str]:
    """Every word with a capital in what is said of the countries: no made-up name is to hold one."""
    said = " ".join(sentence for row in rows() for sentence in _facts(row).values())
    return frozenset(re.findall(r"\b[^\W\d_a-z]\w*", said))


def questions(row: Row) -> Iterator[CountryQuestion]:
    """What can be asked about a country whose answer is a single value, which the question does not hold."""
    name, code = row["name"], row["code"]
    asked = (
        ("capital", f"Which city is the capital of {name}?", row["capital"]),
        ("language", f"What language do people in {name} speak?", _only(row["languages"])),
        ("currency", f"What is the currency of {name}?", _only(row["currencies"])),
        ("region", f"In which part of the world is {name}?", row["subregion"] or row["region"]),
        ("area", f"What is the area of {name}?", f"{row['area_km2']:.0f}" if row["area_km2"] > 0 else None),
        ("calling code", f"What is the calling code of {name}?", row["calling_code"]),
        ("internet domain", f"What is the internet domain of {name}?", row["top_level_domain"]),
        ("people", f"What do you call someone from {name}?", row["demonym"]),
    )
    for kind, text, answer in asked:
        if answer and not contains(text, answer):
            also = [one for one in _also(kind, answer) if one != answer and not contains(text, one)]
            yield CountryQuestion(code, kind, text, answer, tuple(dict.fromkeys(also)))


def _also(kind: str, answer: str) -> Iterator[str]:
    match kind:
        case "currency":  # the krona, US dollars
            names = [answer]
            if answer.startswith("United States "):
                names.append(answer.replace("United States", "US"))
            if _coins()[answer.split()[-1]] == 1 and answer.split()[-1] not in ("mark", "real"):  # words of their own
                names.append(answer.split()[-1])
            yield from (wording for name in names for wording in (name, f"{name}s"))
        case "region":
            short = " ".join(SHORT.get(word, word) for word in answer.split())
            if short not in _names():  # South Africa is not all of Southern Africa
                yield short
        case "language" if answer == "Chinese":
            yield "Mandarin"
        case "calling code" if len(answer) > 2:
            yield answer.removeprefix("+")
        case "people":
            yield from answer.split(", ")
        case "capital":
            yield "".join(letter for letter in unicodedata.normalize("NFKD", answer) if letter.isascii())


@cache
def _names() -> frozenset[str]:
    return frozenset(row["name"] for row in rows())


@cache
def _coins() -> Counter[str]:
    """How many currencies bear a coin's name: there are many dollars and one yen."""
    return Counter(name.split()[-1] for name in {name for row in rows() for name in row["currencies"]})


def _only(values: Sequence[str]) -> str | None:
    return values[0] if len(values) == 1 else None


def _joined(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"


def find_by_flag(memory: ContinuousMemory, folder: Path = FOLDER, *, k: int = 10) -> dict[int, float]:
    """Recall@1, @5, @k of the stored flat flag when asked with the other artist's waving one."""
    ranks = []
    for row in tracked(rows(folder), "finding flags", unit="flag"):
        found = [hit.metadata["name"] for hit in memory.search(image=load_image(folder / row["flag_waving"]), k=k)]
        ranks.append(found.index(row["name"]) if row["name"] in found else k)
    return {at: sum(rank < at for rank in ranks) / len(ranks) for at in sorted({1, min(5, k), k})}
