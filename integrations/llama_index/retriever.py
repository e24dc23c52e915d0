"""`ComemRetriever`: stored items as LlamaIndex nodes."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import MetadataFilters

from comem_memory.memory import ContinuousMemory
from comem_memory.retrieval import SearchOptions
from comem_memory.store import Filter
from comem_memory.types import RESERVED_PREFIX, MemoryHit

from ..hits import metadata_of
from .filters import both, to_filter


class ComemRetriever(BaseRetriever):
    """Finds stored items by text, by picture (`QueryBundle(query_str, image_path=...)`), or by both.

    Args:
        memory: Where to search.
        similarity_top_k: At most so many nodes.
        where: Filter on metadata, in Chroma's operators.
        filters: Filter on metadata, in LlamaIndex's form; both filters must hold.
        namespace: Whose items; by default the memory's own.
        search_kwargs: More of `ContinuousMemory.search`: min_similarity, recency, half_life, diversity.
        **kwargs: As in LlamaIndex's `BaseRetriever`.

    Raises:
        QueryError: `filters` has an operator that a memory cannot compare with.
    """

    def __init__(
        self,
        memory: ContinuousMemory,
        *,
        similarity_top_k: int = 3,
        where: Filter | None = None,
        filters: MetadataFilters | None = None,
        namespace: str | None = None,
        search_kwargs: SearchOptions | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.memory = memory if namespace is None else memory.namespace(namespace)
        self.similarity_top_k, self.where = similarity_top_k, both(where, to_filter(filters))
        self.search_kwargs = search_kwargs or SearchOptions()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        text, image = "\n".join(query_bundle.embedding_strs) or None, query_bundle.image_path
        hits = self.memory.search(text, image, k=self.similarity_top_k, where=self.where, **self.search_kwargs)
        return [NodeWithScore(node=to_node(hit), score=hit.similarity) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def to_node(hit: MemoryHit) -> TextNode:
    """The hit as a text node, or as an image node if it has a picture, under the item's own id.

    It has all that the item says. Its metadata are the item's own, and `hits.FIELDS` and the parts of its content
    (`MemoryHit.content_locations`) under `comem.`, which no prompt shows.
    """
    metadata = metadata_of(hit)
    ours = [name for name in metadata if name.startswith(RESERVED_PREFIX)]
    about = {
        "id_": hit.id,
        "text": hit.full_text,
        "metadata": metadata,
        "excluded_llm_metadata_keys": ours,
        "excluded_embed_metadata_keys": ours,
    }
    return TextNode(**about) if hit.image is None else ImageNode(**about, image_path=hit.image)
