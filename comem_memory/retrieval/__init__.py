"""How items are found: retrieval keys, and the embedders of texts and pictures that make them.

Anything with the three members of `Embedder` can take the place of the embedders here.
"""

from comem_memory.retrieval.efficientnet_embedder import EfficientNetEmbedder
from comem_memory.retrieval.embedders import Embedder, QueryEmbedder
from comem_memory.retrieval.keys import PROBE, RetrievalKey
from comem_memory.retrieval.sentence_transformer import SentenceTransformerEmbedder

__all__ = ["PROBE", "EfficientNetEmbedder", "Embedder", "QueryEmbedder", "RetrievalKey", "SentenceTransformerEmbedder"]
