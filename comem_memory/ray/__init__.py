"""Encoding in bulk with Ray Data: a dataset becomes folders that a memory loads."""

from comem_memory.ray.encoding import EncodedDataset, encode

__all__ = ["EncodedDataset", "encode"]
