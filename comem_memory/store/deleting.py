"""Items go with the pictures and audio that are kept for them."""

from __future__ import annotations

from collections.abc import Sequence

from comem_memory.store.contract import MemoryStore
from comem_memory.store.filters import Filter
from comem_memory.store.pictures import PictureFolder


def delete_items(
    store: MemoryStore,
    pictures: PictureFolder,
    *,
    namespace: str,
    ids: Sequence[str] | None = None,
    where: Filter | None = None,
) -> int:
    """Deletes what matches both ids and filter, each unless `None`, and what has expired; returns how many matched.

    Raises:
        QueryError: A filter that cannot be understood.
    """
    remove_expired(store, pictures)
    deleted = store.delete(namespace=namespace, ids=ids, where=where)
    for id in deleted:
        pictures.drop(namespace=namespace, id=id)
    return len(deleted)


def remove_expired(store: MemoryStore, pictures: PictureFolder, limit: int | None = None) -> None:
    """Deletes items of all namespaces that have expired, at most `limit`."""
    for namespace, id in store.remove_expired(limit):
        pictures.drop(namespace=namespace, id=id)
