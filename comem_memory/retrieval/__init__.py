"""How items are found: retrieval keys, and the embedders of texts and pictures that make them."""

from comem_memory.retrieval.keys import PROBE, RetrievalKey

__all__ = ["PROBE", "RetrievalKey"]
