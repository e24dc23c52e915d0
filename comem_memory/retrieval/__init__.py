"""How items are found: retrieval keys and the embedders that make them, exact terms, and the order of what is found.

Anything with the three members of `Embedder` can take the place of the embedders here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comem_memory.lazy import lazily

if TYPE_CHECKING:
    from comem_memory.retrieval.concatenated_key import ConcatenatedKey
    from comem_memory.retrieval.efficientnet_embedder import EfficientNetEmbedder
    from comem_memory.retrieval.embedders import Embedder, QueryEmbedder, embed_questions
    from comem_memory.retrieval.keys import PROBE, RetrievalKey
    from comem_memory.retrieval.late_interaction import LateInteractionReranker
    from comem_memory.retrieval.ranking import (
        ALL,
        Reranker,
        SearchOptions,
        check_margin,
        check_options,
        check_reranker,
        near_first,
    )
    from comem_memory.retrieval.sentence_transformer import SentenceTransformerEmbedder
    from comem_memory.retrieval.terms import asked_terms, terms_of

_HOME = {
    "ALL": "ranking",
    "ConcatenatedKey": "concatenated_key",
    "EfficientNetEmbedder": "efficientnet_embedder",
    "Embedder": "embedders",
    "LateInteractionReranker": "late_interaction",
    "PROBE": "keys",
    "QueryEmbedder": "embedders",
    "Reranker": "ranking",
    "RetrievalKey": "keys",
    "SearchOptions": "ranking",
    "SentenceTransformerEmbedder": "sentence_transformer",
    "asked_terms": "terms",
    "check_margin": "ranking",
    "check_options": "ranking",
    "check_reranker": "ranking",
    "embed_questions": "embedders",
    "near_first": "ranking",
    "terms_of": "terms",
}

__all__ = [
    "ALL",
    "PROBE",
    "ConcatenatedKey",
    "EfficientNetEmbedder",
    "Embedder",
    "LateInteractionReranker",
    "QueryEmbedder",
    "Reranker",
    "RetrievalKey",
    "SearchOptions",
    "SentenceTransformerEmbedder",
    "asked_terms",
    "check_margin",
    "check_options",
    "check_reranker",
    "embed_questions",
    "near_first",
    "terms_of",
]

__getattr__ = lazily(__name__, _HOME)  # terms need no torch
