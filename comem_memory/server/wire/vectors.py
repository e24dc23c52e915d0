"""Items, questions and texts in, vectors and tokens out."""

from __future__ import annotations

from pydantic import Field

from comem_memory.server.wire.items import Item
from comem_memory.server.wire.values import Asked, Vectors, Wire


class EncodeRequest(Asked):
    """Items to encode, of which nothing is stored."""

    items: list[Item] = Field(min_length=1)
    truncate: bool = False
    """Encode the beginning of texts that are too long."""


class Encoded(Wire):
    """What N items become, in the order given."""

    ids: list[str]
    """The items' own ids, or the beginnings of `content_hashes`."""
    vectors: Vectors
    """(N, num_query_tokens, hidden_size): the items' vectors."""
    keys: Vectors
    """(N, dimension): the retrieval keys that they are found by."""
    content_hashes: list[str]
    """Of text and pixels."""
    truncated: list[bool]
    """Whether the end of the text is not in the vectors."""


class EmbedRequest(Asked):
    """Texts, of which vectors are made as the retrieval key compares them."""

    texts: list[str]
    questions: bool = False
    """As what is asked for rather than as what is stored, where the embedder tells them apart."""


class Embedded(Wire):
    """Vectors of texts."""

    vectors: Vectors
    """(n, dimension), rows of unit length."""


class TextRequest(Asked):
    """A text."""

    text: str


class TokenIds(Wire):
    """The tokens of a text, as the model that answers reads it."""

    ids: list[int]
