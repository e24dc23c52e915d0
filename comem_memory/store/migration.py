"""`ChromaMigration`: the items of a collection written anew with another encoder, in a collection beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from comem_memory.errors import EncoderMismatchError
from comem_memory.store.collection import OpenCollection
from comem_memory.store.contract import CollectionIdentity, MemoryRecord, Migration, RecordSummary
from comem_memory.store.records import BATCH, batches, delete_ids, matching_ids, read, read_summaries, write


class ChromaMigration(Migration):
    """Gathers new records in a staging collection, which takes the old one's place when it is complete."""

    def __init__(self, opened: OpenCollection, identity: CollectionIdentity) -> None:
        self._opened, self.identity = opened, identity
        self._staging = opened.staging(identity)

    @property
    def total(self) -> int:
        with self._opened.access() as old:
            return len(matching_ids(old))

    @property
    def done(self) -> int:
        with self._opened.access():
            return len(matching_ids(self._staging))

    def pending(self, batch_size: int) -> Iterator[list[MemoryRecord]]:
        for ids in batches(self._left(), batch_size):
            with self._opened.access() as old:
                records = list(read(old, ids).values())
            if records:  # not all were deleted meanwhile
                yield records

    def put(self, records: Sequence[MemoryRecord]) -> None:
        with self._opened.access():
            write(self._staging, self.identity, records, self._opened.quotas)

    def commit(self) -> None:
        with self._opened.changing() as old:
            if left := self._left():
                raise EncoderMismatchError(
                    f"{len(left)} of {self.total} items are still encoded with {self._opened.identity}. "
                    "Encode what pending() gives and put() it, then commit again."
                )
            gone = set(matching_ids(self._staging)) - set(matching_ids(old))
            gone -= set(matching_ids(old, among=sorted(gone)))  # stored anew meanwhile
            delete_ids(self._staging, sorted(gone))
            self._opened.replace(self.identity)

    def _left(self) -> list[str]:
        """Chroma ids, sorted, that are not in staging or have been written again since."""
        left = []
        with self._opened.access() as old:
            for ids in batches(sorted(matching_ids(old)), BATCH):
                staged, current = read_summaries(self._staging, ids), read_summaries(old, ids)
                left += [id for id in current if id not in staged or _content(staged[id]) != _content(current[id])]
        return left


def _content(one: RecordSummary) -> RecordSummary:
    """What a migration leaves as it is; where it differs, the item was written again meanwhile."""
    return replace(one, truncated=False)
