"""The options of a search, as frameworks name and pass them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from comem_memory.errors import QueryError, shortened
from comem_memory.memory import ContinuousMemory
from comem_memory.types import MemoryHit

NAMES = {"filter": "where", "score_threshold": "min_similarity"}
"""What frameworks call an option, and what `ContinuousMemory.search` does."""

OPTIONS = {*inspect.signature(ContinuousMemory.search).parameters, "min_similarity"} - {"self", "text", "image"}
"""Of `ContinuousMemory.search`."""

ALL = -1.0
"""`min_similarity` that leaves nothing out: vector stores and key-value stores give as many as are asked for."""


def search_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options under the names that `ContinuousMemory.search` knows.

    Raises:
        QueryError: There is no such option, or it is given under both its names.
    """
    options: dict[str, Any] = {}
    for name, value in given.items():
        known = NAMES.get(name, name)
        if known not in OPTIONS:
            raise QueryError(
                f"A search has no option {shortened(name)!r}. Use {', '.join(sorted({*OPTIONS, *NAMES}))}."
            )
        if known in options:
            raise QueryError(f"{known!r} is given twice, also as {name!r}. Pass one of them.")
        options[known] = value
    return options


def find(memory: ContinuousMemory, text: str | None, image: Any = None, **options: Any) -> list[MemoryHit]:
    """`ContinuousMemory.search` with its own options."""
    # Joint: where `search` takes min_similarity itself, this is `memory.search(text, image, **options)`.
    if "min_similarity" in inspect.signature(ContinuousMemory.search).parameters:
        return memory.search(text, image, **options)
    least = options.pop("min_similarity", None)
    hits = memory.search(text, image, **options)
    return hits if least is None else [hit for hit in hits if (hit.similarity or 0.0) >= least]
