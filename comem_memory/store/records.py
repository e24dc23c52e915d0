"""Memory records as Chroma keeps them in one collection.

| of Chroma | of a record |
|---|---|
| id | namespace and id |
| embedding | key |
| document | text |
| metadata | the item's own, and adapters' notes (`comem.chat.`); other `comem.` names: block, summary, encoder |

Chroma's metadata are flat, and their lists are of one kind and not empty. So that filters reach them, values in dicts
stand under their paths (`author.name`), lists as Chroma takes them; what dicts and lists were stands in `comem.nested`.

Two processes may write one id at the same time. Chroma carries out one upsert after the other, each as a whole, and
keeps of the metadata before it what it does not name. So a record names all that may be its own: what it lacks of our
keys is removed, and of the others those that `comem.names` lists are read. Whoever wrote it last looks whether others
are left, which filters would see, and writes it again without them. Chroma reads metadata and embedding one after the
other, so `comem.key` has the embedding's checksum, and what does not fit together is read again.

Where a server has `quotas`, long texts stand in `parts`. An int8 block is kept as what differs from the collection's
`references`, a record without an item.

`times` says how times and states are kept. `comem.terms` lists the text's terms (`retrieval.terms`), each behind its
namespace: Chroma indexes the list's values, so that a term's records are found without looking through texts. Records
of earlier versions have none until they are written again.

Chroma reads all of a record's metadata or nothing of it, so a summary is read with its block, but without key and text.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

import numpy as np

from comem_memory.content import map_files
from comem_memory.errors import DuplicateIdError, EncoderMismatchError
from comem_memory.retrieval import terms_of
from comem_memory.store.codec import int8_parts
from comem_memory.store.contract import CollectionIdentity, FileReference, MemoryRecord, RecordSummary
from comem_memory.store.filters import Filter
from comem_memory.store.ids import SEPARATOR, chroma_id, is_item
from comem_memory.store.library import Collection, InternalError
from comem_memory.store.moments import moment_of, now, offset_of, to_date, to_moment
from comem_memory.store.packing import Reference, pack
from comem_memory.store.parts import count_of, joined, split
from comem_memory.store.quotas import Quotas, check_quotas, is_too_long
from comem_memory.store.references import BLOCK, block_of, reference_for
from comem_memory.store.times import CURRENT, MOMENT, TIME_KEYS, UPDATED_AT, alive, expires_at, superseded
from comem_memory.types import CHAT_PREFIX, RESERVED_PREFIX, Metadata, Page, leaves, zoned

BATCH = 64
"""Records a request."""
BATCH_BYTES = 20_000_000
"""Of a request that writes: a Chroma server accepts 40 MB. 64 blocks at H = 8192 in fp32 are as many."""
KEYS_BATCH = 1000
"""Retrieval keys a request."""
ATTEMPTS = 3
"""How often an item is read that is deleted and stored again meanwhile."""
ROUNDS = 100
"""How often a record is written, or read, that others write all the time."""
SAMPLED = 256
"""Records that tell how new the others are."""
IDS_BATCH = 5000
"""Ids a request: SQLite takes 32 766 variables."""

_NAMES, _NESTED, _SUPERSEDES, _TEXT = "comem.names", "comem.nested", "comem.supersedes", "comem.text"
_CONTENT, _PASSAGES, _PASSAGE_KEYS = "comem.content", "comem.passages", "comem.passage_keys"
_LONG = (BLOCK, _NAMES, _NESTED, _SUPERSEDES, _TEXT, _CONTENT, _PASSAGES, _PASSAGE_KEYS)
"""Texts of ours that may be in parts."""
_KEY, _TERMS, _IMAGE, _SUPERSEDING = "comem.key", "comem.terms", "comem.image", "comem.superseding"
_OPTIONAL = (*_LONG[2:], *map(count_of, _LONG), _TERMS, _IMAGE, _SUPERSEDING, *TIME_KEYS)
"""What a record has not always."""
SUPERSEDING: Filter = {_SUPERSEDING: {"$eq": 1}}
"""Of records that took the place of others; earlier versions did not note it."""

_Made = tuple[str, MemoryRecord, dict[str, Any]]
"""A record with its Chroma id and its metadata as they are stored, the block among them."""
_T = TypeVar("_T")
_R = TypeVar("_R", bound=RecordSummary)


def batches(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


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
        return list(filter(is_item, collection.get(where=where, limit=limit, include=[])["ids"]))
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


def newest_ids(collection: Collection, where: Filter, *, most: int) -> Page[str]:
    """Chroma ids of the newest records that match, newest first, and how many match.

    Chroma orders nothing, and reads all metadata of a record or none. So a few records tell how new those are that are
    wanted, until not many more match.

    Args:
        collection: The collection.
        where: What the records match.
        most: How many.
    """
    ids = matching_ids(collection, where)
    total = len(ids)
    while len(ids) > most + SAMPLED:
        step = len(ids) // SAMPLED
        sample = read_summaries(collection, ids[::step]).values()
        moments = {moment for one in sample if (moment := to_moment(one.created_at)) is not None}
        for moment in sorted(moments, reverse=True)[most // step :]:
            newer = matching_ids(collection, {"$and": [where, {MOMENT: {"$gt": moment}}]})
            if len(newer) >= most:
                ids = newer
                break
        else:
            break  # many are equally new, or of earlier versions
    found = read_summaries(collection, ids)
    newest = sorted(found, key=lambda id: (found[id].created_at, found[id].id), reverse=True)
    return Page(newest[:most], total)


def ids_holding(collection: Collection, term: str, namespace: str, *, limit: int) -> list[str]:
    """Chroma ids of a namespace's records whose texts hold a term, neither expired nor superseded, at most `limit`."""
    held: Filter = {_TERMS: {"$contains": chroma_id(namespace, term)}}
    return matching_ids(collection, {"$and": [held, CURRENT, alive(now())]}, limit=limit)


