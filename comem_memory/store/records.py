"""Memory records as Chroma keeps them in one collection.

| of Chroma | of a record |
|---|---|
| id | namespace and id |
| embedding | key |
| document | text |
| metadata | the item's own, and adapters' notes (`comem.chat.`); other `comem.` names: block, summary, encoder |

Chroma's metadata are flat, and their lists are of one kind and not empty. So that filters reach them, values in dicts
stand under their paths (`author.name`), lists as Chroma takes them; what dicts and lists were stands in `comem.nested`.

`times` says how times and states are kept. `comem.terms` lists the text's terms (`retrieval.terms`), each behind its
namespace: Chroma indexes the list's values, so that a term's records are found without looking through texts. Records
of earlier versions have none until they are written again.

Chroma reads all of a record's metadata or nothing of it, so a summary is read with its block, but without key and text.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from comem_memory.errors import DuplicateIdError, EncoderMismatchError
from comem_memory.retrieval import terms_of
from comem_memory.store.contract import CollectionIdentity, MemoryRecord, RecordSummary
from comem_memory.store.filters import Filter, check_namespace
from comem_memory.store.library import Collection, InternalError
from comem_memory.store.moments import moment_of, now, offset_of, to_date, to_moment
from comem_memory.store.times import CURRENT, MOMENT, UPDATED_AT, alive, expires_at, superseded
from comem_memory.types import CHAT_PREFIX, RESERVED_PREFIX, Metadata, leaves, zoned

SEPARATOR = "\x1f"  # a control character, so neither namespace nor id contains it
BATCH = 64
"""Records a request."""
BATCH_BYTES = 20_000_000
"""Of a request that writes: a Chroma server accepts 40 MB. 64 blocks at H = 8192 in fp32 are as many."""
KEYS_BATCH = 1000
"""Retrieval keys a request."""
ATTEMPTS = 3
"""How often an item is read that is deleted and stored again meanwhile."""
IDS_BATCH = 5000
"""Ids a request: SQLite takes 32 766 variables."""

_NESTED, _SUPERSEDES, _TERMS = "comem.nested", "comem.supersedes", "comem.terms"
SUPERSEDING: Filter = {"comem.superseding": {"$eq": 1}}
"""Of records that took the place of others; earlier versions did not note it."""

_T = TypeVar("_T")
_R = TypeVar("_R", bound=RecordSummary)


def batches(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def chroma_id(namespace: str, id: str) -> str:
    return f"{check_namespace(namespace)}{SEPARATOR}{id}"


def matching_ids(
    collection: Collection,
    where: Filter | None = None,
    among: Sequence[str] | None = None,
    *,
    limit: int | None = None,
) -> list[str]:
    """Chroma ids that match, nothing else being read; of all namespaces unless the filter names one.

    Without `among`, at most `limit`.
    """
    if among is None:
        return list(collection.get(where=where, limit=limit, include=[])["ids"])
    found: list[str] = []
    for batch in batches(list(dict.fromkeys(among)), IDS_BATCH):
        found += collection.get(ids=batch, where=where, include=[])["ids"]
    return found


def any_after(collection: Collection, moment: int) -> bool:
    """Whether anything, in any namespace, was created or changed after a moment.

    Records of earlier versions that have no moment do not count.
    """
    where: Filter = {"$or": [{name: {"$gt": moment}} for name in (MOMENT, UPDATED_AT)]}
    return bool(matching_ids(collection, where, limit=1))


def ids_holding(collection: Collection, term: str, namespace: str, *, limit: int) -> list[str]:
    """Chroma ids of a namespace's records whose texts hold a term, neither expired nor superseded, at most `limit`."""
    held: Filter = {_TERMS: {"$contains": chroma_id(namespace, term)}}
    return matching_ids(collection, {"$and": [held, CURRENT, alive(now())]}, limit=limit)


def read(collection: Collection, ids: Sequence[str], namespace: str | None = None) -> dict[str, MemoryRecord]:
    """Whole records by Chroma id, in the order asked; `namespace=None` is for migrations, which take them all, expired
    ones too."""
    found: dict[str, MemoryRecord] = {}
    for batch in batches(list(dict.fromkeys(ids)), BATCH):
        for answer in _answers(collection, batch, ["embeddings", "documents", "metadatas"]):
            columns = (answer[name] for name in ("ids", "embeddings", "documents", "metadatas"))
            for id, key, document, stored in zip(*columns, strict=True):
                found[id] = MemoryRecord(
                    **_summary(stored),
                    key=np.asarray(key, np.float32),
                    block=stored["comem.block"],
                    text=document or None,
                )
    return _asked(found, ids, namespace)


