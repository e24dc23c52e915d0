"""`ComemRetriever`: stored items as LangChain documents."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field

from comem_memory.memory import ContinuousMemory
from comem_memory.store import Filter
from comem_memory.types import MemoryHit

from ..hits import metadata_of


class ComemRetriever(BaseRetriever):
    """Finds stored items by text, by picture, or by both.

    `invoke(query, image=..., k=..., where=..., namespace=...)`: the query may be empty when there is an image.

    Args:
        memory: Where to search.
        k: At most so many documents.
        where: Filter on metadata, in Chroma's operators.
        namespace: Whose items; by default the memory's own.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    memory: ContinuousMemory = Field(exclude=True, repr=False)
    k: int = Field(default=3, gt=0)
    where: Filter | None = None
    namespace: str | None = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, image: Any = None, **changes: Any
    ) -> list[Document]:
        return self._documents(query, image, **changes)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, image: Any = None, **changes: Any
    ) -> list[Document]:
        return await run_in_executor(None, self._documents, query, image, **changes)

    def _documents(
        self,
        query: str,
        image: Any,
        k: int | None = None,
        where: Filter | None = None,
        namespace: str | None = None,
    ) -> list[Document]:
        name = self.namespace if namespace is None else namespace
        memory = self.memory if name is None else self.memory.namespace(name)
        hits = memory.search(query or None, image, k=self.k if k is None else k, where=where or self.where)
        return [to_document(hit) for hit in hits]


def to_document(hit: MemoryHit) -> Document:
    """The hit with its own metadata, and `comem.similarity`, `comem.image` (a path), if any, and `hits.FIELDS`."""
    return Document(
        page_content=hit.text or "",
        id=hit.id,
        metadata=metadata_of(hit, similarity=hit.similarity, image=hit.image),
    )
