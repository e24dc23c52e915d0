"""The data that users hold: what goes into the memory, and what comes back."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from comem_memory.content import (
    Audio,
    audio_of,
    content_parts,
    joined_texts,
    locations_of,
    picture_of,
    pictures_of,
    repaired,
    texts_of,
    with_texts,
)
from comem_memory.errors import InvalidItemError, shortened

if TYPE_CHECKING:
    import torch

Metadata = dict[str, Any]
"""Values by name: texts, numbers and booleans, lists and dicts of these, and dicts of dicts; see `leaves`."""
RESERVED_PREFIX = "comem."
"""Metadata keys that begin so are ours: the store's, and what adapters note about messages."""
CHAT_PREFIX = RESERVED_PREFIX + "chat."
"""Metadata keys that begin so are what adapters note about messages (`with_notes`). Filters may name them; hits,
documents and nodes do not show them."""
MESSAGE_NOTE = CHAT_PREFIX + "message"
"""The note that holds a whole message, as a history gives it back."""
_CHROMA_PREFIXES = ("chroma:", "$", "#")


class MemoryItem(BaseModel):
    """A text, an image, or several of both with audio: what the encoder turns into 8 vectors (arXiv 2505.17670).

    With `content`, an item is several texts, pictures and recordings in their order: a document with figures, the
    frames of a clip, a call and what it was about, the screenshots and actions of an agent (`Trajectory`). It is
    encoded whole; text and image are then what it is found by and shown as. A text with the pictures and recordings
    before it is a step, and so is each of these behind which no text comes. Recordings are for models that hear.

    Args:
        text: The item's text; with `content` by default its texts, a line each.
        image: A path, encoded image bytes (PNG, JPEG, ...), or a `PIL.Image.Image`; with `content` by default its
            first picture.
        content: Texts, pictures and recordings in their order: a `str` is a text, a `Path`, bytes or a
            `PIL.Image.Image` a picture, an `Audio` a recording; or parts of chat messages,
            `{"type": "text", "text": ...}`, `{"type": "image", "image": ...}` and `{"type": "audio", "audio": ...}`
            (or `"base64": ...`). One picture and one text are the same as `image` and `text`.
        thin: Whether steps of `content` may be left out where it is too long for the encoder's window: first those
            that repeat the one before, then so that the first, the last and every n-th stay.
        id: Unique within a namespace; by default a hash of the content, so that adding twice changes nothing.
        metadata: Texts, numbers and booleans to filter on, in lists and dicts or not (a filter names `{"author":
            {"name": "Ada"}}` as `author.name`). Entries that are `None` are left out, tuples become lists. Keys must
            not begin with `comem.`, `chroma:`, `$` or `#`. Without an id, an item of another `source` is an item of its
            own, even if text and image are the same.
        said_at: When it was said or happened, with a timezone: a datetime, or its text in ISO 8601. A model that reads
            texts is told the day, in that timezone.
        expires: When it is to be forgotten: a datetime with a timezone, or a duration from when it is stored; or the
            text of either in ISO 8601. From then on no read returns it, and a later write removes it.
        supersedes: Ids of stored items that it takes the place of. From then on these are found no more, even when it
            expires or is deleted itself, and stay in its history.
        passages: What a long text says, a few words each: every one becomes vectors of its own, and a question is
            answered with those of the one that it is about. The item stays one, found by its whole text. `add` cuts
            texts by a rule. The item's picture is encoded with the first; an item with `content` has none.

    Halves of characters (lone surrogates) in texts are repaired; see `repaired`.

    Raises:
        InvalidItemError: Neither text nor image, an unknown field, or a value that cannot be stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    text: str | None = None
    image: Any = Field(default=None, repr=False)
    content: tuple[Any, ...] | None = Field(default=None, repr=False)
    thin: bool = False
    id: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    said_at: datetime | None = None
    expires: datetime | timedelta | None = None
    supersedes: str | Sequence[str] | None = None
    passages: tuple[str, ...] | None = Field(default=None, repr=False)

    if not TYPE_CHECKING:  # type checkers see the fields

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise _invalid(fields, error) from error

    @field_validator("metadata", mode="before")
    @classmethod
    def _plain_values(cls, metadata: Any) -> Any:
        return _kept(metadata)

    @field_validator("text", mode="before")
    @classmethod
    def _whole_text(cls, text: Any) -> Any:
        return _repaired(text)

    @field_validator("passages")
    @classmethod
    def _whole_passages(cls, passages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return tuple(repaired(one) for one in passages or () if one.strip()) or None

    @field_validator("said_at", "expires", mode="before")
    @classmethod
    def _time(cls, value: Any) -> Any:
        is_duration = isinstance(value, timedelta) or (isinstance(value, str) and value.startswith("P"))
        return value if value is None or is_duration else zoned(value)

    @field_validator("expires")
    @classmethod
    def _ahead(cls, expires: datetime | timedelta | None) -> datetime | timedelta | None:
        if isinstance(expires, timedelta) and expires <= timedelta():
            raise InvalidItemError(f"MemoryItem.expires is {expires}. Pass a duration above zero, or a datetime.")
        return expires

    @field_validator("image")
    @classmethod
    def _picture(cls, image: Any) -> Any:
        return None if image is None else picture_of(image)

    @model_validator(mode="before")
    @classmethod
    def _with_content(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("content") is None:
            return fields
        parts = content_parts(fields["content"])
        said, shown = texts_of(parts), pictures_of(parts)
        own = joined_texts(parts) or None, next(iter(shown), None)
        text = fields["text"] if _has_text(fields.get("text")) else own[0]
        image = own[1] if fields.get("image") is None else picture_of(fields["image"])
        is_short = len(said) + len(shown) == len(parts) and len(said) < 2 and len(shown) < 2 and (text, image) == own
        return fields | {"text": text, "image": image, "content": None if is_short else parts}

    @model_validator(mode="after")
    def _storable(self) -> MemoryItem:
        name = f"MemoryItem {shortened(self.id)!r}" if self.id else "MemoryItem"
        if not _has_text(self.text) and self.image is None:
            if audio_of(self.content or ()):
                raise InvalidItemError(f"{name} has audio, but nothing that it is found by. Pass a text of what it is.")
            raise InvalidItemError(f"{name} has neither text nor image. Pass text=..., image=..., or both.")
        if self.id is not None and not is_name(self.id):
            raise InvalidItemError(
                f"{name}: an id must not be empty and must have no control characters. Pass another id, or none."
            )
        if self.passages and (self.content is not None or not _has_text(self.text)):
            raise InvalidItemError(f"{name} has passages, which are of a text. Pass them with text=..., not content.")
        _check_metadata(name, self.metadata)
        return self


def _has_text(text: Any) -> bool:
    return bool(text.strip()) if isinstance(text, str) else text is not None


def leaves(metadata: Metadata) -> Metadata:
    """The values that are no dicts, each under its path: of `{"author": {"name": "Ada"}}` it is `author.name`."""
    return dict(_paths(metadata))


def _paths(metadata: Metadata, within: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in metadata.items():
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            yield from _paths(value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value


def _kept(value: Any) -> Any:
    """A value as it is kept: NumPy's scalars as Python's, so that a boolean stays one, and no entry without a value."""
    if isinstance(value, dict):
        return {_repaired(key): _kept(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_kept(one) for one in value]
    return _repaired(plain(value))


def _check_metadata(name: str, metadata: Metadata) -> None:
    """
    Args:
        name: The item, for the message.
        metadata: As `_kept` gives it.

    Raises:
        InvalidItemError: A name or value that cannot be stored, or two values of the same path.
    """
    found = list(_paths(metadata))
    paths = [path for path, _ in found]
    for path in (*metadata, *paths):
        if not path or path.startswith((RESERVED_PREFIX, *_CHROMA_PREFIXES)):
            raise InvalidItemError(
                f"{name}: metadata key {shortened(path)!r} is empty or begins with one of "
                f"{', '.join((RESERVED_PREFIX, *_CHROMA_PREFIXES))}, which the store uses. Rename the key."
            )
    if len(set(paths)) < len(paths):
        twice = next(path for at, path in enumerate(paths) if path in paths[:at])
        raise InvalidItemError(
            f"{name}: metadata has {shortened(twice)!r} twice, in a dict and with a dot. Rename one."
        )
    for path, value in found:
        _check_value(f"{name}: metadata {shortened(path)!r}", value)


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, list):
        for one in value:
            _check_value(name, one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                raise InvalidItemError(f"{name} has the key {key!r}. Pass texts as keys.")
            _check_value(name, one)
    elif not isinstance(value, str | int | float | None):
        raise InvalidItemError(
            f"{name} is or holds a {type(value).__name__}. Pass texts, numbers, booleans, and lists and dicts of these."
        )
    elif not is_storable(value):
        raise InvalidItemError(f"{name} is not finite or beyond 64 bits. Store it as a text.")


def zoned(time: Any) -> datetime:
    """A datetime with a timezone, or the text of one in ISO 8601, as a datetime.

    Raises:
        ValueError: It is neither.
    """
    with suppress(ValueError):
        parsed = datetime.fromisoformat(time) if isinstance(time, str) else time
        if isinstance(parsed, datetime) and parsed.utcoffset() is not None:
            return parsed
    raise ValueError(
        f"{shortened(repr(time))} is no moment with a timezone, such as datetime.now().astimezone() or "
        "'2026-05-03T18:30:00+02:00'"
    )


def superseded_ids(item: MemoryItem) -> tuple[str, ...]:
    """The ids of the items that an item takes the place of."""
    return (item.supersedes,) if isinstance(item.supersedes, str) else tuple(item.supersedes or ())


def plain(value: Any) -> Any:
    """NumPy's and torch's scalars as Python's."""
    return value.item() if getattr(value, "shape", None) == () else value


