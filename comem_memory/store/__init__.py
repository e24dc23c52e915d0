"""Where memories are kept: the contract of a store, Chroma, the packing of vectors, pictures, portable folders.

`Writer` makes records of items, `ChromaStore` keeps them as `MemoryStore` says, `codec` packs their vectors into texts,
and `portable` carries them from one memory to another.
"""

from comem_memory.store.chroma import ChromaStore
from comem_memory.store.codec import PRECISIONS, Precision, decode_block, encode_block
from comem_memory.store.contract import (
    CollectionIdentity,
    MemoryRecord,
    MemoryStore,
    Migration,
    RecordSummary,
    identity_of,
)
from comem_memory.store.filters import Filter, check_namespace
from comem_memory.store.finding import Found, find
from comem_memory.store.identification import Given, ids_of
from comem_memory.store.moments import now, to_date
from comem_memory.store.pictures import PictureFolder
from comem_memory.store.portable import count_items, write_folder
from comem_memory.store.quotas import Quotas
from comem_memory.store.servers import ChromaServer
from comem_memory.store.writer import Writer, progress_bar, record_of

__all__ = [
    "PRECISIONS",
    "ChromaServer",
    "ChromaStore",
    "CollectionIdentity",
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
    "check_namespace",
    "count_items",
    "decode_block",
    "encode_block",
    "find",
    "identity_of",
    "ids_of",
    "now",
    "progress_bar",
    "record_of",
    "to_date",
    "write_folder",
]
