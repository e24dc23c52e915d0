"""Namespaces never see each other's items, whatever is done in which order."""

import shutil
import tempfile
from pathlib import Path

import pytest
from helpers.memories import kept_files, same_picture
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import ItemNotFoundError
from comem_memory.store import identity_of
from comem_memory.testing import tiny_key, tiny_picture

NAMESPACES = ("ann", "ann/b", "b")
IDS = ("x", "b/x", "y")
namespaces, ids = st.sampled_from(NAMESPACES), st.sampled_from(IDS)
texts, seeds = st.sampled_from(["red apple", "green pear", "blue plum", None]), st.sampled_from([None, 1, 2])


class Namespaces(RuleBasedStateMachine):
    """Random operations on three namespaces, against plain dictionaries: what one does, no other sees."""

    encoder: MemoryEncoder

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        key = tiny_key()
        store = ChromaStore.in_memory(identity=identity_of(self.encoder, key))
        self.memory = ContinuousMemory(self.encoder, key, store, picture_directory=self.folder)
        self.expected: dict[str, dict[str, tuple[str | None, int | None, int]]] = {name: {} for name in NAMESPACES}

    def teardown(self) -> None:
        self.memory.close()
        shutil.rmtree(self.folder)

    @rule(namespace=namespaces, given=st.dictionaries(ids, st.tuples(texts, seeds, st.integers(0, 2)), max_size=3))
    def add(self, namespace: str, given: dict[str, tuple[str | None, int | None, int]]) -> None:
        given = {id: (text or "plain" if seed is None else text, seed, n) for id, (text, seed, n) in given.items()}
        items = [
            MemoryItem(id=id, text=text, image=None if seed is None else tiny_picture(seed), metadata={"n": n})
            for id, (text, seed, n) in given.items()
        ]
        assert self.memory.namespace(namespace).add(items) == list(given)
        self.expected[namespace] |= given

    @rule(namespace=namespaces, id=ids, text=texts, seed=seeds, n=st.sampled_from([None, 0, 1, 2]))
    def update(self, namespace: str, id: str, text: str | None, seed: int | None, n: int | None) -> None:
        view, mine = self.memory.namespace(namespace), self.expected[namespace]
        image = None if seed is None else tiny_picture(seed)
        metadata = None if n is None else {"n": n}
        if id not in mine:
            with pytest.raises(ItemNotFoundError):
                view.update(id, text=text, image=image, metadata=metadata)
            return
        view.update(id, text=text, image=image, metadata=metadata)
        new = zip((text, seed, n), mine[id], strict=True)
        mine[id] = tuple(old if value is None else value for value, old in new)  # type: ignore[assignment]

    @rule(namespace=namespaces, chosen=st.none() | st.lists(ids, max_size=2), n=st.none() | st.integers(0, 2))
    def delete(self, namespace: str, chosen: list[str] | None, n: int | None) -> None:
        view, mine = self.memory.namespace(namespace), self.expected[namespace]
        if chosen is None and n is None:
            assert view.clear() == len(mine)
            mine.clear()
            return
        gone = [id for id, item in mine.items() if (chosen is None or id in chosen) and n in (None, item[2])]
        assert view.delete(ids=chosen, where=None if n is None else {"n": n}) == len(gone)
        for id in gone:
            del mine[id]

    @rule(namespace=namespaces, text=texts, seed=seeds, k=st.integers(1, 4), n=st.none() | st.integers(0, 2))
    def search(self, namespace: str, text: str | None, seed: int | None, k: int, n: int | None) -> None:
        if text is None and seed is None:
            return
        mine = {id: item for id, item in self.expected[namespace].items() if n in (None, item[2])}
        image, where = None if seed is None else tiny_picture(seed), None if n is None else {"n": n}
        hits = self.memory.namespace(namespace).search(text, image, k=k, where=where)
        assert len(hits) == min(k, len(mine)) == len({hit.id for hit in hits})
        assert all((hit.text, hit.metadata) == (mine[hit.id][0], {"n": mine[hit.id][2]}) for hit in hits)

    @invariant()
    def each_holds_its_own(self) -> None:
        for namespace, mine in self.expected.items():
            view = self.memory.namespace(namespace)
            assert view.count() == len(mine)
            for hit, (text, seed, n) in zip(view.get(list(mine)), mine.values(), strict=True):
                assert (hit.text, hit.metadata) == (text, {"n": n})
                assert hit.image is None if seed is None else same_picture(hit.image, tiny_picture(seed))
        with_picture = sum(item[1] is not None for mine in self.expected.values() for item in mine.values())
        assert len(kept_files(self.memory)) == with_picture


def test_namespaces_never_leak(llava: MemoryEncoder):
    machine = type("Machine", (Namespaces,), {"encoder": llava})
    limits = settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    case = machine.TestCase
    case.settings = limits
    case().runTest()
