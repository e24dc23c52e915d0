"""What documents and nodes tell of a found item: its own metadata, and what the memory knows of it."""

from datetime import UTC, datetime, timedelta

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.integrations.hits import metadata_of
from comem_memory.testing import tiny_memory


def test_times_and_successions_are_told_where_an_item_has_them():
    memory: ContinuousMemory = tiny_memory()
    said, expires = datetime(2026, 5, 1, 9, tzinfo=UTC), datetime.now(UTC) + timedelta(days=1)
    memory.add(MemoryItem(id="old", text="INC-1 is open.", metadata={"room": "hall"}), progress=False)
    new = MemoryItem(id="new", text="INC-1 is closed.", said_at=said, expires=expires, supersedes="old")
    memory.add(new, progress=False)
    [hit] = memory.search("INC-1?")
    assert metadata_of(hit, image=hit.image) == {
        "comem.created_at": hit.created_at,
        "comem.updated_at": hit.created_at,
        "comem.said_at": "2026-05-01T09:00:00.000000+00:00",
        "comem.expires": expires.isoformat(timespec="microseconds"),
        "comem.supersedes": ["old"],
        "comem.found_by": ["meaning", "terms"],
    }
    [old] = memory.get("old")
    assert metadata_of(old) == {
        "room": "hall",
        "comem.created_at": old.created_at,
        "comem.updated_at": old.updated_at,
        "comem.superseded_by": "new",
    }
