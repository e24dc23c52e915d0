"""What a server's memory is, what it holds, and how the server is."""

from __future__ import annotations

from comem_memory.config import EncoderFingerprint, Mode, Order
from comem_memory.server.wire.values import Wire


class KeyInfo(Wire):
    """How items are found."""

    name: str
    """Embedders and weights: keys of another name are not comparable."""
    dimension: int
    """Numbers in a key."""
    text_embedder: str | None
    """What embeds texts; null where items are found by picture only."""
    image_embedder: str | None
    """What embeds pictures; null where items are found by text only."""
    min_similarity: float | None
    """Of a question in words with an item that answers it, as it was measured."""


class Limits(Wire):
    """What the server takes, so that clients can send as much at once."""

    max_body_bytes: int
    max_items: int
    """Items in one request."""
    max_picture_bytes: int
    """Of one picture's file."""
    max_picture_pixels: int
    max_new_tokens: int
    """Longest answer, in tokens."""


class MemoryInfo(Wire):
    """What a client reads of a memory when it connects."""

    library_version: str
    namespace: str
    """The namespace that the token opens where a request names none."""
    writable: bool
    """Whether the token may write."""
    model_name: str
    """The frozen model that answers."""
    context_window: int
    """Tokens that it reads at most."""
    hidden_size: int
    """Numbers in a vector."""
    num_query_tokens: int
    """Vectors of an item."""
    mode: Mode
    """How items are given to the model unless a request says otherwise."""
    precision: str
    """How vectors are stored."""
    min_similarity: float | None
    """What is less similar is not found, unless a search says otherwise."""
    reads_pictures: bool
    """Whether the model that answers is shown pictures."""
    keeps_pictures: bool
    """Whether items may have pictures."""
    order: Order = "best_last"
    """In which order a model reads recalled items."""
    margin: float | None = None
    """How much less similar than the first a found item may be to be given to the model; null gives all."""
    encoder: EncoderFingerprint
    """What made the vectors."""
    key: KeyInfo
    limits: Limits


class Namespaces(Wire):
    """The namespaces that hold items, sorted."""

    namespaces: list[str]


class Stats(Wire):
    """What a memory holds, and with which encoder."""

    items: dict[str, int]
    """How many items, by namespace."""
    encoder: str
    retrieval_key: str
    precision: str
    parameters: str
    """Of encoder and base model."""


class Health(Wire):
    """How a server is."""

    status: str