def whole(value: Any) -> Any:
    """A value whose texts have no halves of characters and whose numbers are Python's: JSON has no form for others."""
    value = plain(value)
    if isinstance(value, Mapping):
        return {whole(name): whole(one) for name, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list | tuple) else _repaired(value)


def is_storable(value: Any) -> bool:
    """Whether Chroma can keep a metadata value: numbers finite and of 64 bits, texts without lone surrogates."""
    if isinstance(value, int | float):
        return abs(value) < 2**63  # which infinity and NaN are not
    return not isinstance(value, str) or repaired(value) == value


def _repaired(value: Any) -> Any:
    return repaired(value) if isinstance(value, str) else value


def with_notes(item: MemoryItem, notes: Mapping[str, str | int | float | bool]) -> MemoryItem:
    """The item with what an adapter notes about it beside the user's metadata.

    Args:
        item: The item to add.
        notes: The notes, each under a name that begins with `CHAT_PREFIX`, which a user's metadata cannot have.
    """
    return item.model_copy(update={"metadata": {**item.metadata, **whole(notes)}})


def own_metadata(metadata: Metadata) -> Metadata:
    """An item's metadata without what adapters note."""
    return {name: value for name, value in metadata.items() if not name.startswith(CHAT_PREFIX)}


def notes_of(metadata: Metadata) -> Metadata:
    """What adapters note in an item's metadata."""
    return {name: value for name, value in metadata.items() if name.startswith(CHAT_PREFIX)}


