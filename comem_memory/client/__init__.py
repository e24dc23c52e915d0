"""A memory that a server owns, as the same object as one that is opened here: nothing of a model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comem_memory.lazy import lazily

if TYPE_CHECKING:
    from comem_memory.client.remote_memory import RemoteMemory, connect

_HOME = {
    "RemoteMemory": "remote_memory",
    "connect": "remote_memory",
}

__all__ = ["RemoteMemory", "connect"]

__getattr__ = lazily(__name__, _HOME)  # a connection needs no torch
