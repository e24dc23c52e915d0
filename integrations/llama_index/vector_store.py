"""`ComemLlamaVectorStore`: a memory as a LlamaIndex vector store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.schema import BaseNode, ImageNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from comem_memory.conversion import GIVEN, to_item
from comem_memory.errors import QueryError
from comem_memory.memory import ContinuousMemory
from comem_memory.retrieval import ALL
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.types import CHAT_PREFIX, MemoryHit, with_notes

from ..copying import SharesMemory
from ..hits import metadata_of
from ..searching import search_options
from .filters import both, to_filter
from .retriever import to_node

NODE, DOCUMENT = (CHAT_PREFIX + name for name in ("node", "ref_doc_id"))
"""Notes on a node's item: the node without what the item itself holds, as JSON; and the document that it is part of."""

IN_THE_ITEM = {"text", "text_resource", "metadata", "embedding", "image", "image_path", "image_resource"}


class ComemLlamaVectorStore(SharesMemory, BasePydanticVectorStore):
    """Nodes are the memory's items; what is found is found by the memory's own retrieval key.

    So no embedding is asked for or used. A `VectorStoreIndex` makes some all the same, with `Settings.embed_model`
    (OpenAI's by default): give it `MockEmbedding(embed_dim=1)`, which downloads and asks nothing.

    Args:
        memory: The memory that is searched and added to.
        namespace: Whose items; by default the memory's own.

    Examples:
        >>> store = ComemLlamaVectorStore(memory)                                              # doctest: +SKIP
        >>> index = VectorStoreIndex.from_vector_store(store, MockEmbedding(embed_dim=1))      # doctest: +SKIP
        >>> index.as_retriever(similarity_top_k=1).retrieve("How do I open the blue door?")    # doctest: +SKIP
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    memory: ContinuousMemory = Field(exclude=True, repr=False)

    def __init__(self, memory: ContinuousMemory, *, namespace: str | None = None, **kwargs: Any) -> None:
        super().__init__(memory=memory if namespace is None else memory.namespace(namespace), **kwargs)

    @classmethod
    def class_name(cls) -> str:
        return "ComemLlamaVectorStore"

    @property
    def client(self) -> ContinuousMemory:
        return self.memory

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Stores nodes under their ids; `kwargs` are options of `ContinuousMemory.add`.

        Raises:
            ComemError: As in `ContinuousMemory.add`.
        """
        items = [with_notes(to_item(node), _notes(node)) for node in nodes]
        return self.memory.add(items, **kwargs)

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        return await run_in_thread(lambda _: self.add(nodes, **kwargs))

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Deletes the nodes of a document."""
        self.memory.delete(where={DOCUMENT: ref_doc_id})

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Deletes nodes by id, by filters, or by both.

        Raises:
            QueryError: Neither is given (`clear` deletes everything), or a filter that cannot be understood.
        """
        self.memory.delete(ids=node_ids, where=to_filter(filters))

    def clear(self) -> None:
        self.memory.clear()

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Nodes by id, by filters, or by both; without either all."""
        where = to_filter(filters)
        ids = node_ids
        if ids is None or where is not None:
            matching = self.memory.ids(where=where)
            ids = matching if ids is None else [id for id in ids if id in set(matching)]
        return self._nodes(self.memory.get(ids, skip_missing=True))

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nodes most similar to `query_str`.

        Args:
            query: What to search for; its embedding is not looked at.
            **kwargs: Options of `ContinuousMemory.search` (`vector_store_kwargs` of an index's retriever), and `image`,
                a picture to search with.

        Raises:
            QueryError: A mode other than `default` and `mmr`, `node_ids`, or as in `ContinuousMemory.search`.
        """
        if query.mode not in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR) or query.node_ids:
            raise QueryError(
                f"A memory cannot search by mode {query.mode.value!r} or among node_ids. Use the mode 'default' or "
                "'mmr', and filters or doc_ids."
            )
        options = {"min_similarity": ALL, "k": query.similarity_top_k} | kwargs
        if query.mode == VectorStoreQueryMode.MMR:
            options["diversity"] = 0.5 if query.mmr_threshold is None else 1 - query.mmr_threshold
        documents: Filter | None = {DOCUMENT: {"$in": query.doc_ids}} if query.doc_ids else None
        options["where"] = both(both(to_filter(query.filters), documents), options.get("where"))
        hits = self.memory.search(query.query_str or None, options.pop("image", None), **search_options(options))
        similarities = [float(hit.similarity or 0.0) for hit in hits]
        return VectorStoreQueryResult(nodes=self._nodes(hits), similarities=similarities, ids=[hit.id for hit in hits])

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        return await asyncio.to_thread(self.query, query, **kwargs)

    def _nodes(self, hits: Sequence[MemoryHit]) -> list[BaseNode]:
        return [_node(hit) for hit in hits]


def _notes(node: BaseNode) -> dict[str, str]:
    rest = node.model_dump(mode="json", exclude=IN_THE_ITEM) | {"class_name": node.class_name()}
    return {NODE: json.dumps(rest)} | ({} if node.ref_doc_id is None else {DOCUMENT: node.ref_doc_id})


def _node(hit: MemoryHit) -> BaseNode:
    """The node as it was added; of an item that was added otherwise, as `ComemRetriever` gives it."""
    if NODE not in hit.notes:
        return to_node(hit)
    rest = json.loads(hit.notes[NODE]) | {"metadata": metadata_of(hit, GIVEN)}
    node = metadata_dict_to_node({"_node_content": json.dumps(rest), "_node_type": rest["class_name"]}, hit.full_text)
    if isinstance(node, ImageNode):
        node.image_path = hit.image
    return node
