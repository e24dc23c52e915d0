"""How items are found: retrieval keys and the embedders that make them, exact terms, and the order of what is found.

Anything with the three members of `Embedder` can take the place of the embedders here.
"""

from comem_memory.retrieval.efficientnet_embedder import EfficientNetEmbedder
from comem_memory.retrieval.embedders import Embedder, QueryEmbedder, embed_questions
from comem_memory.retrieval.keys import PROBE, RetrievalKey
from comem_memory.retrieval.ranking import Reranker, SearchOptions, check_options
from comem_memory.retrieval.sentence_transformer import SentenceTransformerEmbedder
from comem_memory.retrieval.terms import asked_terms, terms_of

__all__ = [
    "PROBE",
    "EfficientNetEmbedder",
    "Embedder",
    "QueryEmbedder",
    "Reranker",
    "RetrievalKey",
    "SearchOptions",
    "SentenceTransformerEmbedder",
    "asked_terms",
    "check_options",
    "embed_questions",
    "terms_of",
]
