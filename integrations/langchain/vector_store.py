"""`ComemVectorStore`: a memory as a LangChain vector store."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from comem_memory.conversion import GIVEN, to_item
from comem_memory.memory import ContinuousMemory
from comem_memory.retrieval import ALL
from comem_memory.types import MemoryHit

from ..hits import metadata_of
from ..searching import search_options


class ComemVectorStore(VectorStore):
    """Documents are the memory's items; what is found is found by the memory's own retrieval key.

    So there are no embeddings to give: open the memory with `key=...` for another embedder. Scores are similarities, -1
    to 1, larger is closer; relevance scores are the same from 0 on. A document without an id gets a new one, so that
    the same text may be stored more than once. A document of an item with a picture has its path as `comem.image`,
    and one of an item with content its parts as `comem.content`; neither can be added again, without the pictures.

    Every search takes `image` (a picture to search with), `filter`, and the other options of `ContinuousMemory.search`.

    Args:
        memory: The memory that is searched and added to.
        namespace: Whose items; by default the memory's own.

    Examples:
        >>> store = ComemVectorStore(memory)                                                   # doctest: +SKIP
        >>> store.add_documents([Document("The blue door opens with the brass key.", id="door")])  # doctest: +SKIP
        >>> store.similarity_search("How do I open the blue door?", k=1)                       # doctest: +SKIP
    """

    def __init__(self, memory: ContinuousMemory, *, namespace: str | None = None) -> None:
        self.memory = memory if namespace is None else memory.namespace(namespace)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        memory: ContinuousMemory | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> ComemVectorStore:
        """A store of a memory, with these texts added.

        Args:
            texts: The texts to add.
            embedding: Must be `None`: the memory has its own retrieval key.
            metadatas: Metadata of each text.
            ids: An id for each text.
            memory: The memory to add to.
            namespace: Whose items they are; by default the memory's own.
            **kwargs: As in `add_texts`.

        Raises:
            ValueError: There is an `embedding`, or no memory.
        """
        if embedding is not None or memory is None:
            raise ValueError(
                "A memory finds its items with its own retrieval key. Pass embedding=None and memory=..., opened with "
                "key=... for another embedder."
            )
        store = cls(memory, namespace=namespace)
        store.add_texts(texts, metadatas, ids=ids, **kwargs)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Stores texts; one with a known id takes the place of what has it.

        Args:
            texts: The texts.
            metadatas: Metadata of each text.
            ids: An id for each text; by default, and where it is `None`, a new one.
            **kwargs: Options of `ContinuousMemory.add`, for instance `truncate=True`.

        Raises:
            ValueError: There are not as many metadata or ids as texts.
            ComemError: As in `ContinuousMemory.add`.
        """
        given = list(texts)
        named, described = [None] * len(given) if ids is None else ids, metadatas or [{} for _ in given]
        if not len(given) == len(named) == len(described):
            raise ValueError(
                f"There are {len(given)} texts, {len(named)} ids and {len(described)} metadata. Pass one for each text."
            )
        items = [
            to_item(Document(page_content=text, id=id or uuid.uuid4().hex, metadata=metadata))
            for text, id, metadata in zip(given, named, described, strict=True)
        ]
        added = self.memory.add(items, **kwargs)
        bare = [item.id for item in items if not item.metadata and item.id in named]
        for hit in self.memory.get([str(id) for id in bare]):  # whose text was known, and its old metadata kept
            if hit.metadata:
                self.memory.update(hit.id, metadata={})
        return added

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Deletes documents by id; `None` deletes all."""
        if ids is None:
            self.memory.clear()
        else:
            self.memory.delete(ids=ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        return [_document(hit) for hit in self.memory.get(list(ids), skip_missing=True)]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The k documents most similar to a text; options as in the class."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, *, image: Any = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k documents most similar to a text, with their similarities; options as in the class."""
        return [(_document(hit), float(hit.similarity or 0.0)) for hit in self._find(query, k, image, kwargs)]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda similarity: min(max(similarity, 0.0), 1.0)

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        image: Any = None,
        **kwargs: Any,
    ) -> list[Document]:
        """k documents that are similar to a text and differ from one another.

        Args:
            query: The text.
            k: Documents to return.
            fetch_k: The most similar documents, of which they are chosen.
            lambda_mult: 1 chooses by similarity alone, 0 as different ones as possible.
            image: A picture to search with.
            **kwargs: Options as in the class.
        """
        options = {"diversity": 1 - lambda_mult, "candidates": fetch_k}
        return [_document(hit) for hit in self._find(query, k, image, options | kwargs)]

    def _find(self, query: str, k: int, image: Any, given: dict[str, Any]) -> list[MemoryHit]:
        options: dict[str, Any] = {"min_similarity": ALL, "k": k} | search_options(given)
        return self.memory.search(query or None, image, **options)


def _document(hit: MemoryHit) -> Document:
    """The hit as it was added; with the path of its picture, and of content all that it says."""
    return Document(page_content=hit.full_text, id=hit.id, metadata=metadata_of(hit, GIVEN, image=hit.image))
