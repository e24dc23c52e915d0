"""Content of several parts: texts, pictures and audio in their order, and the steps that they make."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union

from comem_memory.errors import InvalidItemError, counted, shortened

if TYPE_CHECKING:
    from PIL import Image

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Audio:
    """A recording: the path of a file, or its encoded bytes (WAV, FLAC, MP3, ...).

    Raises:
        InvalidItemError: It is something else, a URL, or a path that cannot be stored.
    """

    source: Path | bytes

    def __post_init__(self) -> None:
        if not isinstance(self.source, bytes):
            object.__setattr__(self, "source", _path_of(self.source, "Audio"))

    @property
    def data(self) -> bytes:
        """Its encoded bytes, once `read_audio` has read them."""
        assert isinstance(self.source, bytes)
        return self.source

    def __repr__(self) -> str:
        about = f"{len(self.source)} bytes" if isinstance(self.source, bytes) else repr(str(self.source))
        return f"Audio({about})"


Part = Union[str, Path, bytes, "Image.Image", Audio]
"""A text (`str`); a picture: the path of a file, its encoded bytes, or an opened one; or a recording (`Audio`)."""


def content_parts(given: Any) -> tuple[Part, ...]:
    """The parts that a user names: texts, pictures, recordings, and parts of chat messages.

    Args:
        given: An iterable of `Part`, of `{"type": "text", "text": str}`, of `{"type": "image", "image": ...}` with a
            picture as `picture_of` takes it, and of `{"type": "audio", "audio": ...}` with a path or encoded bytes;
            both also with their bytes as `"base64"`. A text in it is always a text, never a path. Blank texts are left
            out.

    Raises:
        InvalidItemError: It is none of these, or nothing is left.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidItemError(f"content is {shortened(repr(given))}. Pass a list of texts, pictures and audio.")
    parts = [_part(one) for one in given]
    kept = tuple(one for one in parts if not isinstance(one, str) or one.strip())
    if not kept:
        raise InvalidItemError("content has neither text nor picture nor audio. Pass at least one.")
    return kept


def _part(given: Any) -> Part:
    if isinstance(given, str):
        return repaired(given)
    if isinstance(given, Audio):
        return given
    if not isinstance(given, Mapping):
        return picture_of(given)
    kind = given.get("type")
    if kind == "text" and isinstance(given.get("text"), str):
        return repaired(given["text"])
    if kind in ("image", "audio"):
        kept = picture_of if kind == "image" else Audio
        if given.get(kind) is not None:
            return kept(given[kind])
        if isinstance(given.get("base64"), str):
            try:
                return kept(decoded(given["base64"]))
            except ValueError as error:
                raise InvalidItemError(f"A part of content: {error}") from error
    raise InvalidItemError(
        f'A part of content is {shortened(repr(dict(given)))}. Pass {{"type": "text", "text": ...}}, '
        '{"type": "image", "image": ...} or {"type": "audio", "audio": ...}, or bytes as "base64".'
    )


def map_files(parts: Iterable[str | S], change: Callable[[S], T]) -> tuple[str | T, ...]:
    """The parts with something else in place of each that is no text."""
    return tuple(part if isinstance(part, str) else change(part) for part in parts)


