"""Where memories are kept: the contract of a store, Chroma, the packing of vectors, files, portable folders.

`Writer` makes records of items, `ChromaStore` keeps them as `MemoryStore` says, `codec` packs their vectors into texts,
and `portable` carries them from one memory to another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comem_memory.lazy import lazily

if TYPE_CHECKING:
    from comem_memory.store.chroma import ChromaStore
    from comem_memory.store.codec import PRECISIONS, Precision, decode_block, encode_block
    from comem_memory.store.contract import (
        CollectionIdentity,
        FileReference,
        MemoryRecord,
        MemoryStore,
        Migration,
        RecordSummary,
        identity_of,
    )
    from comem_memory.store.filters import Filter, check_filter, check_namespace
    from comem_memory.store.finding import Found, find
    from comem_memory.store.identification import Given, ids_of
    from comem_memory.store.merging import merged
    from comem_memory.store.moments import now, to_date
    from comem_memory.store.passages import nearest_passage
    from comem_memory.store.pictures import PictureFolder
    from comem_memory.store.portable import count_items, to_export, write_folder
    from comem_memory.store.quotas import Quotas
    from comem_memory.store.servers import ChromaServer
    from comem_memory.store.writer import Writer, packed, record_of

_HOME = {
    "ChromaServer": "servers",
    "ChromaStore": "chroma",
    "CollectionIdentity": "contract",
    "FileReference": "contract",
    "Filter": "filters",
    "Found": "finding",
    "Given": "identification",
    "MemoryRecord": "contract",
    "MemoryStore": "contract",
    "Migration": "contract",
    "PRECISIONS": "codec",
    "PictureFolder": "pictures",
    "Precision": "codec",
    "Quotas": "quotas",
    "RecordSummary": "contract",
    "Writer": "writer",
    "check_filter": "filters",
    "check_namespace": "filters",
    "count_items": "portable",
    "decode_block": "codec",
    "encode_block": "codec",
    "find": "finding",
    "identity_of": "contract",
    "ids_of": "identification",
    "merged": "merging",
    "nearest_passage": "passages",
    "now": "moments",
    "packed": "writer",
    "record_of": "writer",
    "to_date": "moments",
    "to_export": "portable",
    "write_folder": "portable",
}

__all__ = [
    "PRECISIONS",
    "ChromaServer",
    "ChromaStore",
    "CollectionIdentity",
    "FileReference",
    "Filter",
    "Found",
    "Given",
    "MemoryRecord",
    "MemoryStore",
    "Migration",
    "PictureFolder",
    "Precision",
    "Quotas",
    "RecordSummary",
    "Writer",
    "check_filter",
    "check_namespace",
    "count_items",
    "decode_block",
    "encode_block",
    "find",
    "identity_of",
    "ids_of",
    "merged",
    "nearest_passage",
    "now",
    "packed",
    "record_of",
    "to_date",
    "to_export",
    "write_folder",
]

__getattr__ = lazily(__name__, _HOME)  # what is stored is counted without torch
