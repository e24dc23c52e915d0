"""A memory that a server owns, as the same object as one that is opened here: nothing of a model is loaded."""

from comem_memory.client.remote_memory import RemoteMemory, connect

__all__ = ["RemoteMemory", "connect"]
