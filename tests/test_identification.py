"""Under which id an item is stored that is added without one: what is the same stays one item, what is not is kept."""

from collections.abc import Iterator

import pytest
from helpers.reads import recorded_reads

from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import DuplicateIdError
from comem_memory.store import chroma, identity_of
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key
from comem_memory.types import with_notes


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


@pytest.fixture
def memory(encoder: MemoryEncoder) -> Iterator[ContinuousMemory]:
    key = tiny_key()
    with ContinuousMemory(encoder, key, ChromaStore.in_memory(identity=identity_of(encoder, key))) as memory:
        yield memory


def texts(memory: ContinuousMemory) -> list[str | None]:
    return sorted(hit.text or "" for hit in memory.scan())


def test_what_an_item_was_updated_to_is_that_item(memory: ContinuousMemory):
    [id] = memory.add(MemoryItem(text="The dog is called Luna."))
    memory.add(MemoryItem(id="door", text="The door is green."))
    memory.update(id, text="The dog is called Bella.")
    memory.update("door", text="The door is blue.")
    said_again = [MemoryItem(text="The dog is called Bella."), MemoryItem(text="The door is blue.")]
    assert memory.add(said_again) == memory.add(said_again) == [id, "door"]
    assert texts(memory) == ["The dog is called Bella.", "The door is blue."]


def test_what_an_item_said_before_it_was_updated_is_another(memory: ContinuousMemory):
    luna = MemoryItem(text="The dog is called Luna.")
    [id] = memory.add(luna)
    memory.update(id, text="The cat is called Bella.")
    [other] = memory.add(luna)
    assert other != id and memory.add(luna) == [other]
    assert texts(memory) == ["The cat is called Bella.", "The dog is called Luna."], "the update is not undone"


def test_both_texts_in_one_call(memory: ContinuousMemory):
    luna, bella = MemoryItem(text="Luna"), MemoryItem(text="Bella")
    [id] = memory.add(luna)
    memory.update(id, text="Bella")
    first, second, third = memory.add([luna, bella, luna])
    assert first == third != id and second == id and texts(memory) == ["Bella", "Luna"]


def test_the_same_text_of_two_sources_is_kept_for_both(memory: ContinuousMemory):
    items = [MemoryItem(text="Tea at four.", metadata={"source": source}) for source in ("a.txt", "b.txt", "c.txt")]
    ids = memory.add(items)
    assert memory.add(items[::-1]) == ids[::-1] and len(set(ids)) == memory.count() == 3
    assert memory.add(MemoryItem(text="Tea at four.")) == ids[:1], "of whatever source"
    assert memory.delete(where={"source": "a.txt"}) == 1
    assert [hit.metadata["source"] for hit in memory.get(ids[1:])] == ["b.txt", "c.txt"]
    assert memory.add(items[1:]) == ids[1:]


def test_an_item_without_a_source_gets_the_one_that_is_given_with_it(memory: ContinuousMemory):
    [id] = memory.add(MemoryItem(text="Tea at four."))
    assert memory.add(MemoryItem(text="Tea at four.", metadata={"source": "a.txt"})) == [id]
    assert [hit.metadata for hit in memory.scan()] == [{"source": "a.txt"}]


def test_ids_that_are_given_are_kept_apart(memory: ContinuousMemory):
    items = [MemoryItem(id=id, text="Tea at four.") for id in ("one", "two")]
    assert memory.add(items) == ["one", "two"] and memory.count() == 2
    memory.namespace("bob").add(MemoryItem(text="Tea at four."))
    assert len(memory.namespace("bob").add(MemoryItem(text="Tea at four."))) == memory.namespace("bob").count() == 1


def test_an_item_that_gets_other_content_in_the_same_call_is_not_taken(memory: ContinuousMemory):
    memory.add(MemoryItem(id="door", text="Green."))
    ids = memory.add([MemoryItem(text="Green."), MemoryItem(id="door", text="Blue.")])
    assert ids[1] == "door" and texts(memory) == ["Blue.", "Green."]
    with pytest.raises(DuplicateIdError):
        memory.add([MemoryItem(id="door", text="Green."), MemoryItem(id="door", text="Blue.")])


def test_messages_of_a_history_are_left_alone(memory: ContinuousMemory):
    memory.add(with_notes(MemoryItem(id="message-1", text="Tea at four."), {"comem.chat.message": "{}"}))
    [id] = memory.add(MemoryItem(text="Tea at four."))
    assert id != "message-1" and memory.delete(ids="message-1") == 1 and texts(memory) == ["Tea at four."]


def test_a_chunk_asks_a_few_times_whatever_its_size(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    items = [MemoryItem(text=f"Note {i}.") for i in range(60)]
    memory.add(items)
    reads = recorded_reads(monkeypatch)
    memory.add(items)
    assert [read.records for read in reads] == [60, 60, 60, 0], "ids, contents, what there is, what has expired"


def test_a_text_of_very_many_sources_and_namespaces_is_stored_once_for_each(
    memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chroma, "FEW", 10)
    monkeypatch.setattr(chroma, "SAME", 5)
    items = [MemoryItem(text="MIT", metadata={"source": f"{i}.txt"}) for i in range(30)]
    for tenant in ("ann", "bob"):
        ids = memory.namespace(tenant).add(items)
        memory.namespace(tenant).update(ids[-1], text="GPL")
        assert memory.namespace(tenant).add([*items[:-1], MemoryItem(text="GPL")]) == ids
        assert memory.namespace(tenant).count() == 30
