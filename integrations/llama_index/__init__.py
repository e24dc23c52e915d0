"""LlamaIndex: `ComemLLM`, `ComemRetriever`, `ComemLlamaVectorStore`, `ComemMemoryBlock` and `ComemMemory`."""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise ImportError('Install LlamaIndex support with: pip install "comem-memory[llama-index]"') from error

from .llm import ComemLLM
from .memory import ComemMemory
from .memory_block import ComemMemoryBlock
from .retriever import ComemRetriever
from .vector_store import ComemLlamaVectorStore

__all__ = ["ComemLLM", "ComemLlamaVectorStore", "ComemMemory", "ComemMemoryBlock", "ComemRetriever"]
