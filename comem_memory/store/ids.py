"""Ids in Chroma: a namespace and an item's id."""

from __future__ import annotations

from comem_memory.store.filters import check_namespace

SEPARATOR = "\x1f"  # a control character, so neither namespace nor id contains it


def chroma_id(namespace: str, id: str) -> str:
    return f"{check_namespace(namespace)}{SEPARATOR}{id}"


def reference_id(id: str) -> str:
    """Of a `packing.Reference`, which belongs to no namespace."""
    return f"{SEPARATOR}{id}"


def is_item(chroma_id: str) -> bool:
    return not chroma_id.startswith(SEPARATOR)