def is_name(text: str) -> bool:
    """Whether a text can be an id or a namespace: not empty, without control characters and lone surrogates."""
    return text != "" and not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _invalid(fields: dict[str, Any], error: ValidationError) -> InvalidItemError:
    """What pydantic found, as one of our errors; its first finding says enough."""
    found = error.errors()[0]
    if isinstance(cause := found.get("ctx", {}).get("error"), InvalidItemError):
        return cause
    place = ".".join(str(part) for part in found["loc"][:2])
    return InvalidItemError(
        f"MemoryItem {shortened(fields.get('id') or '')!r} cannot be made: {shortened(place)}: {found['msg']}. "
        "Pass text (str), image, id (str) and metadata (a dict); said_at and expires (moments with a timezone), "
        "supersedes (ids) and passages (texts)."
    )


def told_similarity(similarity: float, of_texts: float | None, digits: int) -> str:
    """A similarity as people read it; of a question with both text and picture, with what each gives to it.

    Args:
        similarity: That of a hit.
        of_texts: Its `similarity_of_texts`.
        digits: After the point.
    """
    whole, rounded = round(similarity, digits), f"z.{digits}f"  # z: nothing is -0.00
    if of_texts is None:
        return f"{whole:{rounded}}"
    texts = round(of_texts, digits)
    return f"{whole:{rounded}} = {texts:{rounded}} text + {whole - texts:{rounded}} picture"  # as it is shown, too


