"""Filters on metadata: Chroma answers each as Python's own comparisons do, embedded and on a server."""

import itertools
import operator
import os
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.records import identity, key, record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comem_memory.errors import QueryError
from comem_memory.store import ChromaStore, Filter

BIG = 2**53  # from here on a double is not every whole number
NUMBERS: list[int | float] = [
    *(sign * value for value in (0, 1, 2, 3, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 5e-324) for sign in (1, -1)),
    *(sign * value for value in (BIG - 1, BIG, BIG + 1, BIG + 2, BIG + 3, float(BIG)) for sign in (1, -1)),
    *(sign * value for value in (2**62, 2**62 + 1, 2**62 - 1, float(2**62), 2**63 - 1) for sign in (1, -1)),
    9.2e18,
    1e-300,
    0.1,
    1 / 3,
]
VALUES = [*NUMBERS, True, False, "", "a", "2", "2.5", "True"]
STORED = dict(enumerate([*VALUES, None]))  # None: no such key
ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def holds(value: Any, operation: str, operand: Any) -> bool:
    if operation in ("$ne", "$nin"):
        return not holds(value, {"$ne": "$eq", "$nin": "$in"}[operation], operand)
    if operation == "$in":
        return any(holds(value, "$eq", one) for one in operand)
    if operation == "$eq":
        return ((is_number(value) and is_number(operand)) or type(value) is type(operand)) and value == operand
    return is_number(value) and ORDER[operation](value, operand)


def matches(value: Any, where: Filter) -> bool:
    results = []
    for name, condition in where.items():
        if name == "$and":
            results.append(all(matches(value, part) for part in condition))
        elif name == "$or":
            results.append(any(matches(value, part) for part in condition))
        else:
            condition = condition if isinstance(condition, dict) else {"$eq": condition}
            results.append(all(holds(value, *comparison) for comparison in condition.items()))
    return all(results)


def expected(where: Filter) -> list[str]:
    return sorted(str(id) for id, value in STORED.items() if matches(value, where))


@pytest.fixture(scope="module", params=["embedded", "server"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaStore]:
    if request.param == "embedded":
        store = ChromaStore.embedded(tmp_path_factory.mktemp("filters"), identity=identity())
    else:
        url = request.getfixturevalue("server_url")
        store = ChromaStore.server(url, identity=identity(), collection_name=f"filters-{os.getpid()}")
    store.put([record(str(id), metadata={} if value is None else {"n": value}) for id, value in STORED.items()])
    yield store
    store.close()


def test_numbers_come_back_as_they_were(store: ChromaStore):
    for one in store.summaries([str(id) for id in STORED], namespace="ann"):
        value = STORED[int(one.id)]
        assert one.metadata.get("n") == value
        assert type(one.metadata.get("n")) is type(value)


@pytest.mark.parametrize("operation", ["$eq", "$ne", *ORDER])
def test_every_comparison_with_every_value_is_pythons(store: ChromaStore, operation: str):
    for operand in NUMBERS if operation in ORDER else VALUES:
        where = {"n": {operation: operand}}
        assert store.ids(namespace="ann", where=where) == expected(where), where


@pytest.mark.parametrize("operation", ["$in", "$nin"])
def test_lists_may_mix_whole_numbers_with_others(store: ChromaStore, operation: str):
    lists: list[list[Any]] = [list(pair) for pair in itertools.combinations(NUMBERS[::2], 2)]
    for operand in [*lists, NUMBERS, [True], [True, False], ["2", "a"]]:
        where = {"n": {operation: operand}}
        assert store.ids(namespace="ann", where=where) == expected(where), where


def conditions() -> st.SearchStrategy[Filter]:
    decimals = st.builds(lambda whole, digits: whole / 10**digits, st.integers(-(10**15), 10**15), st.integers(0, 15))
    numbers = st.sampled_from(NUMBERS) | st.integers(1 - 2**63, 2**63 - 1) | decimals
    one = (
        st.tuples(st.sampled_from(["$eq", "$ne"]), numbers | st.booleans() | st.sampled_from(["", "a", "2"]))
        | st.tuples(st.sampled_from(list(ORDER)), numbers)
        | st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(numbers, min_size=1, max_size=4))
    )
    leaf = st.lists(one, min_size=1, max_size=2).map(lambda comparisons: {"n": dict(comparisons)})
    combined = st.sampled_from(["$and", "$or"])
    return st.recursive(
        leaf | numbers.map(lambda number: {"n": number}),
        lambda parts: st.builds(lambda name, of: {name: of}, combined, st.lists(parts, min_size=1, max_size=3)),
        max_leaves=6,
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=conditions())
def test_any_condition_is_pythons(store: ChromaStore, where: Filter):
    assert store.ids(namespace="ann", where=where) == expected(where)


def test_each_use_of_a_filter_compares_so(store: ChromaStore):
    where = {"n": {"$gt": 1.5, "$lt": 2.5}}  # 2 and 2.0
    ids = expected(where)
    assert len(ids) == 2
    assert store.count(namespace="ann", where=where) == 2
    assert sorted(r.id for r, _ in store.search(key(1), namespace="ann", k=99, where=where)) == ids
    assert len(store.nearest_similarities(key(1), namespace="ann", k=99, where=where)) == 2
    assert [r.id for batch in store.scan(namespace="ann", where=where) for r in batch] == ids
    store.put([record(id, namespace="bob", metadata={"n": value}) for id, value in [("a", 2), ("b", 2.5)]])
    assert store.delete(namespace="bob", where={"n": 2.5}) == ["b"]
    assert store.ids(namespace="bob") == ["a"]


def test_a_value_of_another_type_takes_the_old_ones_place(store: ChromaStore):
    for value in (2, 2.5, True, "2", 2.0, False):
        store.put([record("x", namespace="eve", metadata={"n": value})])
        for other in (2, 2.5, True, "2", False):
            assert store.count(namespace="eve", where={"n": other}) == holds(value, "$eq", other), (value, other)


def test_what_is_in_a_list_is_pythons(store: ChromaStore):
    lists: dict[str, list[Any]] = {
        "whole": [2, -(2**62)],
        "decimal": [2.0, 2.5],
        "both": [1, 2.5],
        "bools": [True],
        "texts": ["2", "a"],
    }
    records = [record(id, namespace="ida", metadata={"n": values}) for id, values in lists.items()]
    store.put([*records, record("none", namespace="ida"), record("plain", namespace="ida", metadata={"n": 2})])
    assert {one.id: one.metadata.get("n") for one in store.summaries(list(lists), namespace="ida")} == lists
    for value in (2, 2.0, 2.5, 1, 1.5, -(2**62), True, False, "2", "a", "b"):
        inside = sorted(id for id, values in lists.items() if any(holds(one, "$eq", value) for one in values))
        outside = sorted({*lists, "none", "plain"} - set(inside))
        assert store.ids(namespace="ida", where={"n": {"$contains": value}}) == inside, value
        assert store.ids(namespace="ida", where={"n": {"$not_contains": value}}) == outside, value


@pytest.mark.parametrize("operand", [[], [1, "b"], [1, True], [None], 2, [float("nan")], [2**63]])
def test_lists_are_of_one_kind_and_storable(store: ChromaStore, operand: Any):
    for operation in ("$in", "$nin"):
        with pytest.raises(QueryError, match="of one kind"):
            store.ids(namespace="ann", where={"n": {operation: operand}})
