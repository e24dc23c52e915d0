"""LangChain and LangGraph: `ChatComem`, `ComemMiddleware`, `ComemStore`, `ComemVectorStore` and others."""

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError('Install LangChain support with: pip install "comem-memory[langchain]"') from error

from .chat_model import ChatComem
from .history import ComemChatMessageHistory
from .messages import memory_block
from .middleware import ComemMiddleware
from .remembering import last_turn
from .retriever import ComemRetriever
from .store import ComemStore
from .tools import memory_tools
from .trajectories import ComemTrajectoryMiddleware
from .vector_store import ComemVectorStore

__all__ = [
    "ChatComem",
    "ComemChatMessageHistory",
    "ComemMiddleware",
    "ComemRetriever",
    "ComemStore",
    "ComemTrajectoryMiddleware",
    "ComemVectorStore",
    "last_turn",
    "memory_block",
    "memory_tools",
]
