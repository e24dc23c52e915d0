"""Requests to store, read, change and delete items, and their answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from comem_memory.server.wire.items import Content, Hit, Item
from comem_memory.server.wire.values import Asked, Bytes, TimeSpan, Where, Wire
from comem_memory.types import Metadata


class AddRequest(Asked):
    """Items to store, together: at most as many as the server's limits say."""

    items: list[Item] = Field(
        min_length=1,
        examples=[[{"text": "The blue door opens with the brass key.", "metadata": {"year": 2026}}]],
    )
    truncate: bool = False
    """Encode the beginning of texts that are too long."""


class Ids(Wire):
    """Ids of items."""

    ids: list[str]


class GetRequest(Asked):
    """Items by id."""

    ids: list[str]
    skip_missing: bool = False
    """Leave out ids that are not stored, instead of refusing."""
    question: str | None = None
    """Of items in passages, send the vectors of the passage that this is about; by default those of all."""
    vectors: bool = False
    """Send the items' vectors too."""


class Hits(Wire):
    """Stored items."""

    hits: list[Hit]


class UpdateRequest(Asked):
    """What is to change of a stored item; what is left out stays."""

    id: str
    text: str | None = None
    """The new text."""
    image: Bytes | None = None
    """The new picture: its file, in base64."""
    content: Content | None = None
    """The new content; then text and picture, unless they are given, are its own."""
    metadata: Metadata | None = None
    """The new metadata, instead of all the old."""
    thin: bool | None = None
    """Leave out steps of the new content where it is too long for the encoder; by default if some of the old are."""
    truncate: bool = False
    """Encode the beginning of a text that is too long."""
    passages: Literal["sentence"] | None = None
    """Give each sentence of its text vectors of its own."""


class DeleteRequest(Asked):
    """Which items to delete: by id, by a filter, or by both."""

    ids: list[str] | None = None
    where: Where | None = None


class Deleted(Wire):
    """How many items were deleted."""

    deleted: int


class FilterRequest(Asked):
    """Which items: all of the namespace, or those that match a filter."""

    where: Where | None = None


class IdsRequest(FilterRequest):
    """Which ids."""

    history: bool = False
    """Those of superseded items too."""


class ListRequest(FilterRequest):
    """A page of the items that match, ordered by id."""

    after: str | None = None
    """Items with greater ids than this one: `next` of the page before."""
    limit: int = Field(100, ge=1, le=1000)
    """How many items at most."""
    vectors: bool = False
    """Send the items' vectors too."""


class Page(Hits):
    """Items ordered by id."""

    next: str | None
    """What `after` is to be for the next page; null on the last one."""


class NewestRequest(FilterRequest):
    """A page of the items that match, newest first, to ask for."""

    limit: int = Field(20, ge=1, le=1000)
    """How many items at most."""
    offset: int = Field(0, ge=0)
    """How many newer ones to pass over."""
    vectors: bool = False
    """Send the items' vectors too."""


class Newest(Hits):
    """Items, newest first."""

    total: int
    """How many match."""


class Count(Wire):
    """How many items match."""

    count: int


class PostponeRequest(Asked):
    """Items that are to be kept longer, of those that expire."""

    ids: list[str]
    duration: Annotated[TimeSpan, Field(gt=timedelta(0), examples=["P30D"])]
    """From now until they expire."""


class SameRequest(Asked):
    """Items, of which those are looked for that are stored already."""

    items: list[Item] = Field(min_length=1)


class Same(Wire):
    """For each item, the ids of what is stored with the same texts and pictures."""

    ids: list[list[str]]


class Moment(Wire):
    """A time later than that of all that is stored."""

    moment: int
    """Microseconds since 1970, UTC."""


class OneRequest(Asked):
    """An item by its id."""

    id: str


class HistoryRequest(OneRequest):
    """An item whose history is asked for."""

    vectors: bool = False
    """Send the items' vectors too."""
