"""The options of a search, as frameworks name and pass them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from comem_memory.errors import QueryError, shortened
from comem_memory.memory import ContinuousMemory

NAMES = {"filter": "where", "score_threshold": "min_similarity"}
"""What frameworks call an option, and what `ContinuousMemory.search` does."""

OPTIONS = {*inspect.signature(ContinuousMemory.search).parameters} - {"self", "text", "image"}
"""Of `ContinuousMemory.search`."""


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
