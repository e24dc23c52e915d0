"""`ComemLlamaVectorStore` in LlamaIndex's own index, and its metadata filters, also for the retriever."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from helpers.memories import CAT, same_picture
from helpers.served import as_opened
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import ImageNode, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import InvalidItemError, QueryError
from comem_memory.files import as_png
from comem_memory.integrations.llama_index import ComemLlamaVectorStore, ComemRetriever
from comem_memory.testing import tiny_memory, tiny_picture

ROWS: dict[str, dict[str, Any]] = {
    "tea": {"by": {"name": "Ada"}, "n": 1, "tags": ["drink", "hot"], "pages": [1, 2]},
    "milk": {"by": {"name": "Bob"}, "n": 2.5, "tags": ["drink"], "pages": [2, 3]},
    "bread": {"by": {"name": "Eve"}, "n": 3, "kind": "food"},
}


@pytest.fixture(scope="module", params=["here", "served"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("nodes")) as memory, as_opened(request.param, memory) as seen:
        yield seen


@pytest.fixture
def store(shared: ContinuousMemory) -> Iterator[ComemLlamaVectorStore]:
    store = ComemLlamaVectorStore(shared)
    store.add([TextNode(id_=id, text=f"A note on {id}.", metadata=metadata) for id, metadata in ROWS.items()])
    yield store
    shared.clear()


class NoEmbedding(MockEmbedding):
    """Fails where a query is embedded."""

    def _get_query_embedding(self, query: str) -> list[float]:
        raise AssertionError("The memory has a key of its own.")

    async def _aget_query_embedding(self, query: str) -> list[float]:
        raise AssertionError("The memory has a key of its own.")


EMBED = NoEmbedding(embed_dim=1)


def one(key: str, operator: str, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


def some(condition: str, *filters: Any) -> MetadataFilters:
    return MetadataFilters(filters=list(filters), condition=FilterCondition(condition))


class TestIndex:
    def test_it_finds_with_the_memory_s_own_key(self, store: ComemLlamaVectorStore):
        index = VectorStoreIndex.from_vector_store(store, embed_model=EMBED)
        [found] = index.as_retriever(similarity_top_k=1).retrieve("A note on bread.")
        assert (found.node_id, found.text, found.metadata) == ("bread", "A note on bread.", ROWS["bread"])
        assert found.score == pytest.approx(1, abs=1e-5)
        assert len(index.as_retriever(similarity_top_k=9).retrieve("note")) == 3

    async def test_without_blocking(self, store: ComemLlamaVectorStore):
        index = VectorStoreIndex.from_vector_store(store, embed_model=EMBED)
        await store.async_add([TextNode(id_="rice", text="A note on rice.")])
        found = await index.as_retriever(similarity_top_k=1).aretrieve("A note on rice.")
        assert [node.node_id for node in found] == ["rice"]

    def test_documents_are_inserted_and_deleted(self, store: ComemLlamaVectorStore):
        store.clear()
        storage = StorageContext.from_defaults(vector_store=store)
        documents = [Document(text=f"A note on {id}.", id_=id, metadata=ROWS[id]) for id in ("tea", "milk")]
        index = VectorStoreIndex.from_documents(documents, storage_context=storage, embed_model=EMBED)
        index.insert(Document(text="A note on bread.", id_="bread"))
        assert {node.ref_doc_id for node in store.get_nodes()} == {"tea", "milk", "bread"}
        retriever = index.as_retriever(similarity_top_k=9, doc_ids=["tea", "bread"])
        assert {node.node.ref_doc_id for node in retriever.retrieve("note")} == {"tea", "bread"}
        index.delete_ref_doc("milk")
        assert {node.ref_doc_id for node in store.get_nodes()} == {"tea", "bread"}

    def test_filters_threshold_and_picture_of_a_retriever(self, store: ComemLlamaVectorStore):
        index = VectorStoreIndex.from_vector_store(store, embed_model=EMBED)
        filters = some("and", one("by.name", "in", ["Ada", "Bob"]), one("n", ">", 1))
        found = index.as_retriever(similarity_top_k=9, filters=filters).retrieve("A note on bread.")
        assert [node.node_id for node in found] == ["milk"]
        near = {"min_similarity": 0.99, "where": {"n": 3}}
        retriever = index.as_retriever(similarity_top_k=9, vector_store_kwargs=near)
        assert [node.node_id for node in retriever.retrieve("A note on bread.")] == ["bread"]
        assert retriever.retrieve("A note on tea.") == []
        store.memory.add(CAT)
        retriever = index.as_retriever(similarity_top_k=1, vector_store_kwargs={"image": tiny_picture(1)})
        assert [node.node_id for node in retriever.retrieve("")] == ["cat"]


class TestStore:
    def test_nodes_come_back_whole(self, store: ComemLlamaVectorStore, tmp_path: Path):
        png = BytesIO()
        tiny_picture(2).save(png, format="PNG")
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="book")}
        nodes = [
            TextNode(
                id_="a",
                text="One.",
                start_char_idx=3,
                excluded_llm_metadata_keys=["n"],
                relationships=source,
                metadata={"n": {"m": [1, "a"]}},
            ),
            ImageNode(id_="b", text="Two.", image=base64.b64encode(png.getvalue()).decode()),
            Document(id_="c", text="Three.", metadata={"n": 1}),
        ]
        assert store.add(nodes) == ["a", "b", "c"]
        text, image, document = store.get_nodes(["a", "b", "c"])
        assert text == nodes[0]
        assert isinstance(image, ImageNode) and image.text == "Two." and same_picture(image.image_path, png.getvalue())
        assert (document.node_id, document.get_content(), document.metadata) == ("c", "Three.", {"n": 1})

    def test_nodes_by_id_and_filter(self, store: ComemLlamaVectorStore):
        def ids(*args: Any) -> list[str]:
            return [node.node_id for node in store.get_nodes(*args)]

        drinks = some("and", one("tags", "contains", "drink"))
        assert ids() == ["bread", "milk", "tea"]
        assert ids(["tea", "none", "bread"]) == ["tea", "bread"]
        assert ids(None, drinks) == ["milk", "tea"]
        assert ids(["tea", "bread"], drinks) == ["tea"]
        store.delete_nodes(["tea", "bread"], drinks)
        assert ids() == ["bread", "milk"]
        with pytest.raises(QueryError, match="needs ids or where"):
            store.delete_nodes()
        store.clear()
        assert ids() == []

    def test_what_it_cannot_do_is_said(self, store: ComemLlamaVectorStore):
        for query in (
            VectorStoreQuery(query_str="tea", mode=VectorStoreQueryMode.HYBRID),
            VectorStoreQuery(query_str="tea", node_ids=["tea"]),
        ):
            with pytest.raises(QueryError, match="Use the mode 'default' or 'mmr', and filters or doc_ids"):
                store.query(query)
        with pytest.raises(QueryError, match="nothing to search for"):
            store.query(VectorStoreQuery(query_embedding=[1.0]))

    def test_another_user_s_nodes_are_not_found(self, store: ComemLlamaVectorStore):
        other = ComemLlamaVectorStore(store.memory, namespace="other")
        assert other.get_nodes() == []
        other.delete_nodes(["tea"])
        assert len(store.get_nodes()) == 3


class TestFilters:
    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            (some("and", one("n", "==", 1)), ["tea"]),
            (some("and", one("n", "!=", 1)), ["bread", "milk"]),
            (some("and", one("n", ">", 1)), ["bread", "milk"]),
            (some("and", one("n", ">=", 2.5), one("n", "<", 3)), ["milk"]),
            (some("and", one("n", "<=", 2.5)), ["milk", "tea"]),
            (some("and", one("by.name", "in", ["Ada", "Eve"])), ["bread", "tea"]),
            (some("and", one("by.name", "nin", ["Ada", "Eve"])), ["milk"]),
            (some("and", one("tags", "contains", "hot")), ["tea"]),
            (some("and", one("pages", "any", [1, 3])), ["milk", "tea"]),
            (some("and", one("pages", "all", [1, 2])), ["tea"]),
            (some("or", one("n", "==", 1), one("kind", "==", "food")), ["bread", "tea"]),
            (some("or", one("n", "==", 1), some("and", one("n", ">", 1), one("n", "<", 3))), ["milk", "tea"]),
            (some("not", one("n", "==", 1), one("kind", "==", "food")), ["milk"]),
            (some("not", some("and", one("n", "==", 1), one("by.name", "==", "Ada"))), ["bread", "milk"]),
            (some("not", some("not", one("kind", "!=", "food"))), ["milk", "tea"]),
            (some("not", one("tags", "any", ["hot"])), ["bread", "milk"]),
            (some("not", one("pages", "all", [1, 2])), ["bread", "milk"]),
            (MetadataFilters(filters=[]), ["bread", "milk", "tea"]),
        ],
    )
    def test_each_means_what_llama_index_says(
        self, store: ComemLlamaVectorStore, filters: MetadataFilters, expected: list[str]
    ):
        assert [node.node_id for node in store.get_nodes(filters=filters)] == expected
        retriever = ComemRetriever(store.memory, similarity_top_k=9, filters=filters)
        assert sorted(node.node_id for node in retriever.retrieve("note")) == expected

    def test_both_filters_of_a_retriever_hold(self, store: ComemLlamaVectorStore):
        filters = some("and", one("tags", "contains", "drink"))
        retriever = ComemRetriever(store.memory, where={"n": {"$gt": 1}}, filters=filters)
        assert [node.node_id for node in retriever.retrieve("note")] == ["milk"]

    @pytest.mark.parametrize("operator", ["text_match", "text_match_insensitive", "is_empty"])
    def test_what_cannot_be_compared_is_named(self, store: ComemLlamaVectorStore, operator: str):
        filters = some("and", one("by.name", operator, "A"))
        with pytest.raises(QueryError, match=f"cannot filter 'by.name' by '{operator}'. Use one of ==, !="):
            ComemRetriever(store.memory, filters=filters)
        with pytest.raises(QueryError, match="cannot filter 'n' by '>' under not"):
            store.get_nodes(filters=some("not", one("n", ">", 1)))
        with pytest.raises(QueryError, match="cannot be understood"):
            store.get_nodes(filters=some("and", one("by.name", ">", "A")))


def test_an_item_of_several_parts_says_all_its_texts_and_is_not_lost(store: ComemLlamaVectorStore):
    content = [as_png(tiny_picture(1)), "Click Orders.", as_png(tiny_picture(2)), "Click Return."]
    store.memory.add(MemoryItem(id="steps", text="Return a lamp", content=content))
    [node] = store.get_nodes(["steps"])
    said = "Return a lamp\nClick Orders.\nClick Return."
    assert node.get_content() == said and "comem." not in node.get_content(MetadataMode.LLM)
    with pytest.raises(InvalidItemError, match="of an item of several parts"):
        store.add([node])
    assert len(store.memory.get("steps")[0].content or ()) == 4


def test_marginal_relevance_prefers_what_differs(store: ComemLlamaVectorStore):
    store.add([TextNode(id_="tea2", text="A note on tea."), TextNode(id_="car", text="Her lorry won't start, oh no!")])
    query: dict[str, Any] = {"query_str": "A note on tea.", "similarity_top_k": 2, "mode": VectorStoreQueryMode.MMR}
    assert set(store.query(VectorStoreQuery(**query, mmr_threshold=1.0)).ids or []) == {"tea", "tea2"}
    assert set(store.query(VectorStoreQuery(**query, mmr_threshold=0.1)).ids or []) != {"tea", "tea2"}
