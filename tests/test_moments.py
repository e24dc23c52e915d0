"""What is stored later sorts later, whatever the system's clock says."""

import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from helpers.clock import Clock
from helpers.memories import CAT, DOOR, FLAG, embedded
from helpers.records import identity, record

from comem_memory import ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.store import ChromaStore, chroma, records
from comem_memory.store.moments import date_of, expiry, moment_of, next_moment, offset_of, to_date, to_moment
from comem_memory.testing import tiny_backbone, tiny_encoder
from comem_memory.types import with_notes

HOUR = 3600 * 10**6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", clock.time_ns)
    return clock


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


def in_order(memory: ContinuousMemory) -> list[str]:
    return [hit.id for hit in sorted(memory.scan(), key=lambda hit: hit.created_at)]


def test_dates_and_moments():
    assert to_date(1_700_000_000_000_001) == "2023-11-14T22:13:20.000001+00:00"
    assert to_date(1_700_000_000_000_000) == "2023-11-14T22:13:20.000000+00:00"
    assert to_moment("2023-11-14T22:13:20.000001+00:00") == 1_700_000_000_000_001
    assert to_moment("2023-11-14T22:13:20+00:00") == to_moment("2023-11-14T22:13:20") == 1_700_000_000_000_000
    assert to_moment("2023-11-14T23:13:20+01:00") == 1_700_000_000_000_000
    assert to_moment("") is None and to_moment("yesterday") is None
    assert "2023-11-14T22:13:20+00:00" < "2023-11-14T22:13:20.000001+00:00", "earlier versions wrote whole seconds"


def test_dates_keep_their_timezone():
    paris = datetime(2026, 5, 3, 23, 30, tzinfo=timezone(timedelta(hours=2)))
    assert date_of(paris) == "2026-05-03T23:30:00.000000+02:00"
    assert to_date(moment_of(paris), offset_of(date_of(paris))) == date_of(paris)
    assert to_date(moment_of(paris)) == "2026-05-03T21:30:00.000000+00:00"
    for edge in (datetime.min.replace(tzinfo=paris.tzinfo), datetime.max.replace(tzinfo=timezone(-timedelta(hours=9)))):
        assert datetime.fromisoformat(date_of(edge)) == edge


def test_a_duration_counts_from_now_and_ends_within_the_calendar(clock: Clock):
    clock.stopped = 1_700_000_000_000_000_000
    assert expiry(timedelta(seconds=1)) == to_date(1_700_000_001_000_000)
    assert expiry(timedelta.max).startswith("9999-") and expiry(datetime.min.replace(tzinfo=UTC)).startswith("1970-")


@pytest.mark.parametrize("newest", [0, -1, -HOUR, 1, 2, 1000, HOUR, 10**12])
def test_the_next_moment_is_now_or_after_the_newest(clock: Clock, newest: int):
    clock.stopped = 1_700_000_000_000_000_000
    now = 1_700_000_000_000_000
    assert next_moment(lambda moment: now + newest > moment) == (now + newest + 1 if newest >= 0 else now)