def read(collection: Collection, ids: Sequence[str], namespace: str | None = None) -> dict[str, MemoryRecord]:
    """Whole records by Chroma id, in the order asked; `namespace=None` is for migrations, which take them all, expired
    ones too."""
    found: dict[str, MemoryRecord] = {}
    for batch in batches(list(dict.fromkeys(ids)), BATCH):
        left, attempt = batch, 0
        while left:
            torn = []
            for answer in _answers(collection, left, ["embeddings", "documents", "metadatas"]):
                columns = (answer[name] for name in ("ids", "embeddings", "documents", "metadatas"))
                for id, embedding, document, stored in zip(*columns, strict=True):
                    key = np.asarray(embedding, np.float32)
                    if attempt < ROUNDS and stored.get(_KEY, checksum := _checksum(key)) != checksum:
                        torn.append(id)  # written in between
                        continue
                    found[id] = MemoryRecord(
                        **_summary(stored),
                        key=key,
                        block=block_of(collection, stored),
                        text=joined(_TEXT, stored) or document or None,
                        passage_keys=joined(_PASSAGE_KEYS, stored) or "",
                    )
            left, attempt = torn, attempt + 1
    return _asked(found, ids, namespace)


def _checksum(key: np.ndarray) -> int:
    return zlib.crc32(key.astype("<f4").tobytes())


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
        "image": stored.get(_IMAGE),
        "metadata": _metadata(stored),
        "created_at": stored["comem.created_at"],
        "content_hash": stored["comem.content_hash"],
        "truncated": stored["comem.truncated"],
        "supersedes": tuple(filter(None, (joined(_SUPERSEDES, stored) or "").split(SEPARATOR))),
        "passages": tuple(json.loads(joined(_PASSAGES, stored) or "[]")),
        **_read_content(joined(_CONTENT, stored)),
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


def _file(part: dict[Literal["image", "audio"], str]) -> FileReference:
    [(kind, reference)] = part.items()
    return FileReference(reference, kind)


def _read_content(stored: str | None) -> dict[str, Any]:
    """Content and what is left out of it, as `_stored_content` writes them."""
    if stored is None:
        return {}
    read = json.loads(stored)
    content = map_files(read["parts"], _file)
    return {"content": content, "left_out": tuple(read["left_out"])}


def _stored_content(record: RecordSummary) -> str:
    if not record.content:
        return ""
    parts = map_files(record.content, lambda part: {part.kind: part.reference})
    return json.dumps({"parts": parts, "left_out": record.left_out}, ensure_ascii=False)


def _terms(record: MemoryRecord) -> list[str]:
    return [chroma_id(record.namespace, term) for term in terms_of(record.full_text)]


def _metadata(stored: dict[str, Any]) -> Metadata:
    """The item's metadata as they were given."""
    nested: Metadata = json.loads(joined(_NESTED, stored) or "{}")
    names = joined(_NAMES, stored)  # records of earlier versions have none
    own = filter(_is_own, stored) if names is None else [name for name in json.loads(names) if name in stored]
    parts = leaves(nested)
    return {name: stored[name] for name in own if name not in parts} | nested


def _is_own(name: str) -> bool:
    """Whether a key is the item's, or an adapter's note."""
    return not name.startswith(RESERVED_PREFIX) or name.startswith(CHAT_PREFIX)


def _flat(metadata: Metadata, quotas: Quotas | None) -> tuple[dict[str, Any], Metadata]:
    """The same as Chroma takes them, lists of several kinds and texts that are too long left out; and these."""
    nested = {
        name: value
        for name, value in metadata.items()
        if isinstance(value, dict | list) or (isinstance(value, str) and is_too_long(value, quotas))
    }
    flat = {name: _of_one_kind(value) if isinstance(value, list) else value for name, value in leaves(metadata).items()}
    return {name: value for name, value in flat.items() if not (value is None or is_too_long(value, quotas))}, nested


