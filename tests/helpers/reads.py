"""What is read from Chroma."""

from typing import Any, NamedTuple

import pytest
from chromadb.api.models.Collection import Collection


class Read(NamedTuple):
    """One request: what it included besides ids, and of how many records."""

    parts: tuple[str, ...]
    records: int


def recorded_reads(patch: pytest.MonkeyPatch) -> list[Read]:
    """A list that grows with every request from now on."""
    reads: list[Read] = []

    def recording(real: Any) -> Any:
        def call(self: Collection, **arguments: Any) -> Any:
            answer = real(self, **arguments)
            ids = answer["ids"][0] if "query_embeddings" in arguments else answer["ids"]
            reads.append(Read(tuple(sorted(arguments["include"])), len(ids)))
            return answer

        return call

    patch.setattr(Collection, "get", recording(Collection.get))
    patch.setattr(Collection, "query", recording(Collection.query))
    return reads