def test_behind_the_future_the_next_moment_is_searched_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = 0

    def counted(collection: Any, moment: int) -> bool:
        nonlocal asked
        asked += 1
        return records.any_after(collection, moment)

    monkeypatch.setattr(chroma, "any_after", counted)
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        store.put([record("tomorrow", created_at=to_date(time.time_ns() // 1000 + 24 * HOUR))])
        first, asked = store.next_moment(), 0
        store.put([record(str(n), created_at=to_date(first + n)) for n in range(64)])
        second = store.next_moment()
        assert second == first + 64 and asked <= 15
        store.put([record("one", created_at=to_date(second))])
        asked = 0
        assert store.next_moment() == second + 1 and asked == 3
        store.delete(namespace="ann")
        assert store.next_moment() < second - 23 * HOUR, "nothing lies in the future any more"


def test_items_of_one_call_and_of_many_sort_as_they_were_added(memory: ContinuousMemory, clock: Clock):
    clock.stopped = time.time_ns()
    memory.add([MemoryItem(id=f"{i:02}", text=f"Note {i}.") for i in range(70)][::-1])
    memory.add([MemoryItem(id="later", text="Later.")])
    assert in_order(memory) == [*[f"{i:02}" for i in range(70)][::-1], "later"]


def test_a_clock_that_is_put_back_changes_no_order(encoder: MemoryEncoder, tmp_path: Path, clock: Clock):
    with embedded(encoder, tmp_path) as memory:
        memory.add(DOOR)
        clock.put_back = HOUR
        memory.add(CAT)
        first = memory.get("door")[0].created_at
    clock.put_back = 2 * HOUR
    with embedded(encoder, tmp_path) as memory:
        memory.add(FLAG)
        memory.namespace("bob").add(DOOR)
        memory.update("door", text="The green door needs no key.")
        assert in_order(memory) == ["door", "cat", "flag"]
        [door] = memory.get("door")
        assert door.created_at == first and door.updated_at > memory.get("flag")[0].created_at
        memory.add(MemoryItem(id="last", text="Last."))
        assert memory.get("last")[0].created_at > door.updated_at, "one order of all that was stored and changed"
        new = datetime.fromisoformat(door.updated_at)
        assert new - datetime.fromisoformat(first) < timedelta(minutes=1), "by no more than needed"
        clock.put_back = -HOUR
        memory.add(MemoryItem(id="tomorrow", text="Tomorrow."))
        assert datetime.fromisoformat(memory.get("tomorrow")[0].created_at) > datetime.now(UTC) + timedelta(minutes=59)


def test_what_others_stored_counts(server_url: str, clock: Clock):
    stores = [ChromaStore.server(server_url, identity=identity(), collection_name="moments") for _ in range(2)]
    with closing(stores[0]) as one, closing(stores[1]) as two:
        one.put([record("a", created_at=to_date(one.next_moment()))])
        clock.put_back = HOUR
        assert to_date(two.next_moment()) > one.get(["a"], namespace="ann")[0].created_at


def test_dates_that_cannot_be_and_records_of_earlier_versions_are_stored_as_they_are(tmp_path: Path):
    with closing(ChromaStore.embedded(tmp_path, identity=identity())) as store:
        odd = [record("a", created_at=""), record("b", created_at="yesterday"), record("c")]
        last = record("d", created_at="9999-12-31T23:59:59.999999+00:00")
        store.put(odd)
        assert abs(store.next_moment() - time.time_ns() // 1000) < 60 * 10**6
        store.put([last])
        assert store.get(["a", "b", "c", "d"], namespace="ann") == [*odd, last]
        assert to_date(store.next_moment()).startswith("9999-")
        store.put([replace(record("e"), created_at=to_date(store.next_moment()))])


def test_a_fact_that_is_said_again_keeps_its_date_and_metadata(memory: ContinuousMemory):
    memory.add([DOOR, CAT])
    before = memory.get(["door", "cat"])
    memory.add([MemoryItem(id="door", text=DOOR.text), MemoryItem(id="cat", text=CAT.text, image=CAT.image)])
    assert memory.get(["door", "cat"]) == before
    memory.add(DOOR.model_copy(update={"metadata": {"seen": True}}))
    [door] = memory.get("door")
    assert (door.metadata, door.created_at) == ({"seen": True}, before[0].created_at), "what is given replaces"
    memory.update("door", text=DOOR.text, metadata={})
    [door] = memory.get("door")
    assert (door.metadata, door.created_at) == ({}, before[0].created_at)


def test_a_text_without_an_id_keeps_its_metadata_when_it_is_said_again(memory: ContinuousMemory):
    [id] = memory.add(MemoryItem(text="Tea at four.", metadata={"who": "ann"}))
    [before] = memory.get(id)
    assert memory.add(MemoryItem(text="Tea at four.")) == [id]
    assert memory.get(id) == [before] and before.metadata == {"who": "ann"}


def test_what_is_said_twice_in_one_call_is_stored_as_in_two(memory: ContinuousMemory):
    noted, other = {"comem.chat.message_id": "m1"}, {"comem.chat.message_id": "m2"}
    whole = {"metadata": {"who": "ann"}, "said_at": "2026-05-03T18:30:00+02:00", "expires": "9000-01-01T00:00Z"}
    given = [
        with_notes(MemoryItem(text="Tea at four.", **whole), noted),
        MemoryItem(text="Tea at four."),
        MemoryItem(id="cake", text="Cake.", **whole),
        MemoryItem(id="cake", text="Cake.", metadata={"who": "bob"}, expires=None),
        with_notes(MemoryItem(id="cake", text="Cake."), other),
        MemoryItem(id="old", text="Old."),
        MemoryItem(id="new", text="New.", supersedes="old"),
        MemoryItem(id="new", text="New."),
    ]
    apart = memory.namespace("apart")
    ids = memory.add(given)
    assert ids == [id for item in given for id in apart.add(item)]

    def stored(name: str) -> list[object]:
        records = memory.store.get(sorted(set(ids)), namespace=name)
        return [(r.id, r.metadata, r.said_at, r.expires, r.supersedes, r.superseded_by) for r in records]

    assert stored(memory.name) == stored("apart")
    tea, cake = memory.get([ids[0], "cake"])
    assert (tea.metadata, tea.expires) == ({"who": "ann"}, "9000-01-01T00:00:00.000000+00:00")
    assert (cake.metadata, cake.expires, cake.said_at) == ({"who": "bob"}, None, tea.said_at)
    assert memory.count(where=noted) == 1 and memory.count(where=other) == 0


def test_of_a_message_whose_text_is_replaced_nothing_of_the_old_one_is_left(memory: ContinuousMemory):
    notes = {"comem.chat.message": '{"content": "My PIN is 4711."}', "comem.chat.role": "user"}
    memory.add(with_notes(MemoryItem(id="pin", text="User: My PIN is 4711.", metadata={"room": "hall"}), notes))
    memory.update("pin", metadata={"room": "attic"})
    assert memory.store.get(["pin"], namespace=memory.name)[0].metadata == {"room": "attic"} | notes
    memory.update("pin", text="(removed)", metadata={})
    [record] = memory.store.get(["pin"], namespace=memory.name)
    assert (record.text, record.metadata) == ("(removed)", {"comem.chat.role": "user"})


def test_what_adapters_noted_stays_when_an_item_is_said_again_with_other_metadata(memory: ContinuousMemory):
    noted = with_notes(MemoryItem(text="Tea at four.", metadata={"who": "ann"}), {"comem.chat.message_id": "m1"})
    [id] = memory.add(noted)
    memory.add(MemoryItem(text="Tea at four.", metadata={"who": "bob"}))
    assert memory.get(id)[0].metadata == {"who": "bob"}
    assert memory.count(where={"comem.chat.message_id": "m1"}) == 1
    memory.add(MemoryItem(text="Cake.", metadata={"who": "ann"}))
    memory.add(with_notes(MemoryItem(text="Cake."), {"comem.chat.message_id": "m1"}))
    assert memory.count(where={"comem.chat.message_id": "m1"}) == 1, "a user's own item is not taken over"
    memory.add(with_notes(MemoryItem(text="Tea at four."), {"comem.chat.message_id": "m2"}))
    assert memory.get(id)[0].metadata == {"who": "bob"}
    assert [memory.count(where={"comem.chat.message_id": one}) for one in ("m1", "m2")] == [0, 1]