def _of_one_kind(values: list[Any]) -> list[Any] | None:
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return [float(value) for value in values]
    return values if len(kinds) == 1 and kinds <= {str, bool, int, float} else None


def _stored_metadata(
    record: MemoryRecord, identity: CollectionIdentity, reference: Reference | None, quotas: Quotas | None
) -> dict[str, Any]:
    flat, nested = _flat(record.metadata, quotas)
    texts = {
        BLOCK: pack(record.block, reference) if reference else record.block,
        _NAMES: json.dumps(list(flat)),
        _NESTED: json.dumps(nested) if nested else "",
        _SUPERSEDES: SEPARATOR.join(record.supersedes),
        _TEXT: record.text if record.text and quotas and len(record.text.encode()) > quotas.document_bytes else "",
        _CONTENT: _stored_content(record),
        _PASSAGES: json.dumps(record.passages, ensure_ascii=False) if record.passages else "",
        _PASSAGE_KEYS: record.passage_keys,
    }
    most = quotas.value_bytes if quotas else None
    optional = {_IMAGE: record.image, _TERMS: _terms(record), _SUPERSEDING: len(record.supersedes) and 1}
    return {
        **flat,
        "comem.id": record.id,
        "comem.namespace": record.namespace,
        "comem.created_at": record.created_at,
        "comem.content_hash": record.content_hash,
        "comem.truncated": record.truncated,
        "comem.encoder": identity.encoder.digest,
        **{key: value for name, text in texts.items() if text for key, value in split(name, text, most).items()},
        _KEY: _checksum(record.key),
        **_stored_times(record),
        **{name: value for name, value in optional.items() if value},
    }


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


def write(
    collection: Collection,
    identity: CollectionIdentity,
    records: Sequence[MemoryRecord],
    quotas: Quotas | None = None,
) -> None:
    """Stores records, each replacing what is stored under its id.

    Args:
        collection: The collection.
        identity: Whose it is.
        records: The records.
        quotas: What the server takes at most.
    """
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
    most = quotas.value_bytes if quotas else None
    blocks = [record.block for record in records]
    reference = reference_for(collection, blocks, key_dimension=identity.key_dimension, most=most)
    made = [(id, record, _stored_metadata(record, identity, reference, quotas)) for id, record in by_id.items()]
    if quotas:
        for id, _, metadata in made:
            check_quotas(id, metadata, quotas)
    for batch in _batches_to_write(made):
        _upsert(collection, batch)


def _upsert(collection: Collection, batch: Sequence[_Made]) -> None:
    """Writes records, and again those that keys of others, which wrote them at the same time, are left in."""
    left = {id: (record, metadata) for id, record, metadata in batch}
    for attempt in range(ROUNDS):
        answer = collection.get(ids=list(left), include=["metadatas"])
        stored = {id: one or {} for id, one in zip(answer["ids"], answer["metadatas"] or [], strict=True)}
        if attempt:
            left = {id: one for id, one in left.items() if _has_others(stored.get(id, {}), one[1])}
        if not left:
            return
        collection.upsert(
            ids=list(left),
            embeddings=np.stack([np.asarray(record.key, np.float32) for record, _ in left.values()]),
            documents=["" if _TEXT in metadata else record.text or "" for record, metadata in left.values()],
            metadatas=[dict.fromkeys((*_OPTIONAL, *stored.get(id, {}))) | one for id, (_, one) in left.items()],
        )


def _has_others(stored: Mapping[str, Any], written: Mapping[str, Any]) -> bool:
    """Whether something stored is what was written, and has keys beside it; else whoever wrote it sees to that."""
    is_it = all(stored.get(name) == written.get(name) for name in (BLOCK, _NAMES))
    return is_it and not stored.keys() <= {*written, *_OPTIONAL}


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


def unpacked_ids(collection: Collection) -> Iterator[list[str]]:
    """Batches of Chroma ids whose records `write` would make smaller, if the collection has a reference."""
    for batch in batches(sorted(matching_ids(collection)), BATCH):
        for answer in _answers(collection, batch, ["metadatas"]):
            stored = zip(answer["ids"], answer["metadatas"], strict=True)
            ids = [id for id, one in stored if int8_parts(joined(BLOCK, one) or "") is not None]
            if ids:
                yield ids


def mark(collection: Collection, ids: Sequence[str], metadata: dict[str, Any]) -> None:
    """Adds to the metadata of what is stored."""
    for batch in batches(ids, BATCH):
        collection.update(ids=batch, metadatas=[metadata for _ in batch])


def delete_ids(collection: Collection, ids: Sequence[str]) -> None:
    for batch in batches(ids, IDS_BATCH):
        collection.delete(ids=batch)