def below(folder: Path, parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts with relative paths taken from a folder."""

    def placed(part: Part) -> Part:
        if isinstance(part, Audio) and isinstance(part.source, Path):
            return Audio(folder / part.source)
        return folder / part if isinstance(part, Path) else part

    return tuple(map(placed, parts))


def decoded(data: str | bytes) -> bytes:
    """The bytes of base64, in lines or not, in the standard or the URL-safe alphabet.

    Raises:
        ValueError: It is damaged.
    """
    try:
        packed = b"".join((data.encode("ascii") if isinstance(data, str) else bytes(data)).split())
        packed = packed.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"A block's base64 is damaged: {error}. Encode the file's bytes again.") from error


def as_json(part: Part) -> dict[str, str]:
    """A part as `content_parts` takes it from JSON: of a file without a path, the bytes.

    Raises:
        InvalidItemError: It is an opened picture, which has to be encoded first.
    """
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind, source = ("audio", part.source) if isinstance(part, Audio) else ("image", part)
    if isinstance(source, bytes):
        return {"type": kind, "base64": base64.b64encode(source).decode()}
    if isinstance(source, Path):
        return {"type": kind, kind: str(source)}
    raise InvalidItemError("An opened picture is no JSON. Pass its encoded bytes.")


def locations_of(content: Iterable[str | Path | Audio] | None) -> list[dict[str, str]] | None:
    """Stored content in JSON: texts, and the paths of its pictures and audio; `None` for an item without any."""
    return None if content is None else [as_json(part) for part in content]


def amounts_of(parts: Iterable[Mapping[str, str]]) -> str:
    """How many texts, pictures and recordings there are, in words.

    Args:
        parts: As `locations_of` gives them.
    """
    kinds = [part["type"] for part in parts]
    named = (("text", "text"), ("image", "picture"), ("audio", "recording"))
    amounts = [(kinds.count(kind), name) for kind, name in named]
    return ", ".join(counted(amount, name) for amount, name in amounts if amount)


def picture_of(given: Any) -> Any:
    """A picture as it is kept in an item.

    Args:
        given: The path of a picture, its encoded bytes, or a `PIL.Image.Image`.

    Raises:
        InvalidItemError: It is something else, a URL, or a path that cannot be stored.
    """
    if isinstance(given, bytes):
        return given
    if isinstance(given, str | Path):
        return _path_of(given, "Image")
    if hasattr(given, "convert") and hasattr(given, "size"):  # a PIL image, without importing Pillow here
        return given
    raise InvalidItemError(f"A picture is a {type(given).__name__}. Pass a path, encoded image bytes or a PIL image.")


def _path_of(given: Any, kind: str) -> Path:
    """The path of a file as it is kept in an item.

    Raises:
        InvalidItemError: It is no path, a URL, or cannot be stored.
    """
    if not isinstance(given, str | Path):
        raise InvalidItemError(f"{kind} is a {type(given).__name__}. Pass the path of a file, or its encoded bytes.")
    path = local_path(given, kind)
    if repaired(str(path)) != str(path):
        raise InvalidItemError(
            f"The name of the file {shortened(str(path))!r} is not UTF-8, and cannot be stored. Rename the file."
        )
    return path


def local_path(name: str | Path, kind: str = "Image") -> Path:
    """The path of a file.

    Args:
        name: The path.
        kind: What it is, for the message.

    Raises:
        InvalidItemError: It is a URL.
    """
    if re.match(r"(https?|ftp|data|file):", str(name), re.IGNORECASE):
        raise InvalidItemError(
            f"{kind} {shortened(name)} is a URL, and a memory fetches none. Fetch it (a data: URL: decode it) and "
            "pass the bytes, or the path of a file."
        )
    return name if isinstance(name, Path) else Path(name)


def texts_of(parts: Iterable[Any]) -> list[str]:
    """The texts among the parts."""
    return [part for part in parts if isinstance(part, str)]


def pictures_of(parts: Iterable[Any]) -> list[Any]:
    """The pictures among the parts."""
    return [part for part in parts if not isinstance(part, str | Audio)]


def audio_of(parts: Iterable[Any]) -> list[Audio]:
    """The recordings among the parts."""
    return [part for part in parts if isinstance(part, Audio)]


def steps_of(parts: Sequence[Any]) -> list[list[int]]:
    """The places of the parts by step: a text with the pictures and audio before it; where no text follows, each
    of these."""
    steps: list[list[int]] = []
    shown: list[int] = []
    for place, part in enumerate(parts):
        shown.append(place)
        if isinstance(part, str):
            steps.append(shown)
            shown = []
    return [*steps, *([place] for place in shown)]


def joined_texts(parts: Iterable[Any]) -> str:
    """The texts among the parts, a line each."""
    return "\n".join(texts_of(parts))


def with_texts(text: str | None, parts: Iterable[Any]) -> str:
    """A text, and below it the texts of the content unless they stand in it."""
    said = joined_texts(parts)
    return said if not text else text if said in text else f"{text}\n{said}"


def repaired(text: str) -> str:
    """The text with halves of characters (surrogates) joined where two make one, and U+FFFD for each that is alone.

    Python lets them into a text, for instance from JSON of a text that was cut; no tokenizer or store takes them.
    """
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
