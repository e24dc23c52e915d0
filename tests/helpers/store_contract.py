"""What every `MemoryStore` does: a class of tests."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from comem_memory.errors import DuplicateIdError, EncoderMismatchError, ItemNotFoundError, QueryError, StoreClosedError
from comem_memory.store import MemoryStore, RecordSummary
from helpers.records import NEW, OLD, THIRD, encoded_again, identity, key, migrate, record

GONE = "2001-01-01T00:00:00+00:00"
PAIRS = [("ann", "a"), ("bob", "a")]


def ids_of(store: MemoryStore, namespace: str = "ann") -> list[str]:
    return [r.id for batch in store.scan(namespace=namespace) for r in batch]


def fill(store: MemoryStore) -> None:
    """Five old records in two namespaces."""
    store.put([record(c, metadata={"n": 1}) for c in "abc"] + [record(c, namespace="bob") for c in "de"])


def assert_migrated(store: MemoryStore) -> None:
    assert store.identity == NEW
    assert store.get(list("abc"), namespace="ann") == [encoded_again(record(c, metadata={"n": 1})) for c in "abc"]
    assert store.get(list("de"), namespace="bob") == [encoded_again(record(c, namespace="bob")) for c in "de"]
    assert [r.id for r, _ in store.search(key(7, 5), namespace="ann", k=9)] == ["a", "b", "c"]


def assert_unchanged(store: MemoryStore) -> None:
    assert store.identity == OLD
    assert store.get(list("abc"), namespace="ann") == [record(c, metadata={"n": 1}) for c in "abc"]
    assert store.count(namespace="bob") == 2


class StoreContract:
    """Subclass it with a fixture `store`: an empty one, opened with `identity()`, whose collection is its own."""

    def test_records_come_back_as_they_were_put(self, store: MemoryStore):
        full = record("a", image="images/a.png", truncated=True, metadata={"s": "é", "i": 3, "f": 2.0, "b": True})
        bare = record("b", text=None)
        store.put([full, bare])
        back = store.get(["a", "b"], namespace="ann")
        assert back == [full, bare]
        for r, original in zip(back, [full, bare], strict=True):
            assert r.key.dtype == np.float32
            np.testing.assert_array_equal(r.key, original.key)
        assert [type(v) for v in back[0].metadata.values()] == [type(full.metadata[name]) for name in back[0].metadata]

    def test_get_keeps_the_order_asked_and_leaves_out_what_is_missing(self, store: MemoryStore):
        store.put([record(c) for c in "abcd"])
        assert [r.id for r in store.get(["d", "nothing", "a", "c"], namespace="ann")] == ["d", "a", "c"]
        assert store.get([], namespace="ann") == []

    def test_putting_again_replaces_everything(self, store: MemoryStore):
        passages = {"passages": ("é", "b"), "passage_keys": "keys"}
        store.put([record("a", metadata={"old": 1, "both": 1}, image="a.png", **passages)])
        assert store.get(["a"], namespace="ann")[0].passages == ("é", "b")
        newer = record("a", metadata={"both": 2}, text=None, seed=99, block="other")
        store.put([newer])
        assert store.get(["a"], namespace="ann") == [newer]
        assert store.count(namespace="ann", where={"old": 1}) == 0
        assert store.count(namespace="ann") == 1
        store.put([])

    def test_one_id_is_put_once_a_call(self, store: MemoryStore):
        store.put([record("a"), record("a", namespace="bob")])
        with pytest.raises(DuplicateIdError, match="Store each id once"):
            store.put([record("a"), record("a")])

    def test_more_records_than_a_batch(self, store: MemoryStore):
        records = [record(f"{i:04}") for i in range(150)]
        store.put(records)
        assert store.count(namespace="ann") == 150
        summaries = store.summaries([r.id for r in records] + ["nothing"], namespace="ann")
        assert [(s.id, s.content_hash) for s in summaries] == [(r.id, r.content_hash) for r in records]
        assert len(store.search(key(1), namespace="ann", k=150)) == 150

    def test_scan_is_ordered_and_in_batches(self, store: MemoryStore):
        store.put([record(f"{i:02}") for i in reversed(range(20))])
        store.put([record("elsewhere", namespace="bob")])
        batches = list(store.scan(namespace="ann", batch_size=8))
        assert [len(batch) for batch in batches] == [8, 8, 4]
        assert [r.id for batch in batches for r in batch] == [f"{i:02}" for i in range(20)]

    def test_the_newest_are_given_in_pages(self, store: MemoryStore):
        def at(n: int) -> str:
            return f"2026-05-{1 + n // 60:02}T12:{n % 60:02}:00.000000+00:00"

        shuffled = [(n * 409) % 1200 for n in range(1200)]
        store.put([record(f"{n:04}", created_at=at(n), metadata={"even": n % 2 == 0}) for n in shuffled])
        store.put([record("elsewhere", namespace="bob", created_at=at(1300))])
        expected = [f"{n:04}" for n in range(1199, -1, -1)]

        def page(limit: int, offset: int = 0, **other: Any) -> list[str]:
            found = store.newest(namespace="ann", limit=limit, offset=offset, **other)
            assert found.total == store.count(namespace="ann", **other)
            return [r.id for r in found]

        assert page(3) == expected[:3] and page(3, 500) == expected[500:503] and page(5, 1197) == expected[1197:]
        assert page(3, 1200) == []
        assert page(2, 1, where={"even": True}) == ["1196", "1194"]
        store.put([record(f"same {n:03}", created_at=at(1300)) for n in range(400)])
        assert page(2, 399) == ["same 000", "1199"], "equally new ones come by id, downwards"

    def test_namespaces_do_not_see_each_other(self, store: MemoryStore):
        store.put([record("a", seed=1), record("b", namespace="bob", seed=1), record("a", namespace="eve")])
        assert store.namespaces() == ["ann", "bob", "eve"]
        assert [r.id for r in store.get(["a", "b"], namespace="bob")] == ["b"]
        assert store.summaries(["a"], namespace="bob") == []
        assert [r.namespace for r, _ in store.search(key(1), namespace="bob", k=9)] == ["bob"]
        everything = {"$or": [{"nothing": {"$ne": 1}}, {"other": {"$ne": 1}}]}
        assert store.count(namespace="bob", where=everything) == 1
        assert store.delete(namespace="bob", ids=["a"]) == []
        assert len(store.delete(namespace="bob", where=everything)) == 1
        assert store.namespaces() == ["ann", "eve"]
        assert ids_of(store, "bob") == []

    @pytest.mark.parametrize("namespace", ["", "ann\x1fa", "a\nb", "a\x85", "a\ud83d"])
    def test_a_namespace_that_could_be_mistaken_is_refused(self, store: MemoryStore, namespace: str):
        for call in (
            lambda: store.put([record("a", namespace=namespace)]),
            lambda: store.get(["a"], namespace=namespace),
            lambda: store.search(key(1), namespace=namespace, k=1),
            lambda: store.delete(namespace=namespace),
            lambda: store.count(namespace=namespace),
        ):
            with pytest.raises(QueryError, match="no control characters"):
                call()

    def test_search_ranks_by_inner_product_with_negative_ones_too(self, store: MemoryStore):
        records = [record(f"{i:02}", seed=i) for i in range(30)]
        store.put(records)
        query = key(1000)
        expected = sorted(((float(r.key @ query), r.id) for r in records), key=lambda pair: (-pair[0], pair[1]))
        hits = store.search(query, namespace="ann", k=30)
        assert [r.id for r, _ in hits] == [id for _, id in expected]
        np.testing.assert_allclose([s for _, s in hits], [s for s, _ in expected], atol=1e-6)
        assert hits[-1][1] < 0
        assert store.search(query, namespace="ann", k=3) == hits[:3]
        assert store.search(-query, namespace="ann", k=1)[0][0].id == expected[-1][1]

    def test_keys_need_not_have_unit_length(self, store: MemoryStore):
        store.put(
            [
                record("long", key=3 * key(1)),
                record("short", key=0.1 * key(1)),
                record("zero", key=0 * key(1)),
            ]
        )
        hits = store.search(key(1), namespace="ann", k=5)
        assert [r.id for r, _ in hits] == ["long", "short", "zero"]
        np.testing.assert_allclose([s for _, s in hits], [3, 0.1, 0], atol=1e-5)

    def test_equal_scores_are_ordered_by_id_wherever_the_cut_is(self, store: MemoryStore):
        names = [f"{(i * 37) % 100:02}" for i in range(100)]
        store.put([record(name, seed=5) for name in names])
        assert [r.id for r, _ in store.search(key(5), namespace="ann", k=7)] == sorted(names)[:7]

    def test_empty_places(self, store: MemoryStore):
        assert store.search(key(1), namespace="ann", k=3) == []
        assert store.namespaces() == []
        assert store.count(namespace="ann") == 0
        assert store.delete(namespace="ann", ids=["a"]) == []
        assert list(store.scan(namespace="ann")) == []

    def test_search_refuses_what_cannot_be_answered(self, store: MemoryStore):
        with pytest.raises(QueryError, match="k is 0"):
            store.search(key(1), namespace="ann", k=0)
        with pytest.raises(QueryError, match=r"shape \(5,\)"):
            store.search(key(1, 5), namespace="ann", k=1)
        with pytest.raises(QueryError, match="not finite"):
            store.search(key(1) * np.nan, namespace="ann", k=1)

    def test_put_refuses_keys_of_another_dimension_before_storing_anything(self, store: MemoryStore):
        with pytest.raises(EncoderMismatchError, match="letters-v1"):
            store.put([record("a"), record("b", key=key(1, 5))])
        assert store.count(namespace="ann") == 0

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ({}, "abc"),
            ({"year": 2020}, "a"),
            ({"year": {"$gte": 2021}}, "bc"),
            ({"year": {"$gt": 2020, "$lt": 2022.5}}, "b"),
            ({"year": {"$lte": 2021}, "kind": "note"}, "a"),
            ({"kind": {"$in": ["note", "mail"]}}, "abc"),
            ({"kind": {"$nin": ["note"]}}, "b"),
            ({"kind": {"$ne": "note"}}, "b"),
            ({"$or": [{"year": 2020}, {"kind": "mail"}]}, "ab"),
            ({"$and": [{"year": {"$gt": 2020}}, {"$or": [{"kind": "note"}]}]}, "c"),
            ({"done": True}, "c"),
            ({"year": {"$eq": 1999}}, ""),
        ],
    )
    def test_filters(self, store: MemoryStore, where: dict[str, Any], expected: str):
        store.put(
            [
                record("a", metadata={"year": 2020, "kind": "note"}),
                record("b", metadata={"year": 2021, "kind": "mail"}),
                record("c", metadata={"year": 2023, "kind": "note", "done": True}),
                record("x", namespace="bob", metadata={"year": 2020, "kind": "note"}),
            ]
        )
        assert sorted(r.id for r, _ in store.search(key(1), namespace="ann", k=9, where=where)) == list(expected)
        assert store.count(namespace="ann", where=where) == len(expected)
        assert set(store.delete(namespace="ann", ids=["a", "b"], where=where)) == set(expected) & set("ab")
        assert set(store.delete(namespace="ann", where=where)) == set(expected) - set("ab")

    @pytest.mark.parametrize(
        "where",
        [
            {"year": {"$near": 2020}},
            {"$not": [{"a": 1}]},
            {"comem.namespace": "bob"},
            {"comem.moment": {"$gt": 1}},
            {"comem.superseded": 1},
            {"$or": [{"a": 1}, {"comem.namespace": {"$eq": "bob"}}]},
            {"#document": "x"},
            {"$and": []},
            {"$or": [{}]},
            {"$or": {"a": 1}},
            {"a": {"$in": []}},
            {"a": {"$in": [1, "b"]}},
            {"a": {"$gt": "x"}},
            {"a": {}},
            {"a": None},
            {"a": [1]},
            ["a"],
        ],
    )
    def test_filters_that_cannot_be_understood(self, store: MemoryStore, where: Any):
        with pytest.raises(QueryError, match=r"\$eq, \$ne, \$gt.*\$and or \$or"):
            store.search(key(1), namespace="ann", k=1, where=where)

    def test_summaries_are_records_without_key_vectors_and_text(self, store: MemoryStore):
        full = record("a", image="images/a.png", truncated=True, metadata={"s": "é", "i": 3, "f": 2.0, "b": True})
        store.put([full, record("b", text=None), record("a", namespace="bob")])
        names = [field.name for field in fields(RecordSummary)]
        expected = RecordSummary(**{name: getattr(full, name) for name in names})
        a, b, again = store.summaries(["a", "b", "nothing", "a"], namespace="ann")
        assert a == again == expected
        assert (b.id, b.image, b.metadata) == ("b", None, {})

    def test_items_that_swapped_their_contents_are_told_apart(self, store: MemoryStore):
        store.put([record("a", content_hash="one"), record("b", content_hash="two")])
        store.put([record("a", content_hash="two"), record("b", content_hash="one")])
        summaries = store.summaries(["a", "b"], namespace="ann")
        assert {summary.id: summary.content_hash for summary in summaries} == {"a": "two", "b": "one"}

    def test_what_is_asked_for_twice_comes_twice(self, store: MemoryStore):
        store.put([record(c) for c in "ab"])
        assert [r.id for r in store.get(["a", "b", "a"], namespace="ann")] == ["a", "b", "a"]
        assert [r.id for r in store.require(["a", "b", "a"], namespace="ann")] == ["a", "b", "a"]

    def test_require_names_what_is_missing(self, store: MemoryStore):
        store.put([record("a")])
        with pytest.raises(ItemNotFoundError, match=r"'ann' holds no item 'x' and 1 more of those asked. Check"):
            store.require(["a", "x", "y"], namespace="ann")
        assert store.require([], namespace="ann") == []

    @pytest.mark.parametrize("where", [None, {"even": True}])
    def test_the_nearest_similarities_are_those_of_a_search(self, store: MemoryStore, where: Any):
        store.put([record(f"{i:02}", seed=i, metadata={"even": i % 2 == 0}) for i in range(40)])
        store.put([record(f"{i:02}", seed=i, namespace="bob", metadata={"even": True}) for i in range(40)])
        for k in (1, 7, 40):
            expected = [similarity for _, similarity in store.search(key(1000), namespace="ann", k=k, where=where)]
            found = store.nearest_similarities(key(1000), namespace="ann", k=k, where=where)
            np.testing.assert_allclose(found, expected, atol=1e-6)
        assert store.nearest_similarities(key(1000), namespace="nobody", k=3) == []
        with pytest.raises(QueryError, match="k is 0"):
            store.nearest_similarities(key(1), namespace="ann", k=0)
        with pytest.raises(QueryError, match=r"shape \(5,\)"):
            store.nearest_similarities(key(1, 5), namespace="ann", k=1)

    def test_what_has_expired_is_as_if_it_were_deleted(self, store: MemoryStore):
        gone, later = GONE, "9000-01-01T00:00:00.000000+00:00"
        here = [record("b", seed=2, expires=later), record("c", seed=3)]
        store.put([record("a", seed=1, expires=gone), *here, record("a", namespace="bob", expires=gone)])
        everything = {"nothing": {"$ne": 1}}
        assert store.get(list("abc"), namespace="ann") == here
        assert [summary.id for summary in store.summaries(list("abc"), namespace="ann")] == ["b", "c"]
        for where in (None, everything):
            assert [r.id for r, _ in store.search(key(1), namespace="ann", k=2, where=where)] in (
                ["b", "c"],
                ["c", "b"],
            )
            assert len(store.nearest_similarities(key(1), namespace="ann", k=3, where=where)) == 2
            assert (
                store.ids(namespace="ann", where=where) == ["b", "c"] and store.count(namespace="ann", where=where) == 2
            )
        assert ids_of(store) == ["b", "c"] and store.ids(namespace="ann", history=True) == ["b", "c"]
        assert store.same_content(["hash of a"], namespace="ann") == [] and store.namespaces() == ["ann"]
        assert store.remove_expired(limit=1) + store.remove_expired() in (PAIRS, PAIRS[::-1])
        assert store.remove_expired() == []
        store.put([record("a", seed=1)])
        assert ids_of(store) == ["a", "b", "c"], "stored anew, it has none of the old times"

    def test_what_expires_can_be_postponed_until_it_has_expired(self, store: MemoryStore):
        soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="microseconds")
        store.put([record("a", expires=soon), record("b"), record("c", expires=GONE), record("a", namespace="bob")])
        store.postpone([*"abc", "nothing"], timedelta(hours=2), namespace="ann")
        postponed, lasting = store.get(list("abc"), namespace="ann")
        assert replace(postponed, expires=soon) == record("a", expires=soon) and lasting == record("b")
        left = datetime.fromisoformat(str(postponed.expires)) - datetime.now(UTC)
        assert timedelta(minutes=119) < left <= timedelta(minutes=120)
        assert store.get(["a"], namespace="bob") == [record("a", namespace="bob")]

    @pytest.mark.parametrize("where", [None, {"n": 1}])
    def test_expired_and_superseded_records_take_no_place_among_the_k_nearest(self, store: MemoryStore, where: Any):
        away = [record(f"{i:02}", key=key(1), metadata={"n": 1}, expires=GONE if i % 2 else None) for i in range(40)]
        here = [record(f"far{i:02}", key=-key(i), metadata={"n": 1}) for i in range(10)]
        store.put(away + here)
        store.supersede([r.id for r in away if r.expires is None], by="far00", namespace="ann")
        found = [r.id for r, _ in store.search(key(1), namespace="ann", k=10, where=where)]
        assert sorted(found) == [r.id for r in here]
        assert len(store.nearest_similarities(key(1), namespace="ann", k=10, where=where)) == 10

    def test_superseded_records_are_found_by_id_and_in_their_history(self, store: MemoryStore):
        store.put([record(c, supersedes=tuple(before)) for c, before in zip("dbac", ["c", "a", "", "b"], strict=True)])
        store.put([record("a", namespace="bob")])
        for old, new in zip("abc", "bcd", strict=True):
            store.supersede([old, "nothing"], by=new, namespace="ann")
        assert ids_of(store) == store.ids(namespace="ann") == ["d"] and store.count(namespace="ann") == 1
        assert store.ids(namespace="ann", history=True) == list("abcd") and store.count(namespace="bob") == 1
        assert [r.id for r in store.superseding(namespace="ann")] == list("bcd")
        assert store.superseding(namespace="bob") == []
        assert [r.superseded_by for r in store.get(list("abcd"), namespace="ann")] == ["b", "c", "d", None]
        for id in "abcd":
            assert [r.id for r in store.history(id, namespace="ann")] == list("abcd")
        assert [r.id for r in store.history("a", namespace="bob")] == ["a"]
        with pytest.raises(ItemNotFoundError, match="holds no item 'x'"):
            store.history("x", namespace="ann")
        assert store.delete(namespace="ann", ids=["d"]) == ["d"]
        assert ids_of(store) == [] and [r.id for r in store.history("a", namespace="ann")] == list("abc")
        assert sorted(store.delete(namespace="ann")) == list("abc") and store.namespaces() == ["bob"]

    def test_history_ends_where_items_supersede_one_another(self, store: MemoryStore):
        store.put(
            [record("a", supersedes=("b",), superseded_by="b"), record("b", supersedes=("a",), superseded_by="a")]
        )
        assert [r.id for r in store.history("a", namespace="ann")] == ["a", "b"]

    def test_times_come_back_as_they_were_put_and_can_be_compared(self, store: MemoryStore):
        at = {c: f"2026-05-0{n}T12:00:00.000000+00:00" for n, c in enumerate("abcd", 1)}
        said = "2026-05-03T01:00:00.000000+02:00"  # on the second in UTC
        records = [
            record("a", created_at=at["a"]),
            record("b", created_at=at["b"], updated_at=at["d"], said_at=said),
            record("c", created_at=at["c"], expires="9000-01-01T00:00:00.000000+00:00"),
        ]
        store.put(records)
        assert store.get(list("abc"), namespace="ann") == records
        for where, expected in {
            ("comem.created_at", "$gte", at["b"]): "bc",
            ("comem.created_at", "$lt", datetime.fromisoformat(at["b"])): "a",
            ("comem.created_at", "$ne", at["b"]): "ac",
            ("comem.updated_at", "$gt", at["c"]): "b",
            ("comem.updated_at", "$lte", at["c"]): "ac",
            ("comem.updated_at", "$ne", at["d"]): "ac",
            ("comem.updated_at", "$ne", at["a"]): "bc",
            ("comem.said_at", "$lt", "2026-05-03T00:00:00Z"): "b",
            ("comem.said_at", "$eq", "2026-05-02T23:00:00+00:00"): "b",
            ("comem.said_at", "$ne", said): "ac",
            ("comem.expires", "$gt", at["a"]): "c",
        }.items():
            name, operator, operand = where
            assert store.ids(namespace="ann", where={name: {operator: operand}}) == list(expected), where
        assert store.ids(namespace="ann", where={"comem.created_at": at["a"]}) == ["a"]
        between = {"$or": [{"comem.created_at": {"$gt": at["a"], "$lt": at["c"]}}, {"comem.said_at": {"$gt": at["d"]}}]}
        assert store.ids(namespace="ann", where=between) == ["b"]

    def test_a_migration_keeps_times_and_history_and_sees_what_was_superseded_meanwhile(self, store: MemoryStore):
        times = {"said_at": "2026-05-03T01:00:00.000000+02:00", "updated_at": "2026-05-04T00:00:00.000000+00:00"}
        old = [record("a"), record("b", supersedes=("a",), **times)]
        store.put(old)
        migrate(store, stop_after=2)
        store.supersede(["a"], by="b", namespace="ann")
        assert migrate(store) == 1
        superseded = replace(old[0], superseded_by="b")
        assert store.history("a", namespace="ann") == [encoded_again(superseded), encoded_again(old[1])]
        assert ids_of(store) == ["b"]

    @pytest.mark.parametrize("operand", [datetime(2026, 5, 3), "2026-05-03", "yesterday", 5, None, [1]])
    @pytest.mark.parametrize("name", ["comem.created_at", "comem.expires"])
    def test_a_time_is_compared_with_a_moment_in_a_timezone(self, store: MemoryStore, name: str, operand: Any):
        with pytest.raises(QueryError, match=rf"compare {name}: .* no moment with a timezone, such as"):
            store.ids(namespace="ann", where={name: {"$gt": operand}})
        with pytest.raises(QueryError, match=r"cannot be compared by '\$in'"):
            store.ids(namespace="ann", where={name: {"$in": [operand]}})

    def test_terms_are_found_whole_whatever_their_case_and_in_their_namespace_alone(self, store: MemoryStore):
        store.put(
            [
                record("a", text="INC-4007: the mail gateway of Ann@Example.org drops it."),
                record("b", text="INC-40071: the VPN, seen in 订单K-3852是 and by Tamuna."),
                record("c", text="tamuna wrote INC-4070."),
                record("none", text=None),
                record("a", namespace="bob", text="INC-4007 of another."),
            ]
        )
        asked = ["inc-4007", "4007", "400", "ann@example.org", "k-3852", "tamuna", "nothing", "quo%te", ""]
        expected = {"inc-4007": ["a"], "4007": ["a"], "ann@example.org": ["a"], "k-3852": ["b"], "tamuna": ["b", "c"]}
        assert store.holding(asked, namespace="ann", most=2) == expected
        assert store.holding(["tamuna", "inc"], namespace="ann", most=1) == {}
        assert store.holding(["inc-4007"], namespace="bob", most=9) == {"inc-4007": ["a"]}
        assert store.holding([], namespace="ann", most=9) == {}

    def test_expired_and_superseded_records_are_found_by_no_term_and_among_no_few(self, store: MemoryStore):
        here, gone, old = (record(c, text="INC-1", seed=n) for n, c in enumerate("abc"))
        store.put([here, replace(gone, expires=GONE), old, *(record(f"old{n}", text="INC-1") for n in range(5))])
        store.supersede(["c", *(f"old{n}" for n in range(5))], by="a", namespace="ann")
        assert store.holding(["inc-1"], namespace="ann", most=1) == {"inc-1": ["a"]}
        for where in (None, {"nothing": {"$ne": 1}}):
            [(found, _)] = store.search(key(1), namespace="ann", k=9, where=where, among=list("abc"))
            assert found == here
        store.supersede(["a"], by="d", namespace="ann")
        assert store.holding(["inc-1"], namespace="ann", most=9) == {}
        store.put([here])
        assert store.holding(["inc-1"], namespace="ann", most=9) == {"inc-1": ["a"]}, "as it is stored anew"

    def test_a_very_long_text_is_stored_and_found_by_its_codes(self, store: MemoryStore):
        words = " ".join(f"{chr(97 + i // 676)}{chr(97 + i // 26 % 26)}{chr(97 + i % 26)}" for i in range(7000))
        store.put([record("a", text=f"{words} INC-4007")])
        assert store.holding(["inc-4007", "aaa"], namespace="ann", most=1) == {"inc-4007": ["a"], "aaa": ["a"]}

    def test_what_is_put_again_or_deleted_is_not_found_by_its_former_terms(self, store: MemoryStore):
        store.put([record("a", text="INC-1 and INC-2"), record("b", text="INC-1")])
        store.put([record("a", text="INC-3"), record("b", text=None)])
        assert store.holding(["inc-1", "inc-2", "inc-3"], namespace="ann", most=9) == {"inc-3": ["a"]}
        store.delete(namespace="ann", ids=["a"])
        assert store.holding(["inc-3"], namespace="ann", most=9) == {}

    def test_a_migration_takes_terms_along(self, store: MemoryStore):
        store.put([record("a", text="INC-1")])
        migrate(store)
        assert store.holding(["inc-1"], namespace="ann", most=9) == {"inc-1": ["a"]}

    def test_search_among_a_few(self, store: MemoryStore):
        store.put([record(c, seed=n, metadata={"n": n}) for n, c in enumerate("abcd")])
        store.put([record("a", namespace="bob", seed=7)])
        every = {r.id: similarity for r, similarity in store.search(key(9), namespace="ann", k=4)}
        found = store.search(key(9), namespace="ann", k=9, among=["d", "a", "nothing"])
        assert [(r.id, s) for r, s in found] == [(id, s) for id, s in every.items() if id in "ad"]
        assert [r.id for r, _ in store.search(key(9), namespace="ann", k=1, among=["d", "a"])] == [found[0][0].id]
        [(only, _)] = store.search(key(9), namespace="ann", k=9, among=["d", "a"], where={"n": {"$gt": 0}})
        assert only.id == "d"
        assert store.search(key(9), namespace="ann", k=9, among=[]) == []

    def test_a_migration_moves_every_namespace(self, store: MemoryStore):
        fill(store)
        migration = store.begin_migration(NEW)
        assert (migration.total, migration.done, migration.identity) == (5, 0, NEW)
        assert_unchanged(store)
        assert migrate(store) == 5
        assert_migrated(store)
        store.put([record("f", key=key(1, 5))])
        assert store.count(namespace="ann") == 4

    def test_a_migration_that_was_stopped_goes_on(self, store: MemoryStore):
        fill(store)
        assert migrate(store, stop_after=2) == 2
        assert_unchanged(store)
        assert store.begin_migration(NEW).done == 2
        assert migrate(store) == 3
        assert_migrated(store)
        assert store.begin_migration(OLD).done == 0

    def test_a_migration_to_a_third_encoder_starts_anew(self, store: MemoryStore):
        fill(store)
        migration = store.begin_migration(THIRD)
        migration.put([record("a", metadata={"n": 1})])
        assert store.begin_migration(NEW).done == 0
        assert migrate(store) == 5
        assert_migrated(store)

    def test_an_unfinished_migration_does_not_commit(self, store: MemoryStore):
        fill(store)
        migrate(store, stop_after=2)
        with pytest.raises(EncoderMismatchError, match="3 of 5 items"):
            store.begin_migration(NEW).commit()
        assert_unchanged(store)

    def test_what_changes_during_a_migration_is_taken_along(self, store: MemoryStore):
        fill(store)
        migrate(store, stop_after=4)
        store.delete(namespace="ann", ids=["b"])
        store.put([record("c", text="changed", content_hash="changed"), record("new", metadata={"n": 2})])
        store.put([record("a", metadata={"n": 3})])
        assert migrate(store) == 4  # a, c and new; e was still to come
        assert ids_of(store) == ["a", "c", "new"]
        assert [r.metadata for r in store.get(["a", "c"], namespace="ann")] == [{"n": 3}, {}]
        assert store.get(["c"], namespace="ann")[0].text == "changed"

    def test_a_closed_store_says_so(self, store: MemoryStore):
        store.put([record("a")])
        store.close()
        store.close()
        for use in (
            lambda: store.put([record("b")]),
            lambda: store.get(["a"], namespace="ann"),
            lambda: store.search(key(1), namespace="ann", k=1),
            lambda: ids_of(store),
            lambda: store.count(namespace="ann"),
            lambda: store.delete(namespace="ann", ids=["a"]),
            lambda: store.begin_migration(identity("other")),
        ):
            with pytest.raises(StoreClosedError, match="was closed. Open it again"):
                use()
