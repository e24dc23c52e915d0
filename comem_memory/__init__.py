"""Continuous memory for AI agents: an image+text item becomes 8 embedding vectors that a frozen model reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comem_memory.lazy import lazily

if TYPE_CHECKING:
    from comem_memory.answers import Answer, Description
    from comem_memory.content import Audio
    from comem_memory.encoder import EncodedItems, MemoryEncoder
    from comem_memory.errors import ComemError
    from comem_memory.memory import ContinuousMemory
    from comem_memory.model import Backbone
    from comem_memory.retrieval import RetrievalKey
    from comem_memory.store import ChromaServer, ChromaStore
    from comem_memory.trajectory import Step, Trajectory
    from comem_memory.types import MemoryHit, MemoryItem

    __version__: str

_HOME = {
    "Answer": "answers",
    "Audio": "content",
    "Backbone": "model.backbone",
    "ChromaServer": "store.servers",
    "ChromaStore": "store.chroma",
    "ComemError": "errors",
    "ContinuousMemory": "memory",
    "Description": "answers",
    "EncodedItems": "encoder.encoded",
    "MemoryEncoder": "encoder.memory_encoder",
    "MemoryHit": "types",
    "MemoryItem": "types",
    "RetrievalKey": "retrieval.keys",
    "Step": "trajectory",
    "Trajectory": "trajectory",
}

__all__ = [
    "Answer",
    "Audio",
    "Backbone",
    "ChromaServer",
    "ChromaStore",
    "ComemError",
    "ContinuousMemory",
    "Description",
    "EncodedItems",
    "MemoryEncoder",
    "MemoryHit",
    "MemoryItem",
    "RetrievalKey",
    "Step",
    "Trajectory",
]


def __getattr__(name: str) -> object:
    """Imports on first use, so that `import comem_memory` costs nothing before the model is needed."""
    if name == "__version__":
        from importlib.metadata import version  # here: it takes longer than all the rest

        return version("comem-memory")
    return _find(name)


_find = lazily(__name__, _HOME)
