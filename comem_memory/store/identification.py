"""Under which ids items are stored that are added without one."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from comem_memory.store.contract import MemoryStore, RecordSummary
from comem_memory.types import Metadata, notes_of

SOURCE = "source"
"""The metadata key by which items of the same content are told apart."""


class Given(NamedTuple):
    """What tells an item from others."""

    id: str | None
    """Its own, if it has one."""
    content_hash: str
    metadata: Metadata


def stored_ids(
    given: Sequence[Given], store: MemoryStore, namespace: str, seen: Mapping[str, str] | None = None
) -> list[str]:
    """The ids that items are stored under: see `ids_of`.

    Args:
        given: The items.
        store: Where they are to be stored.
        namespace: Whose they are.
        seen: Content hashes by id of what the call stored before.
    """
    unnamed = [one for one in given if one.id is None]
    candidates = list(dict.fromkeys(id for one in unnamed for id in made_ids(one)))
    stored = {old.id: old for old in store.summaries(candidates, namespace=namespace)}
    hashes = sorted({one.content_hash for one in unnamed})
    stored |= {old.id: old for old in store.same_content(hashes, namespace=namespace, besides=stored)}
    return ids_of(given, stored.values(), seen or {})


def ids_of(given: Sequence[Given], stored: Iterable[RecordSummary], seen: Mapping[str, str]) -> list[str]:
    """The items' ids; an item without one is the stored item of the same content.

    It is a new item if that one has another `source`, is a message of a history, or gets other content in this call.

    Args:
        given: The items.
        stored: What is stored of the same content, or under an id that would be made.
        seen: Content hashes by id of what the call stored before.
    """
    stored = sorted(stored, key=_preference)
    contents = dict(seen) | {one.id: one.content_hash for one in given if one.id is not None}
    known: dict[str, dict[object, str]] = {one.content_hash: {} for one in given}  # by content, then source
    for old in stored:
        is_message = notes_of(old.metadata) and not old.content_hash.startswith(old.id)
        if not is_message and contents.get(old.id, old.content_hash) == old.content_hash and old.content_hash in known:
            known[old.content_hash].setdefault(_source(old.metadata), old.id)
    taken = {*contents, *(old.id for old in stored)}

    def id_of(one: Given) -> str:
        if one.id is not None:
            return one.id
        ids, source = known[one.content_hash], _source(one.metadata)
        if source is None and ids:
            return ids.get(None) or next(iter(ids.values()))
        if None in ids:
            ids[source] = ids.pop(None)  # which has none yet
        elif source not in ids:
            # An id is taken by another source, or where a text was updated, whose first version it was made of.
            ids[source] = next((id for id in made_ids(one) if id not in taken), uuid.uuid4().hex)
            taken.add(ids[source])
        return ids[source]

    return [id_of(one) for one in given]


def _source(metadata: Metadata) -> object:
    """Where it is from, a list or dict as its JSON: they cannot be looked up."""
    source = metadata.get(SOURCE)
    return json.dumps(source, sort_keys=True) if isinstance(source, list | dict) else source


def made_ids(one: Given) -> list[str]:
    """Ids for an item without one, made of its content, and of its content and source."""
    source = _source(one.metadata)
    both = [] if source is None else [hashlib.sha256(f"{one.content_hash}\0{source}".encode()).hexdigest()[:32]]
    return [one.content_hash[:32], *both]


def _preference(old: RecordSummary) -> tuple[bool, bool, str, str]:
    return old.superseded_by is not None, not old.content_hash.startswith(old.id), old.created_at, old.id
