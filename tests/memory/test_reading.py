"""Items are read: by id, by search, and by filter."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers.memories import CAT

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import CorruptBlockError, ItemNotFoundError, QueryError
from comem_memory.testing import tiny_picture


def test_get_names_what_is_missing(filled: ContinuousMemory):
    assert filled.get([]) == []
    assert [hit.id for hit in filled.get(["cat", "door", "cat"])] == ["cat", "door", "cat"]
    with pytest.raises(ItemNotFoundError, match=r"'default' holds no item 'x' and 1 more of those asked. Check"):
        filled.get(["cat", "x", "y"])
    with pytest.raises(KeyError):
        filled.namespace("bob").get("cat")


def test_search_by_text_picture_and_both(filled: ContinuousMemory):
    hits = filled.search("a blue door and its brass key", k=2)
    assert hits[0].id == "door"
    assert hits[0].similarity > 0.5
    assert filled.search(image=tiny_picture(2, size=(90, 70)))[0].id == "flag"
    both = filled.search("The cat sleeps on the oven.", tiny_picture(1))
    assert both[0].id == "cat"
    assert both[0].similarity == pytest.approx(1, abs=1e-3)
    similarities = [hit.similarity for hit in both]
    assert similarities == sorted(similarities, reverse=True)
    assert len(both) == 3
    assert filled.namespace("nobody").search("door") == []


@pytest.mark.parametrize("text", [None, "", "  "])
def test_there_must_be_something_to_search_for(filled: ContinuousMemory, text: str | None):
    with pytest.raises(QueryError, match=r"nothing to search for. Pass text"):
        filled.search(text)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3"])
def test_k_must_be_a_whole_number_from_one(filled: ContinuousMemory, k: Any):
    for call in (filled.search, filled.answer, filled.stream):
        with pytest.raises(QueryError, match=f"k is {k!r}. Ask for a whole number"):
            call("door", k=k)


def test_a_huge_k_finds_everything(filled: ContinuousMemory):
    assert len(filled.search("door", k=2**40)) == 3


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"year": 2020}, {"door"}),
        ({"year": {"$ne": 2020}}, {"cat", "flag"}),
        ({"year": {"$gt": 2020}}, {"cat", "flag"}),
        ({"year": {"$gte": 2021, "$lt": 2022}}, {"cat"}),
        ({"year": {"$lte": 2020}}, {"door"}),
        ({"year": {"$in": [2020, 2022]}}, {"door", "flag"}),
        ({"year": {"$nin": [2020, 2022]}}, {"cat"}),
        ({"$or": [{"kind": "note"}, {"year": 2022}]}, {"door", "flag"}),
        ({"$and": [{"kind": "note"}, {"year": 2022}]}, set()),
        ({}, {"door", "cat", "flag"}),
    ],
)
def test_filters(filled: ContinuousMemory, where: dict[str, Any], expected: set[str]):
    assert {hit.id for hit in filled.search("the", k=9, where=where)} == expected
    assert filled.count(where=where) == len(expected)
    assert {hit.id for hit in filled.answer("the", k=9, where=where, max_new_tokens=1).hits} == expected
    if where:
        assert filled.delete(where=where) == len(expected)
        assert filled.count() == 3 - len(expected)


@pytest.mark.parametrize(
    "where",
    [
        {"year": {"$near": 1}},
        {"$not": [{"a": 1}]},
        {"comem.namespace": "bob"},
        {"year": 2**63},
        {"year": {"$gt": float("nan")}},
        {"year": {"$in": [1.0, float("inf")]}},
        {"name": "\ud83d"},
    ],
)
def test_unknown_filters_change_nothing(filled: ContinuousMemory, where: dict[str, Any]):
    for call in (
        lambda: filled.search("door", where=where),
        lambda: filled.count(where=where),
        lambda: filled.delete(where=where),
        lambda: filled.answer("door", where=where),
    ):
        with pytest.raises(QueryError, match=r"\$eq, \$ne"):
            call()
    assert filled.count() == 3


def test_a_damaged_item_is_named_and_can_be_mended(filled: ContinuousMemory):
    [record] = filled.store.get(["door"], namespace="default")
    block = record.block[:100] + ("a" if record.block[100] != "a" else "b") + record.block[101:]
    filled.store.put([type(record)(**{**vars(record), "block": block})])
    with pytest.raises(CorruptBlockError, match="'door'"):
        filled.get("door")
    assert filled.get("cat")[0].text == CAT.text
    filled.update("door", text="The blue door is open.")
    assert filled.get("door")[0].text == "The blue door is open."


def test_threads_share_a_memory(filled: ContinuousMemory):
    alone = filled.answer("cat?", k=2, max_new_tokens=6).text

    def work(number: int) -> str:
        view = filled.namespace(f"n{number % 3}")
        view.add([MemoryItem(id=f"{number}", text=f"Item {number}.", image=tiny_picture(number))])
        return filled.answer("cat?", k=2, max_new_tokens=6).text

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(12))) == {alone}
    assert [filled.namespace(f"n{number}").count() for number in range(3)] == [4, 4, 4]
