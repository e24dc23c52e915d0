"""What is superseded: found no more, never lost, and deleted like everything else."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from helpers.clock import Clock
from helpers.memories import kept_files

from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import ItemNotFoundError, QueryError
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_picture

PARIS = MemoryItem(id="paris", text="Ann lives in Paris.")
ROME = MemoryItem(id="rome", text="Ann lives in Rome.", supersedes="paris")
OSLO = MemoryItem(id="oslo", text="Ann lives in Oslo.", supersedes=["rome"])


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


def history(memory: ContinuousMemory, id: str) -> list[str]:
    return [hit.id for hit in memory.history(id)]


def found(memory: ContinuousMemory) -> list[str]:
    hits = [hit.id for hit in memory.search("Where does Ann live?", k=9)]
    assert sorted(hits) == [hit.id for hit in memory.scan()] and len(hits) == memory.count()
    return sorted(hits)


@pytest.mark.parametrize("calls", [[[PARIS], [ROME], [OSLO]], [[PARIS, ROME, OSLO]], [[PARIS, ROME], [OSLO]]])
def test_what_takes_a_place_alone_is_found(memory: ContinuousMemory, calls: list[list[MemoryItem]]):
    for items in calls:
        memory.add(items)
    for _ in range(2):
        assert found(memory) == ["oslo"]
        for id in ("paris", "rome", "oslo"):
            assert history(memory, id) == ["paris", "rome", "oslo"]
        paris, rome, oslo = memory.history("rome")
        assert (paris.text, paris.superseded_by, rome.superseded_by) == (PARIS.text, "rome", "oslo")
        assert (rome.supersedes, oslo.supersedes, oslo.superseded_by) == (("paris",), ("rome",), None)
        for items in calls:  # everything again
            memory.add(items)
    assert asyncio.run(memory.ahistory("paris")) == memory.history("paris")


def test_recall_leaves_out_what_an_earlier_message_named_and_gives_what_is_asked_for(memory: ContinuousMemory):
    memory.add([PARIS, ROME])
    messages: Any = [{"role": "user", "content": "Where does Ann live?"}]
    assert [hit.id for hit in memory.recall(messages, found=["paris", "rome"]).hits] == ["rome"]
    assert [hit.id for hit in memory.recall(messages, ids=["paris"]).hits] == ["paris"]


def test_one_item_takes_the_place_of_several(memory: ContinuousMemory):
    memory.add([PARIS, MemoryItem(id="flat", text="Ann has a flat in Paris.")])
    memory.add(MemoryItem(id="rome", text="Ann moved to Rome.", supersedes=["paris", "flat"]))
    assert found(memory) == ["rome"] and history(memory, "flat") == ["paris", "flat", "rome"]


def test_unknown_ids_are_refused_before_anything_is_encoded(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    memory.namespace("bob").add(PARIS)
    monkeypatch.setattr(memory.encoder, "encode", lambda *_, **__: pytest.fail("encoded"))
    for items in ([ROME], [ROME, PARIS], [MemoryItem(id="x", text="X."), OSLO]):
        with pytest.raises(ItemNotFoundError, match=r"'default' holds no item"):
            memory.add(items)
    assert memory.count() == 0 and memory.namespace("bob").count() == 1


def test_an_item_that_is_said_again_is_current_again(memory: ContinuousMemory):
    memory.add([PARIS, ROME])
    created_at = memory.get("paris")[0].created_at
    memory.add(PARIS.model_copy(update={"supersedes": "rome"}))
    assert found(memory) == ["paris"] and history(memory, "rome") == history(memory, "paris") == ["rome", "paris"]
    assert memory.get("paris")[0].created_at == created_at
    memory.add(MemoryItem(id="paris", text=PARIS.text, supersedes="paris"))
    assert found(memory) == ["paris"], "nothing takes its own place"


def test_changes_keep_the_place_in_the_history(memory: ContinuousMemory):
    memory.add([PARIS, ROME])
    memory.update("rome", text="Ann lives in Rome, near the river.")
    memory.update("paris", metadata={"year": 2020})
    assert history(memory, "paris") == ["paris", "rome"] and found(memory) == ["rome"]
    memory.add(MemoryItem(id="rome", text="Ann lives in Rome, on a hill."))
    assert history(memory, "paris") == ["paris", "rome"] and found(memory) == ["rome"]


def test_a_call_that_ends_in_between_loses_nothing_and_is_completed_when_it_is_made_again(
    memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch
):
    def ends(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    memory.add(PARIS)
    with monkeypatch.context() as patch:
        patch.setattr(ChromaStore, "supersede", ends)
        with pytest.raises(KeyboardInterrupt):
            memory.add(ROME)
    assert found(memory) == ["paris", "rome"]
    memory.add(ROME)
    assert found(memory) == ["rome"] and history(memory, "paris") == ["paris", "rome"]


def test_deletion_deletes(memory: ContinuousMemory):
    pictures = [MemoryItem(id=i, image=tiny_picture(n), metadata={"n": n}) for n, i in enumerate("abc")]
    memory.add([pictures[0], *(one.model_copy(update={"supersedes": "ab"[n]}) for n, one in enumerate(pictures[1:]))])
    assert found(memory) == ["c"] and len(kept_files(memory)) == 3
    assert memory.delete(ids="c") == 1
    assert found(memory) == [] and history(memory, "a") == ["a", "b"], "what is older is not recalled again"
    assert memory.delete(where={"n": 0}) == 1 and history(memory, "b") == ["b"]
    memory.add(MemoryItem(id="tea", text="Tea.", expires=timedelta(days=1)))
    assert memory.clear() == 2 and kept_files(memory) == [] and memory.store.namespaces() == []
    with pytest.raises(ItemNotFoundError):
        memory.history("a")


def test_history_takes_one_id(memory: ContinuousMemory):
    for id in (5, ["a"], None):
        with pytest.raises(QueryError, match="is not an id"):
            memory.history(id)  # type: ignore[arg-type]


def test_namespaces_are_for_whoever_opened_the_memory(memory: ContinuousMemory):
    bob = memory.namespace("bob")
    bob.add(PARIS)
    memory.add(ROME.model_copy(update={"supersedes": None}))
    assert memory.namespaces() == asyncio.run(memory.anamespaces()) == ["bob", "default"]
    with pytest.raises(QueryError, match="sees namespace 'bob' alone"):
        bob.namespaces()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.time_ns", clock.time_ns)
    return clock


HOUR = 3600 * 10**6


def test_what_expires_is_gone_then_and_so_is_its_picture_after_the_next_write(memory: ContinuousMemory, clock: Clock):
    tea = MemoryItem(id="tea", text="Tea at four.", image=tiny_picture(1), expires=timedelta(minutes=30))
    memory.add([tea, PARIS])
    memory.namespace("bob").add(tea)
    assert memory.get("tea")[0].expires == memory.search("tea", k=1)[0].expires != PARIS.expires
    clock.put_back = -HOUR
    assert found(memory) == ["paris"] and memory.get("tea", skip_missing=True) == []
    for read in (memory.get, memory.history, memory.describe, lambda id: memory.update(id, text="New.")):
        with pytest.raises(ItemNotFoundError):
            read("tea")
    with pytest.raises(ItemNotFoundError):
        memory.add(MemoryItem(text="Coffee at four.", supersedes="tea"))
    assert len(kept_files(memory)) == 2
    memory.add(PARIS)
    assert kept_files(memory) == [] and memory.namespaces() == ["default"]


def test_what_expired_is_stored_anew_and_said_again_it_stays_longer(memory: ContinuousMemory, clock: Clock):
    tea = MemoryItem(id="tea", text="Tea at four.", image=tiny_picture(1), expires=timedelta(hours=2))
    memory.add(tea)
    [first] = memory.get("tea")
    clock.put_back = -HOUR
    memory.add(tea)
    [again] = memory.get("tea")
    assert again.created_at == first.created_at < again.updated_at and str(again.expires) > str(first.expires)
    clock.put_back = -2 * HOUR - 10**6
    assert memory.count() == 1
    clock.put_back = -4 * HOUR
    assert memory.count() == 0
    memory.add(MemoryItem(id="tea", text="Tea at four.", image=tiny_picture(1)))
    [anew] = memory.get("tea")
    assert anew.created_at > again.updated_at and anew.expires is None and len(kept_files(memory)) == 1


@pytest.mark.parametrize(
    "delete", [lambda m: m.clear(), lambda m: m.delete(ids=["tea", "a"]), lambda m: m.delete(where={"n": 1})]
)
def test_a_deletion_counts_what_was_there_and_deletes_what_expired_too(
    memory: ContinuousMemory, clock: Clock, delete: Any
):
    tea = MemoryItem(id="tea", image=tiny_picture(1), metadata={"n": 1}, expires=timedelta(minutes=1))
    memory.add([tea, MemoryItem(id="a", image=tiny_picture(2), metadata={"n": 1})])
    clock.put_back = -HOUR
    assert delete(memory) == 1 and kept_files(memory) == []
    clock.put_back = 0
    assert memory.count() == 0


def test_when_something_was_said_is_kept_with_its_timezone(memory: ContinuousMemory):
    memory.add(MemoryItem(id="dog", text="My dog is called Luna.", said_at="2026-05-03T23:30:00+02:00"))
    memory.add(MemoryItem(id="dog", text="My dog is called Luna.", metadata={"pet": True}))
    memory.update("dog", text="My dog is called Bella.")
    assert memory.get("dog")[0].said_at == "2026-05-03T23:30:00.000000+02:00"
    assert memory.count(where={"comem.said_at": {"$lt": "2026-05-04T00:00:00+02:00"}}) == 1
    recalled = memory.recall([{"role": "user", "content": "The dog?"}], mode="text")
    assert "on 3 May 2026: My dog is called Bella." in str(recalled.messages)
