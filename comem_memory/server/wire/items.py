"""An item as it is sent, and a hit as it comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from comem_memory.content import Audio
from comem_memory.server.wire.values import Asked, Bytes, DateTime, Duration, Note, Vectors, Wire
from comem_memory.types import MemoryHit, MemoryItem, Metadata, notes_of, own_metadata, with_notes


class TextPart(Asked):
    """A text in a message or an item."""

    type: Literal["text"]
    text: str


class ImagePart(Asked):
    """A picture in a message or an item."""

    type: Literal["image"]
    image: Bytes
    """Its file, in base64."""


class AudioPart(Asked):
    """A recording in an item."""

    type: Literal["audio"]
    audio: Bytes
    """Its file, in base64."""


Said = list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
"""What a message says: texts and pictures in their order."""
Content = list[Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]]
"""What an item is: texts, pictures and recordings in their order."""


def content_of(parts: Content) -> list[str | bytes | Audio]:
    """Parts as `MemoryItem` takes them."""
    return [
        Audio(part.audio) if isinstance(part, AudioPart) else part.text if isinstance(part, TextPart) else part.image
        for part in parts
    ]


class Item(Asked):
    """Something to remember: a text, a picture, or several of both. See `MemoryItem` for what each field means."""

    text: str | None = None
    """The item's text; with `content` by default its texts."""
    image: Bytes | None = None
    """A picture: its file (PNG, JPEG, ...), in base64; with `content` by default its first. No URL or path, of which
    the server opens none."""
    content: Content | None = None
    """Several texts, pictures and recordings in their order."""
    thin: bool = False
    """Leave out steps of `content` where it is too long for the encoder."""
    id: str | None = None
    """Unique within a namespace; by default a hash of its content, so that adding twice changes nothing."""
    metadata: Metadata = {}
    """Texts, numbers and booleans to filter on, in lists and dicts or not."""
    said_at: DateTime | None = None
    """When it was said or happened, ISO 8601 with a timezone."""
    expires: DateTime | Duration | None = None
    """When it is to be forgotten: a moment with a timezone, or a duration from now (`P30D`), ISO 8601."""
    supersedes: str | list[str] | None = None
    """Ids of stored items that it takes the place of."""
    passages: list[str] | None = None
    """What a long text says, a few words each: every one becomes vectors of its own, of which a question gets those
    that it is about."""
    notes: Annotated[
        dict[Note, str | bool | int | float], Field(json_schema_extra={"additionalProperties": False})
    ] = {}
    """What an adapter of an agent framework notes about it."""

    @classmethod
    def of(cls, item: MemoryItem, image: bytes | None, content: Content | None = None) -> Self:
        """An item as it is sent.

        Args:
            item: The item.
            image: The encoded file of its picture, if it has one that is not the first of the content.
            content: Its content, if it has some.
        """
        given = item.model_dump(mode="json", include=item.model_fields_set - {"image", "content"})
        metadata = given.pop("metadata", {})
        own = {"metadata": own_metadata(metadata)} if "metadata" in item.model_fields_set else {}
        notes = {"notes": notes} if (notes := notes_of(metadata)) else {}
        files = {name: value for name, value in (("image", image), ("content", content)) if value is not None}
        return cls.model_validate(given | own | notes | files)

    def item(self) -> MemoryItem:
        """
        Raises:
            InvalidItemError: Neither text nor picture, or a value that cannot be stored.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set - {"notes"}}
        if self.content is not None:
            given["content"] = content_of(self.content)
        item = MemoryItem(**given)
        return with_notes(item, self.notes) if self.notes else item


class HitText(Wire):
    """A text of a stored item."""

    type: Literal["text"] = "text"
    text: str


class HitImage(Wire):
    """A picture of a stored item."""

    type: Literal["image"] = "image"
    image: str
    """Where the server gives it: a path on it that takes the same token."""


class HitAudio(Wire):
    """A recording of a stored item."""

    type: Literal["audio"] = "audio"
    audio: str
    """Where the server gives it: a path on it that takes the same token."""


class Hit(Wire):
    """A stored item."""

    id: str
    """Unique within the namespace."""
    text: str | None = None
    """The text that was encoded; with `content`, the text that it is found by."""
    image: str | None = None
    """Where the server gives the item's picture: a path on it that takes the same token."""
    content: list[Annotated[HitText | HitImage | HitAudio, Field(discriminator="type")]] | None = None
    """Texts, pictures and recordings in their order, of an item that has several."""
    left_out: list[int] = []
    """Places in `content` of what is not in the vectors, from 0."""
    metadata: Metadata = {}
    """The item's own metadata."""
    notes: dict[Note, Any] = {}
    """What an adapter of an agent framework notes about it."""
    similarity: float | None = None
    """How close the item is to the query, -1 to 1, larger is closer; of a search alone."""
    similarity_of_texts: float | None = None
    """What the texts give to the similarity, of a question with both text and picture; the pictures give the rest."""
    found_by: list[str] = []
    """How a search came by it: `meaning`, `terms`, or both."""
    created_at: str = ""
    """When it was stored, ISO 8601, UTC; of two items the later has the greater text."""
    updated_at: str = ""
    """When it was changed last, ISO 8601, UTC."""
    said_at: str | None = None
    """When it was said, ISO 8601, in the timezone it was given in."""
    expires: str | None = None
    """When it is to be forgotten, ISO 8601, UTC."""
    truncated: bool = False
    """The end of the text, or of `content` what `left_out` names, is not in the vectors."""
    supersedes: list[str] = []
    """Ids of the items that it took the place of."""
    superseded_by: str | None = None
    """The id of the item that took its place."""
    passages: list[str] = []
    """The texts that were encoded, each by itself, of an item that has passages."""
    passage: int | None = None
    """The place in `passages` of the one that the question is about, from 0."""
    memory_embeddings: Vectors | None = None
    """The item's vectors (num_query_tokens, hidden_size), if they were asked for; of an item of n passages those of its
    `passage` or, without a question, of all, (n * num_query_tokens, hidden_size)."""

    @classmethod
    def of(cls, hit: MemoryHit, *, where: Callable[[str, int | None], str], vectors: bool) -> Self:
        """A hit as it is sent.

        Args:
            hit: The hit.
            where: Where the server gives one of its `pictures` or `audio`, by the place in its content; with `None`,
                its own picture.
            vectors: Whether its vectors are sent.
        """
        plain = {name: getattr(hit, name) for name in _PLAIN}
        content = [
            HitText(text=part)
            if isinstance(part, str)
            else HitAudio(audio=where("audio", place))
            if isinstance(part, Audio)
            else HitImage(image=where("pictures", place))
            for place, part in enumerate(hit.content or ())
        ]
        return cls(
            **plain,
            image=where("pictures", None) if hit.image else None,
            content=content or None,
            left_out=list(hit.left_out),
            found_by=list(hit.found_by),
            supersedes=list(hit.supersedes),
            passages=list(hit.passages),
            memory_embeddings=Vectors.of(hit.memory_embeddings) if vectors else None,
        )

    def content_locations(self, location: Callable[[str], str]) -> list[dict[str, str]] | None:
        """As `MemoryHit.content_locations`.

        Args:
            location: The URL of a path on the server.
        """
        if self.content is None:
            return None
        return [
            {"type": "text", "text": part.text}
            if isinstance(part, HitText)
            else {"type": "audio", "audio": location(part.audio)}
            if isinstance(part, HitAudio)
            else {"type": "image", "image": location(part.image)}
            for part in self.content
        ]


_PLAIN = (
    "id",
    "text",
    "metadata",
    "notes",
    "similarity",
    "similarity_of_texts",
    "created_at",
    "updated_at",
    "said_at",
    "expires",
    "truncated",
    "superseded_by",
    "passage",
)
"""Fields of a hit that are the same in memory and on the wire."""
