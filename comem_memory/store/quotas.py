"""What a server takes at most, as Chroma Cloud does: records are checked, and requests are kept within it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from comem_memory.errors import InvalidItemError, shortened
from comem_memory.store.library import Collection


@dataclass(frozen=True)
class Quotas:
    """By default those that Chroma Cloud gives everyone (docs.trychroma.com/cloud/quotas-limits, as of 2026).

    Args:
        value_bytes: Of a metadata value.
        document_bytes: Of a record's document.
        key_bytes: Of a metadata key.
        keys: Metadata keys of a record.
        id_bytes: Of an id in Chroma, which is namespace and id.
        collection_value_bytes: Of a value in the metadata of a collection.
        results: Records that a request returns or names, at least 2.

    Raises:
        ValueError: `results` is less than 2.
    """

    value_bytes: int = 4096
    document_bytes: int = 16384
    key_bytes: int = 36
    keys: int = 32
    id_bytes: int = 128
    collection_value_bytes: int = 256
    results: int = 300

    def __post_init__(self) -> None:
        if self.results < 2:  # pages of which each begins with a record of the one before would not advance
            raise ValueError(f"results is {self.results}. Pass at least 2: Quotas(results=2).")


def is_too_long(value: Any, quotas: Quotas | None) -> bool:
    """Whether a value is a text of more bytes than metadata may have."""
    return quotas is not None and isinstance(value, str) and len(value.encode()) > quotas.value_bytes


def check_quotas(id: str, metadata: dict[str, Any], quotas: Quotas) -> None:
    """
    Raises:
        InvalidItemError: A record has too many metadata keys, or one or its id is too long.
    """
    long = [name for name in metadata if len(name.encode()) > quotas.key_bytes]
    if len(id.encode()) > quotas.id_bytes:
        problem = f"namespace and id have {len(id.encode())} bytes, and {quotas.id_bytes} are the most"
    elif len(metadata) > quotas.keys:
        problem = (
            f"it takes {len(metadata)} metadata keys for its vectors, text and metadata, and {quotas.keys} are the most"
        )
    elif long:
        problem = f"the metadata key {shortened(long[0])!r} has more than {quotas.key_bytes} bytes"
    else:
        return
    raise InvalidItemError(
        f"The Chroma server does not take item {shortened(id)!r}: {problem}. Shorten it, store vectors as int8 or "
        "int4, have the quota raised (ChromaServer(quotas=...)), or use a server of your own."
    )


_COLUMNS = ("ids", "embeddings", "documents", "metadatas")


class QuotaCollection:
    """A collection that asks for no more at a time than the quotas allow, and otherwise is the collection."""

    def __init__(self, collection: Collection, quotas: Quotas) -> None:
        self._collection, self._most = collection, quotas.results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def get(
        self, ids: Sequence[str] | None = None, *, limit: int | None = None, include: Any, **condition: Any
    ) -> dict[str, Any]:
        asked = {"include": include, **condition}
        if ids is None:
            answers = list(self._pages(limit, asked))
        else:
            parts = (list(ids[start : start + self._most]) for start in range(0, len(ids), self._most))
            answers = [cast(Any, self._collection.get(ids=part, **asked)) for part in parts]
        together = {name: _together(one[name] for one in answers) for name in _COLUMNS}
        return together | {"ids": together["ids"] or []}

    def _pages(self, limit: int | None, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Columns of at most `limit` records, each record once.

        Each page begins with a record of those before. If it does not, another process has deleted some of these,
        which moved the rest up, and the page before is asked for again: none is passed over.
        """
        seen: set[str] = set()
        offset = 0
        while limit is None or len(seen) < limit:
            size = self._most if limit is None else min(self._most, limit + 1)
            page: dict[str, Any] = cast(Any, self._collection.get(limit=size, offset=offset, **asked))
            ids = page["ids"]
            if offset and (not ids or ids[0] not in seen):
                offset = max(0, offset - size)
                continue
            new = [place for place, id in enumerate(ids) if id not in seen]
            new = new if limit is None else new[: limit - len(seen)]
            seen.update(ids[place] for place in new)
            yield {name: None if page[name] is None else [page[name][place] for place in new] for name in _COLUMNS}
            if len(ids) < size:
                return
            offset += len(ids) - 1

    def query(self, *, n_results: int, **arguments: Any) -> Any:
        return self._collection.query(n_results=min(n_results, self._most), **arguments)

    def delete(self, ids: Sequence[str], **condition: Any) -> None:
        for start in range(0, len(ids), self._most):
            self._collection.delete(ids=list(ids[start : start + self._most]), **condition)


def _together(columns: Iterable[Any]) -> Any:
    """A column of several answers, of which all have it or none."""
    found = [column for column in columns if column is not None]
    return list(itertools.chain.from_iterable(found)) if found else None
