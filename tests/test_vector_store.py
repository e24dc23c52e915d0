"""`ComemVectorStore` of LangChain, beyond what LangChain's own suite asks (test_langchain_standard.py)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.memories import CAT, same_picture
from helpers.served import as_opened
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import InvalidItemError, QueryError
from comem_memory.files import as_png
from comem_memory.integrations.langchain import ComemRetriever, ComemVectorStore
from comem_memory.testing import tiny_memory, tiny_picture

DOCUMENTS = [
    Document("Ada drinks green tea.", id="tea", metadata={"by": {"name": "Ada"}, "tags": ["drink"], "n": 1}),
    Document("Ada drinks black tea.", id="black", metadata={"by": {"name": "Ada"}, "n": 2}),
    Document("Bob's lorry won't start, oh no!", id="car", metadata={"by": {"name": "Bob"}, "n": 3}),
]


@pytest.fixture(scope="module", params=["here", "served"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("vectors")) as memory, as_opened(request.param, memory) as seen:
        yield seen


@pytest.fixture
def store(shared: ContinuousMemory) -> Iterator[ComemVectorStore]:
    store = ComemVectorStore(shared)
    store.add_documents(DOCUMENTS)
    yield store
    shared.clear()


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def test_documents_come_back_as_they_were(store: ComemVectorStore):
    assert store.get_by_ids(["car", "none", "tea"]) == [DOCUMENTS[2], DOCUMENTS[0]]
    assert store.similarity_search("green tea", k=1) == DOCUMENTS[:1]


def test_a_document_s_times_come_back(store: ComemVectorStore):
    times = {"comem.said_at": "2026-05-01T09:00:00.000000+02:00", "comem.expires": "9000-01-01T00:00:00.000000+00:00"}
    document = Document("Ada drinks milk.", id="milk", metadata={"n": 1, **times, "comem.supersedes": ["tea"]})
    store.add_documents([document])
    assert store.get_by_ids(["milk"]) == [document]
    assert ids(store.similarity_search("Ada drinks green tea.", k=9)) == ["black", "milk", "car"]


def test_scores_are_similarities_and_relevance_begins_at_0(store: ComemVectorStore):
    found = store.similarity_search_with_score("Ada drinks green tea.", k=3)
    assert ids([document for document, _ in found]) == ["tea", "black", "car"]
    scores = [score for _, score in found]
    assert scores[0] == pytest.approx(1, abs=1e-5) and scores == sorted(scores, reverse=True)
    relevance = [score for _, score in store.similarity_search_with_relevance_scores("Ada drinks green tea.", k=3)]
    assert relevance == pytest.approx([max(score, 0) for score in scores], abs=1e-5)


def test_a_filter_and_a_threshold(store: ComemVectorStore):
    assert ids(store.similarity_search("tea", filter={"by.name": "Bob"})) == ["car"]
    assert ids(store.similarity_search("tea", filter={"tags": {"$contains": "drink"}})) == ["tea"]
    least = store.similarity_search_with_score("green tea", k=3)[1][1]
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": least, "k": 3}
    )
    assert ids(retriever.invoke("green tea")) == ["tea", "black"]
    both = {"k": 3, "filter": {"n": {"$gte": 2}}, "score_threshold": least}
    retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=both)
    assert ids(retriever.invoke("green tea")) == ["black"]
    assert ids(store.similarity_search("green tea", k=3, min_similarity=least)) == ["tea", "black"]
    with pytest.raises(QueryError, match="no option 'filters'. Use .*filter"):
        store.similarity_search("tea", filters={"n": 1})
    with pytest.raises(QueryError, match="'where' is given twice, also as 'filter'"):
        store.similarity_search("tea", where={"n": 1}, filter={"n": 1})


def test_marginal_relevance_prefers_what_differs(store: ComemVectorStore):
    assert ids(store.max_marginal_relevance_search("Ada drinks green tea.", k=2, lambda_mult=1.0)) == ["tea", "black"]
    assert ids(store.max_marginal_relevance_search("Ada drinks green tea.", k=2, lambda_mult=0.1)) == ["tea", "car"]
    few: dict[str, Any] = {"k": 2, "lambda_mult": 0.1}
    assert ids(store.max_marginal_relevance_search("Ada drinks green tea.", fetch_k=2, **few)) == ["tea", "black"]
    retriever = store.as_retriever(search_type="mmr", search_kwargs=few | {"filter": {"by.name": "Ada"}})
    assert ids(retriever.invoke("Ada drinks green tea.")) == ["tea", "black"]
    store.delete()
    assert store.max_marginal_relevance_search("tea") == []


def test_pictures_are_searched_with_and_named(store: ComemVectorStore):
    store.memory.add(CAT)
    [found] = store.similarity_search("", k=1, image=tiny_picture(1))
    assert found.id == "cat" and same_picture(found.metadata["comem.image"], CAT.image)
    assert ids(store.max_marginal_relevance_search("", k=1, image=tiny_picture(1))) == ["cat"]


def test_an_item_of_several_parts_says_all_its_texts_and_is_not_lost(store: ComemVectorStore):
    content = [as_png(tiny_picture(1)), "Click Orders.", as_png(tiny_picture(2)), "Click Return."]
    store.memory.add(MemoryItem(id="steps", text="Return a lamp", content=content))
    [document] = store.get_by_ids(["steps"])
    retriever = ComemRetriever(memory=store.memory, k=1, search_kwargs={"min_similarity": -1})
    for found in (document, *retriever.invoke("Return a lamp")):
        assert found.page_content == "Return a lamp\nClick Orders.\nClick Return."
        assert [part["type"] for part in found.metadata["comem.content"]] == ["image", "text", "image", "text"]
        with pytest.raises(InvalidItemError, match="of an item of several parts"):
            store.add_documents([found])
    assert len(store.memory.get("steps")[0].content or ()) == 4
    store.delete(["steps"])
    assert store.get_by_ids(["steps"]) == []


def test_a_text_without_an_id_is_one_of_its_own(store: ComemVectorStore):
    added = store.add_texts(["Rice.", "Rice."], [{"page": 1}, {"page": 2}])
    assert [document.metadata for document in store.get_by_ids(added)] == [{"page": 1}, {"page": 2}]
    with pytest.raises(ValueError, match="2 texts, 2 ids and 1 metadata. Pass one for each"):
        store.add_texts(["a", "b"], [{}], ids=["1", "2"])


def test_the_new_document_takes_all_of_the_old_one_s_place(store: ComemVectorStore):
    store.add_documents([Document("Ada drinks green tea.", id="tea")])
    assert store.get_by_ids(["tea"]) == [Document("Ada drinks green tea.", id="tea")]
    assert ids(store.similarity_search("tea", filter={"n": 1})) == []


def test_it_is_made_from_texts_without_embeddings(store: ComemVectorStore):
    memory = store.memory.namespace("other")
    made = ComemVectorStore.from_texts(
        ["Milk."], None, [{"n": 1}], ids=["milk"], memory=store.memory, namespace="other"
    )
    assert made.embeddings is None
    ComemVectorStore.from_documents([Document("Oil.", id="oil")], None, memory=memory)  # type: ignore[arg-type]
    assert [hit.text for hit in memory.get(["milk", "oil"])] == ["Milk.", "Oil."]
    assert store.get_by_ids(["milk"]) == []
    memory.clear()
    for wrong in ({"embedding": DeterministicFakeEmbedding(size=3), "memory": memory}, {}):
        with pytest.raises(ValueError, match="own retrieval key. Pass embedding=None and memory="):
            ComemVectorStore.from_texts(["Milk."], **wrong)


async def test_async_twins(store: ComemVectorStore):
    assert await store.aadd_texts(["Milk."], ids=["milk"]) == ["milk"]
    assert ids(await store.asimilarity_search("Milk.", k=1)) == ["milk"]
    assert ids(await store.amax_marginal_relevance_search("Milk.", k=1)) == ["milk"]
    threshold = {"score_threshold": 0.99}
    retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=threshold)
    assert ids(await retriever.ainvoke("Milk.")) == ["milk"]
    assert await store.adelete(["milk"])
    assert await store.aget_by_ids(["milk"]) == []


def test_langchain_s_index_keeps_it_in_step(store: ComemVectorStore):
    manager = InMemoryRecordManager("comem")
    manager.create_schema()
    documents = [Document("Milk.", metadata={"source": "a"}), Document("Oil.", metadata={"source": "b"})]
    settings: dict[str, Any] = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
    assert index(documents, manager, store, **settings)["num_added"] == 2
    assert index(documents[:1], manager, store, **settings)["num_deleted"] == 1
    assert store.memory.count(where={"source": {"$in": ["a", "b"]}}) == 1


def test_it_outlives_the_process(tmp_path: Path):
    with tiny_memory(tmp_path) as memory:
        ComemVectorStore(memory).add_documents(DOCUMENTS)
        memory.add(MemoryItem(id="item", text="Rice."))
    with tiny_memory(tmp_path) as memory:
        assert ComemVectorStore(memory).get_by_ids(["tea", "item"]) == [DOCUMENTS[0], Document("Rice.", id="item")]
