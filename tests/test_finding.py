"""Finding by meaning and by terms together, with real stores: exact codes, bounds, age, diversity and rerankers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comem_memory import ChromaStore, ContinuousMemory, MemoryItem, RetrievalKey
from comem_memory.errors import QueryError
from comem_memory.store import identity_of
from comem_memory.testing import LetterEmbedder, tiny_backbone, tiny_encoder, tiny_key, tiny_picture

SAID = (
    "the mail gateway drops attachments",
    "the login page times out",
    "backups fail at night",
    "the search index is stale",
    "invoices are printed twice",
    "the VPN disconnects",
    "push notifications arrive late",
    "avatars do not load",
)
INCIDENTS = [MemoryItem(id=f"{n}", text=f"INC-{4001 + n}: {what}") for n, what in enumerate(SAID)]


class Meaning:
    """Knows no words: each text lies a step further from the first one that it was ever shown."""

    name = "steps"
    dimension = 2

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}

    def embed(self, inputs: Sequence[str]) -> np.ndarray:
        steps = [self.steps.setdefault(text, max(self.steps.values()) + 1) for text in inputs]
        return np.array([[np.cos(step / 20), np.sin(step / 20)] for step in steps], np.float32)


@pytest.fixture(scope="module")
def encoder():
    return tiny_encoder(tiny_backbone("llava"))


@pytest.fixture(params=["embedded", "server"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, encoder: Any) -> Callable[..., ContinuousMemory]:
    """Opens a memory in a directory or on a server; the same key finds the same in both."""

    def open(key: RetrievalKey, **settings: Any) -> ContinuousMemory:
        identity = identity_of(encoder, key)
        if request.param == "server":
            url = request.getfixturevalue("server_url")
            store = ChromaStore.server(url, identity=identity, collection_name=tmp_path.name.replace("_", "-"))
        else:
            store = ChromaStore.embedded(tmp_path, identity=identity)
        memory = ContinuousMemory(encoder, key, store, picture_directory=tmp_path, **settings)
        request.addfinalizer(memory.close)
        return memory

    return open


@pytest.fixture
def near_first(opened: Callable[..., ContinuousMemory]) -> Callable[..., ContinuousMemory]:
    """A memory of texts of which the first is most similar to whatever is asked, the second less, and so on."""

    def fill(texts: Sequence[str], *asked: str, **settings: Any) -> ContinuousMemory:
        meaning = Meaning()
        meaning.steps = dict.fromkeys(asked, 0)
        memory = opened(RetrievalKey(meaning), **settings)
        meaning.embed(texts)
        memory.add([MemoryItem(id=f"{n}", text=text) for n, text in enumerate(texts)], progress=False)
        return memory

    return fill


def ids(hits: Sequence[Any]) -> list[str]:
    return [hit.id for hit in hits]


def test_a_code_that_is_asked_for_comes_first(near_first: Callable[..., ContinuousMemory]):
    texts = [str(item.text) for item in INCIDENTS]
    questions = [f"What is INC-{4001 + n} about?" for n in range(len(texts))]
    memory = near_first(texts, *questions)
    memory.namespace("bob").add(MemoryItem(text="INC-4008 of another"), progress=False)
    assert [memory.search(question, k=1)[0].id for question in questions] == [f"{n}" for n in range(len(texts))]
    hits = memory.search(questions[7], k=3)
    assert ids(hits) == ["7", "0", "1"]
    assert [hit.found_by for hit in hits] == [("terms",), ("meaning",), ("meaning",)]
    assert [hit.similarity for hit in hits] == pytest.approx([np.cos(8 / 20), np.cos(1 / 20), np.cos(2 / 20)], abs=1e-6)
    assert memory.search(questions[1], k=2)[0].found_by == ("meaning", "terms")
    assert memory.get("7")[0].found_by == ()


def test_a_hit_says_what_texts_and_pictures_give_to_its_similarity(opened: Callable[..., ContinuousMemory]):
    memory = opened(tiny_key())
    memory.add(MemoryItem(id="both", text="A blue door.", image=tiny_picture(1)), progress=False)
    memory.add([MemoryItem(id="text", text="A red door."), MemoryItem(id="picture", image=tiny_picture(2))])
    hits = {hit.id: hit for hit in memory.search("A blue door.", tiny_picture(1))}
    of_texts = {id: hit.similarity_of_texts for id, hit in hits.items()}
    assert 0 < of_texts["both"] < hits["both"].similarity == pytest.approx(1, abs=1e-6)
    assert of_texts["text"] == pytest.approx(hits["text"].similarity, abs=1e-6)
    assert of_texts["picture"] == 0
    alone = [*memory.search("A blue door."), *memory.search(image=tiny_picture(1)), *memory.get("both")]
    assert {hit.similarity_of_texts for hit in alone} == {None}


def test_a_name_counts_unless_many_items_hold_it(near_first: Callable[..., ContinuousMemory]):
    texts = [f"Note {n} of Ottilie." for n in range(21)] + ["Nothing else.", "The bike is Renzo's."]
    memory = near_first(texts, "Where is the bike of Ottilie?", "Where is the bike of Renzo?")
    assert ids(memory.search("Where is the bike of Ottilie?", k=2)) == ["0", "1"]
    assert ids(memory.search("Where is the bike of Renzo?", k=2)) == ["22", "0"]


def test_terms_are_looked_for_within_the_filter(opened: Callable[..., ContinuousMemory]):
    memory = opened(tiny_key())
    memory.add([item.model_copy(update={"metadata": {"n": n}}) for n, item in enumerate(INCIDENTS)], progress=False)
    assert "3" not in ids(memory.search("What is INC-4004?", k=8, where={"n": {"$ne": 3}}))
    [hit] = memory.search("What is INC-4004?", k=8, where={"n": 3})
    assert hit.found_by == ("meaning", "terms")


def test_below_the_least_similarity_nothing_is_found(near_first: Callable[..., ContinuousMemory]):
    memory = near_first(["One.", "Two.", "INC-3"], "Asked?", "What is INC-3?")
    assert len(memory.search("Asked?", min_similarity=np.cos(2.5 / 20))) == 2
    assert memory.search("What is INC-3?", min_similarity=np.cos(2.5 / 20), k=1)[0].id == "0"
    assert memory.search("Asked?", min_similarity=1.0) == []
    assert memory.recall([{"role": "user", "content": "Asked?"}], min_similarity=1.0).hits == []
    assert memory.namespace("nobody").search("Asked?", min_similarity=0.5) == []


def test_the_least_similarity_is_the_searchs_the_memorys_or_the_measured_one(opened: Callable[..., ContinuousMemory]):
    key = RetrievalKey(LetterEmbedder(), min_similarity=0.9)
    memory = opened(key)
    memory.add(INCIDENTS, progress=False)
    assert memory.search("weather") == []
    assert ids(memory.search(INCIDENTS[2].text, k=1)) == ["2"]
    assert len(memory.search("weather", min_similarity=-1)) == 3
    memory.min_similarity = -1
    assert len(memory.search("weather")) == 3
    assert memory.search("weather", min_similarity=0.99) == []
    with pytest.raises(QueryError, match="min_similarity is 2"):
        opened(key, min_similarity=2)


def test_what_was_measured_of_words_does_not_bound_pictures(opened: Callable[..., ContinuousMemory]):
    key = tiny_key()
    key.min_similarity = 0.9999
    memory = opened(key)
    memory.add([MemoryItem(id="a", image=tiny_picture(1)), MemoryItem(id="b", text="A cat.")], progress=False)
    hits = memory.search(image=tiny_picture(1))
    assert ids(hits) == ["a", "b"], "also what is unlike"
    assert memory.search("A dog.") == []


def test_new_items_come_before_old_ones_as_far_as_recency_counts(near_first: Callable[..., ContinuousMemory]):
    memory = near_first(["One.", "Two.", "Three."], "Asked?")
    now = datetime.now(UTC)
    for id, days in (("0", 300), ("1", 30), ("2", 0)):
        [record] = memory.store.get([id], namespace=memory.name)
        memory.store.put([replace(record, created_at=(now - timedelta(days=days)).isoformat())])
    assert ids(memory.search("Asked?")) == ["0", "1", "2"]
    assert ids(memory.search("Asked?", recency=1.0)) == ["2", "1", "0"]
    assert ids(memory.search("Asked?", recency=0.1)) == ["0", "1", "2"]
    assert ids(memory.search("Asked?", recency=0.9, k=1)) == ["2"], "it is chosen from more than k"
    assert ids(memory.search("Asked?", recency=0.3, half_life=timedelta(days=10_000), k=1)) == ["0"]


def test_what_was_said_long_ago_is_as_old_as_that(near_first: Callable[..., ContinuousMemory]):
    memory = near_first(["One.", "Two.", "Three."], "Asked?")
    now = datetime.now(UTC)
    said = {"One.": now - timedelta(days=300), "Two.": now - timedelta(days=30)}
    memory.add([MemoryItem(text=text, said_at=at) for text, at in said.items()], progress=False)
    assert ids(memory.search("Asked?", recency=1.0)) == ["2", "1", "0"]


def test_what_was_superseded_or_has_expired_is_not_found_by_its_code(near_first: Callable[..., ContinuousMemory]):
    memory = near_first(["INC-1 is open.", "INC-1 is urgent.", "Nothing else."], "What is INC-1?")
    memory.add(MemoryItem(id="new", text="INC-1 is closed.", supersedes="0"), progress=False)
    memory.add(MemoryItem(id="1", text="INC-1 is urgent.", expires=timedelta(microseconds=1)), progress=False)
    hits = memory.search("What is INC-1?", k=4)
    assert {hit.id: hit.found_by for hit in hits} == {"new": ("meaning", "terms"), "2": ("meaning",)}
    assert ids(memory.search("What is INC-1?", k=4, recency=0.5, diversity=0.5)) == ["new", "2"]


def test_diversity_chooses_among_more_than_k(near_first: Callable[..., ContinuousMemory]):
    memory = near_first([f"Note {n}." for n in range(9)], "Asked?")
    assert ids(memory.search("Asked?", k=2)) == ["0", "1"]
    assert ids(memory.search("Asked?", k=2, diversity=1.0)) == ["0", "7"], "of eight candidates"


class Longest:
    """Takes the longest text for the best."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.min_score: float | None = None

    def predict(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        self.asked += pairs
        return np.array([len(text) for _, text in pairs])


def test_a_reranker_orders_four_times_as_many(near_first: Callable[..., ContinuousMemory]):
    longest = Longest()
    memory = near_first([f"Note {'x' * n}" for n in range(9)], "Asked?", reranker=longest)
    hits = memory.search("Asked?", k=2)
    assert ids(hits) == ["7", "6"]
    assert longest.asked == [("Asked?", f"Note {'x' * n}") for n in range(8)]
    assert hits[0].similarity == pytest.approx(np.cos(8 / 20), abs=1e-6)
    assert ids(memory.namespace("nobody").search("Asked?")) == []


def test_what_a_reranker_scores_below_its_least_score_is_not_found(near_first: Callable[..., ContinuousMemory]):
    longest = Longest()
    memory = near_first([f"Note {'x' * n}" for n in range(9)], "Asked?", "What is INC-3?", reranker=longest)
    assert ids(memory.search("Asked?", k=2)) == ["7", "6"]
    longest.min_score = len("Note xxxxxxx")
    assert ids(memory.search("Asked?", k=2)) == ["7"]
    assert ids(memory.search("Asked?", k=2, min_similarity=0.1)) == ["7"]
    assert ids(memory.search("Asked?", k=2, min_similarity=-1)) == ["7", "6"]
    memory.add(MemoryItem(id="3", text="INC-3"), progress=False)
    assert "3" not in ids(memory.search("What is INC-3?", k=9)), "whatever it holds"
    longest.min_score = 100
    assert memory.search("Asked?") == []
    assert memory.recall([{"role": "user", "content": "Asked?"}]).hits == []


@pytest.mark.parametrize("least", ["high", float("nan"), float("inf")])
def test_a_least_score_is_a_number(opened: Callable[..., ContinuousMemory], least: Any):
    longest = Longest()
    longest.min_score = least
    with pytest.raises(QueryError, match="reranker's min_score is"):
        opened(tiny_key(), reranker=longest)


def test_what_cannot_judge_is_no_reranker(opened: Callable[..., ContinuousMemory]):
    for wrong in ("late-interaction", Longest().predict):
        with pytest.raises(QueryError, match=r"reranker is .*predict.*from_pretrained"):
            opened(tiny_key(), reranker=wrong)


def test_a_reranker_is_asked_about_questions_only(opened: Callable[..., ContinuousMemory]):
    longest = Longest()
    memory = opened(tiny_key(), reranker=longest)
    memory.add([MemoryItem(id="a", image=tiny_picture(1)), MemoryItem(id="b", text="A cat.")], progress=False)
    assert ids(memory.search(image=tiny_picture(1), k=1)) == ["a"]
    assert longest.asked == []
    assert ids(memory.search("A dog?", k=2)) == ["b", "a"]
    assert ("A dog?", "") in longest.asked


def test_a_least_score_bounds_texts_for_questions_in_words(opened: Callable[..., ContinuousMemory]):
    longest = Longest()
    longest.min_score = 100
    memory = opened(tiny_key(), reranker=longest)
    memory.add([MemoryItem(id="a", image=tiny_picture(1)), MemoryItem(id="b", text="A cat.")], progress=False)
    assert ids(memory.search("A dog?")) == ["a"], "which has no text to judge"
    assert sorted(ids(memory.search("A dog?", tiny_picture(2)))) == ["a", "b"], "the picture counts too"


@pytest.mark.parametrize("options", [{"recency": 2}, {"diversity": -1}, {"half_life": 3}, {"min_similarity": "x"}])
def test_an_option_out_of_its_range_is_refused(opened: Callable[..., ContinuousMemory], options: dict[str, Any]):
    with pytest.raises(QueryError, match=f"{next(iter(options))} is"):
        opened(tiny_key()).search("door", **options)


def test_what_earlier_versions_stored_is_found_by_its_terms_after_rekey(opened: Callable[..., ContinuousMemory]):
    memory = opened(tiny_key())
    memory.add(INCIDENTS, progress=False)
    with memory.store._opened.changing() as collection:  # as they stored it
        stored = collection.get(include=["metadatas"])
        assert all("comem.terms" in one for one in stored["metadatas"])
        collection.update(ids=stored["ids"], metadatas=[{"comem.terms": None}] * len(stored["ids"]))
    question = "What is INC-4003 about?"
    assert {hit.found_by for hit in memory.search(question)} == {("meaning",)}
    assert memory.rekey() == len(INCIDENTS)
    assert memory.search(question)[0].id == "2"
    assert "terms" in memory.search(question)[0].found_by