@dataclass(frozen=True)
class MemoryHit:
    """A stored item, as `get` and `search` return it.

    Args:
        id: Unique within the namespace.
        memory_embeddings: (num_query_tokens, hidden_size), float32, on the CPU; of an item of n passages those of the
            `passage` that a question chose or, without a question, of all, (n * num_query_tokens, hidden_size).
        similarity: How close the item is to the query, -1 to 1, larger is closer; `None` from `get`.
        text: The text that was encoded; with `content`, the text that it is found by.
        image: Path of the stored image; with `content`, of the one that it is found by.
        metadata: The item's own metadata.
        created_at: ISO 8601, UTC; what was stored later has the greater text, even if the system's clock was put back.
        truncated: The item was longer than the encoder's window: the end of its text, or of `content` what `left_out`
            names, is not in the vectors.
        updated_at: When it was changed last, in the form of `created_at`, which it equals until then.
        said_at: When it was said or happened, ISO 8601, in the timezone it was given in.
        expires: When it is to be forgotten, ISO 8601, UTC.
        supersedes: Ids of the items that it took the place of.
        superseded_by: The id of the item that took its place, or `None` if it is current.
        found_by: How `search` came by it: `meaning` if it is among the items most similar to the query, `terms` if it
            holds a code or name that the question asks for, or both; empty from `get`.
        notes: What adapters noted about it (`with_notes`), which neither they nor models show.
        content: Texts and paths of stored pictures and recordings (`Audio`) in their order, of an item of several.
        left_out: Places in `content` of what is not in the vectors.
        passages: The texts that were encoded, each by itself, of an item that has passages.
        passage: The place in `passages` of the one that the question is about, whose vectors these are.
        similarity_of_texts: What the texts give to the `similarity`, of a question with both text and picture; the
            pictures give the rest.
    """

    id: str
    memory_embeddings: torch.Tensor = field(repr=False, compare=False)
    similarity: float | None = None
    text: str | None = None
    image: str | None = None
    metadata: Metadata = field(default_factory=dict)
    created_at: str = ""
    truncated: bool = False
    updated_at: str = ""
    said_at: str | None = None
    expires: str | None = None
    supersedes: tuple[str, ...] = ()
    superseded_by: str | None = None
    found_by: tuple[str, ...] = ()
    notes: Metadata = field(default_factory=dict, repr=False)
    content: tuple[str | Path | Audio, ...] | None = None
    left_out: tuple[int, ...] = ()
    passages: tuple[str, ...] = field(default=(), repr=False)
    passage: int | None = None
    similarity_of_texts: float | None = None

    @property
    def blocks(self) -> torch.Tensor:
        """(n, num_query_tokens, hidden_size): its vectors, those of each passage apart where there are several."""
        return self.memory_embeddings.unflatten(0, (1 if self.passage is not None else max(1, len(self.passages)), -1))

    @property
    def image_location(self) -> str | None:
        """Where the stored image is: its path, or its URL at a server, from which it is not fetched for that."""
        return self.image

    @property
    def content_locations(self) -> list[dict[str, str]] | None:
        """Its content in JSON: texts, and where pictures and recordings are, of which none is fetched for that.

        Each is `{"type": "text", "text": ...}`, `{"type": "image", "image": path or URL}`, or the same with `audio`.
        """
        return locations_of(self.content)

    @property
    def full_text(self) -> str:
        """All that it says: its text, and the texts of its content if they do not stand in it."""
        return with_texts(self.text, [part["text"] for part in self.content_locations or () if part["type"] == "text"])


T = TypeVar("T")


class Page(list[T]):
    """Some of many.

    Args:
        some: These.
        total: How many there are.
    """

    def __init__(self, some: Iterable[T], total: int) -> None:
        super().__init__(some)
        self.total = total
