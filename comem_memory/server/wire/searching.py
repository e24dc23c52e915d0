"""A search, and what bounds and orders what it finds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field

from comem_memory.server.wire.values import Asked, Bytes, K, TimeSpan, Where


class SearchOptions(Asked):
    """How a search bounds and orders what it finds."""

    min_similarity: float | None = Field(None, ge=-1, le=1)
    """Items that are less similar are not found; by default as the memory says. -1 finds whatever is nearest."""
    recency: float = Field(0.0, ge=0, le=1)
    """How much it counts that an item is new."""
    half_life: TimeSpan = timedelta(days=30)
    """After this time an item counts as half as new: ISO 8601, as `P30D`."""
    diversity: float = Field(0.0, ge=0, le=1)
    """How much it counts that an item is unlike those before it."""
    candidates: int | None = Field(None, ge=1, le=10_000)
    """Of how many of the most similar items those are chosen, where recency or diversity decide; by default 4 k."""

    def options(self) -> dict[str, Any]:
        """The arguments of `ContinuousMemory.search`."""
        return {name: getattr(self, name) for name in SearchOptions.model_fields}


class SearchRequest(SearchOptions):
    """A text, a picture, or both, and how to search with them."""

    text: str | None = Field(None, examples=["What opens the blue door?"])
    """A question or description to look for."""
    image: Bytes | None = None
    """A picture to look for: its file, in base64."""
    k: K = 3
    where: Where | None = None
    vectors: bool = False
    """Send the items' vectors too."""
