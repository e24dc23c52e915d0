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
from ..searching import search_options


class ComemRetriever(BaseRetriever):
    """Finds stored items by text, by picture, or by both.

    `invoke(query, image=..., namespace=..., k=..., where=...)`: the query may be empty when there is an image, and
    every option of `search_kwargs` may be named for one call.

    LangChain's `dumps` writes that it cannot be loaded: an open memory is no JSON.

    Args:
        memory: Where to search.
        k: At most so many documents.
        where: Filter on metadata, in Chroma's operators.
        namespace: Whose items; by default the memory's own.
        search_kwargs: More options of `ContinuousMemory.search`, also under LangChain's names `filter` (`where`) and
            `score_threshold` (`min_similarity`). They hold before `k` and `where`.

    Raises:
        ValueError: `search_kwargs` has an unknown option.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    memory: ContinuousMemory = Field(exclude=True, repr=False)
    k: int = Field(default=3, gt=0)
    where: Filter | None = None
    namespace: str | None = None
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        search_options(self.search_kwargs)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, image: Any = None, **changes: Any
    ) -> list[Document]:
        return self._documents(query, image, **changes)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, image: Any = None, **changes: Any
    ) -> list[Document]:
        return await run_in_executor(None, self._documents, query, image, **changes)

    def _documents(self, query: str, image: Any, namespace: str | None = None, **changes: Any) -> list[Document]:
        name = self.namespace if namespace is None else namespace
        memory = self.memory if name is None else self.memory.namespace(name)
        changed = {option: value for option, value in search_options(changes).items() if value not in (None, {})}
        options = {"k": self.k, "where": self.where} | search_options(self.search_kwargs) | changed
        return [to_document(hit) for hit in memory.search(query or None, image, **options)]


def to_document(hit: MemoryHit) -> Document:
    """The hit with all that it says, its own metadata, and under `comem.` what is known of it.

    That is `comem.similarity`, `comem.image` (a path) and `comem.content` (parts, as `MemoryHit.content_locations`), if
    any, and `hits.FIELDS`.
    """
    return Document(
        page_content=hit.full_text,
        id=hit.id,
        metadata=metadata_of(hit, similarity=hit.similarity, image=hit.image),
    )
