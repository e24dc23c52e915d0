"""Under which ids items are stored that are added without one."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

from comem_memory.encoder import PreparedItem
from comem_memory.store.contract import MemoryStore, RecordSummary
from comem_memory.types import Metadata, notes_of

SOURCE = "source"
"""The metadata key by which items of the same content are told apart."""


def with_stored_ids(
    chunk: Sequence[PreparedItem], store: MemoryStore, namespace: str, seen: Mapping[str, str]
) -> list[PreparedItem]:
    """Items with the ids that they are stored under; one without an id is the stored item of the same content.

    It is a new item if that one has another `source`, is a message of a history, or gets other content in this call.

    Args:
        chunk: The items.
        store: Where they are to be stored.
        namespace: Whose they are.
        seen: Content hashes by id of what the call stored before.
    """
    contents = dict(seen) | {one.id: one.content_hash for one in chunk if one.item.id is not None}
    unnamed = [one for one in chunk if one.item.id is None]
    known: dict[str, dict[object, str]] = {one.content_hash: {} for one in unnamed}  # by content, then source
    candidates = list(dict.fromkeys(id for one in unnamed for id in _candidates(one)))
    stored = {old.id: old for old in store.summaries(candidates, namespace=namespace)}
    stored |= {old.id: old for old in store.same_content(sorted(known), namespace=namespace, besides=stored)}
    for old in sorted(stored.values(), key=_preference):
        is_message = notes_of(old.metadata) and not old.content_hash.startswith(old.id)
        if not is_message and contents.get(old.id, old.content_hash) == old.content_hash and old.content_hash in known:
            known[old.content_hash].setdefault(_source(old.metadata), old.id)
    taken = {*stored, *contents}

    def stored_id(one: PreparedItem) -> str:
        ids, source = known[one.content_hash], _source(one.item.metadata)
        if source is None and ids:
            return ids.get(None) or next(iter(ids.values()))
        if None in ids:
            ids[source] = ids.pop(None)  # which has none yet
        elif source not in ids:
            # An id is taken by another source, or where a text was updated, whose first version it was made of.
            ids[source] = next((id for id in _candidates(one) if id not in taken), uuid.uuid4().hex)
            taken.add(ids[source])
        return ids[source]

    return [one if one.item.id is not None else replace(one, id=stored_id(one)) for one in chunk]


def _source(metadata: Metadata) -> object:
    """Where it is from, a list or dict as its JSON: they cannot be looked up."""
    source = metadata.get(SOURCE)
    return json.dumps(source, sort_keys=True) if isinstance(source, list | dict) else source


def _candidates(one: PreparedItem) -> list[str]:
    """Ids for an item, made of its content, and of its content and source."""
    source = _source(one.item.metadata)
    both = [] if source is None else [hashlib.sha256(f"{one.content_hash}\0{source}".encode()).hexdigest()[:32]]
    return [one.id, *both]


def _preference(old: RecordSummary) -> tuple[bool, bool, str, str]:
    return old.superseded_by is not None, not old.content_hash.startswith(old.id), old.created_at, old.id