def read_summaries(
    collection: Collection, ids: Sequence[str], namespace: str | None = None
) -> dict[str, RecordSummary]:
    """As `read`, but metadata alone."""
    found: dict[str, RecordSummary] = {}
    for batch in batches(list(dict.fromkeys(ids)), BATCH):
        for answer in _answers(collection, batch, ["metadatas"]):
            for id, stored in zip(answer["ids"], answer["metadatas"], strict=True):
                found[id] = RecordSummary(**_summary(stored))
    return _asked(found, ids, namespace)


def read_keys(collection: Collection, ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Retrieval keys (D,) by Chroma id, nothing else being read."""
    found: dict[str, np.ndarray] = {}
    for batch in batches(ids, KEYS_BATCH):
        for answer in _answers(collection, batch, ["embeddings"]):
            found.update(zip(answer["ids"], np.asarray(answer["embeddings"], np.float32), strict=True))
    return found


def _asked(found: dict[str, _R], ids: Sequence[str], namespace: str | None) -> dict[str, _R]:
    # Compared here: as a filter, Chroma would look through all of the namespace's items for each batch.
    asked = {id: found[id] for id in ids if id in found}
    if namespace is None:
        return asked
    moment = to_date(now())
    return {
        id: one
        for id, one in asked.items()
        if one.namespace == namespace and (one.expires is None or one.expires > moment)
    }


def _answers(collection: Collection, ids: Sequence[str], include: list[str]) -> Iterator[dict[str, Any]]:
    """What Chroma holds of these ids, in one answer unless some are deleted meanwhile.

    Chroma looks up rows and then their embeddings, and fails where an embedding has gone between the two.
    """
    for attempt in itertools.count():
        try:
            yield cast(dict[str, Any], collection.get(ids=list(ids), include=cast(Any, include)))
            return
        except InternalError:
            if len(ids) > 1:
                yield from _answers(collection, ids[: len(ids) // 2], include)
                yield from _answers(collection, ids[len(ids) // 2 :], include)
                return
            if attempt == ATTEMPTS:
                raise


def _summary(stored: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `RecordSummary`."""
    return {
        "id": stored["comem.id"],
        "namespace": stored["comem.namespace"],
        "image": stored.get("comem.image"),
        "metadata": _metadata(stored),
        "created_at": stored["comem.created_at"],
        "content_hash": stored["comem.content_hash"],
        "truncated": stored["comem.truncated"],
        "supersedes": tuple(filter(None, stored.get(_SUPERSEDES, "").split(SEPARATOR))),
        **_read_times(stored),
    }


def _read_times(stored: dict[str, Any]) -> dict[str, Any]:
    """Those of a `RecordSummary`, from metadata."""
    updated, said, expires = (stored.get(name) for name in (UPDATED_AT, "comem.said_at", "comem.expires"))
    return {
        "updated_at": "" if updated is None else to_date(updated),
        "said_at": None if said is None else to_date(said, stored["comem.said_offset"]),
        "expires": None if expires is None else to_date(expires),
        "superseded_by": stored.get("comem.superseded_by"),
    }


def _terms(record: MemoryRecord) -> list[str]:
    return [chroma_id(record.namespace, term) for term in terms_of(record.text or "")]


def _metadata(stored: dict[str, Any]) -> Metadata:
    """The item's metadata as they were given."""
    nested: Metadata = json.loads(stored.get(_NESTED, "{}"))
    parts = leaves(nested)
    plain = {
        name: value
        for name, value in stored.items()
        if (not name.startswith(RESERVED_PREFIX) or name.startswith(CHAT_PREFIX)) and name not in parts
    }
    return plain | nested


def _flat(metadata: Metadata) -> dict[str, Any]:
    """The same as Chroma takes them, lists of several kinds left out."""
    nested = {name: value for name, value in metadata.items() if isinstance(value, dict | list)}
    flat = {name: _of_one_kind(value) if isinstance(value, list) else value for name, value in leaves(metadata).items()}
    written = {_NESTED: json.dumps(nested)} if nested else {}
    return {name: value for name, value in flat.items() if value is not None} | written


def _of_one_kind(values: list[Any]) -> list[Any] | None:
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return [float(value) for value in values]
    return values if len(kinds) == 1 and kinds <= {str, bool, int, float} else None


def _stored_metadata(record: MemoryRecord, identity: CollectionIdentity) -> dict[str, Any]:
    stored = {
        **_flat(record.metadata),
        "comem.id": record.id,
        "comem.namespace": record.namespace,
        "comem.block": record.block,
        "comem.created_at": record.created_at,
        "comem.content_hash": record.content_hash,
        "comem.truncated": record.truncated,
        "comem.encoder": identity.encoder.digest,
    }
    optional = {
        "comem.image": record.image,
        _SUPERSEDES: SEPARATOR.join(record.supersedes),
        "comem.superseding": len(record.supersedes) and 1,
        _TERMS: _terms(record),
    }
    return stored | _stored_times(record) | {name: value for name, value in optional.items() if value}


def _stored_times(record: RecordSummary) -> dict[str, Any]:
    """A record's times and state as metadata."""
    created, updated = to_moment(record.created_at), to_moment(record.updated_at)
    stored = {} if created is None else {MOMENT: created}
    if updated is not None and updated != created:
        stored |= {"comem.updated": 1, UPDATED_AT: updated}
    if record.said_at is not None:
        stored |= {"comem.said_at": moment_of(zoned(record.said_at)), "comem.said_offset": offset_of(record.said_at)}
    if record.expires is not None:
        stored |= expires_at(record.expires)
    return stored if record.superseded_by is None else stored | superseded(record.superseded_by)


def write(collection: Collection, identity: CollectionIdentity, records: Sequence[MemoryRecord]) -> None:
    by_id = {chroma_id(record.namespace, record.id): record for record in records}
    if len(by_id) < len(records):
        raise DuplicateIdError(
            f"{len(records)} records have only {len(by_id)} different ids. Store each id once a call."
        )
    for record in records:
        if np.shape(record.key) != (identity.key_dimension,):
            raise EncoderMismatchError(
                f"The key of item {record.id!r} has shape {np.shape(record.key)}; this collection's have "
                f"{identity.key_dimension} numbers. Make it with its RetrievalKey, {identity.key_name}."
            )
    made = [(id, record, _stored_metadata(record, identity)) for id, record in by_id.items()]
    for batch in _batches_to_write(made):
        ids = [id for id, *_ in batch]
        before = collection.get(ids=ids, include=["metadatas"])
        # An upsert merges metadata, so what the new record does not have is removed by setting it to None.
        cleared: dict[str, dict[str, Any]] = {
            id: dict.fromkeys(stored or {}) for id, stored in zip(before["ids"], before["metadatas"] or [], strict=True)
        }
        collection.upsert(
            ids=ids,
            embeddings=np.stack([np.asarray(record.key, np.float32) for _, record, _ in batch]),
            documents=[record.text or "" for _, record, _ in batch],
            metadatas=[cleared.get(id, {}) | metadata for id, _, metadata in batch],
        )


_Made = tuple[str, MemoryRecord, dict[str, Any]]
"""A record with its Chroma id and its metadata as they are stored, the block among them."""


def _batches_to_write(made: Sequence[_Made]) -> Iterator[list[_Made]]:
    batch: list[_Made] = []
    size = 0
    for one in made:
        _, record, metadata = one
        values = itertools.chain.from_iterable(v if isinstance(v, list) else [v] for v in metadata.values())
        more = sum(len(text.encode()) for text in (record.text, *values) if isinstance(text, str))
        if batch and (len(batch) == BATCH or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += more
    if batch:
        yield batch


def mark(collection: Collection, ids: Sequence[str], metadata: dict[str, Any]) -> None:
    """Adds to the metadata of what is stored."""
    for batch in batches(ids, BATCH):
        collection.update(ids=batch, metadatas=[metadata for _ in batch])


def delete_ids(collection: Collection, ids: Sequence[str]) -> None:
    for batch in batches(ids, IDS_BATCH):
        collection.delete(ids=batch)
