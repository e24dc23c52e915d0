"""Items as rows that travel between machines, and what a dataset's own columns mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from comem_memory.content import as_json
from comem_memory.encoder import item_hash
from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files import as_png
from comem_memory.types import MemoryItem


class Row(TypedDict):
    """An item, or what is wrong with it; empty instead of missing, since columns have one type."""

    fields: str
    """The item's fields as JSON, the path of its picture among them."""
    picture: bytes
    """Its picture, encoded, if it has no path."""
    error: str
    identity: str
    """What is the same item has the same: SHA-256 of its id or, without one, of its content."""
    content_hash: str


def row_of(given: MemoryItem | InvalidItemError) -> Row:
    """The row of an item, or of the error in its place; not `hashed` yet."""
    if isinstance(given, InvalidItemError):
        return Row(fields="{}", picture=b"", error=str(given), identity="", content_hash="")
    fields = given.model_dump(mode="json", exclude_unset=True, exclude={"image", "content"})
    if given.content is not None:
        encoded = (as_png(part) if isinstance(part, Image.Image) else part for part in given.content)
        fields["content"] = [as_json(part) for part in encoded]
    picture = given.image
    if picture is not None and not isinstance(picture, bytes | Image.Image):
        fields, picture = fields | {"image": str(picture)}, None
    return Row(
        fields=json.dumps(fields, sort_keys=True),
        picture=_encoded(picture),
        error="",
        identity="",
        content_hash="",
    )


def item_in(row: Row) -> MemoryItem:
    """The item of a row without an error."""
    fields = json.loads(row["fields"])
    return MemoryItem(**fields | ({"image": row["picture"]} if row["picture"] else {}))


def hashed(row: Row) -> Row:
    """The row with its identity, for which its picture is opened."""
    fields = json.loads(row["fields"])
    text, id = (fields.get(name) for name in ("text", "id"))
    error, content = row["error"], ""
    if not error:
        try:
            content = item_hash(item_in(row))
        except InvalidItemError as caught:
            error = f"Item {shortened(id or text or '')!r}: {caught}"
    other = error or (id and f"id {id}")
    identity = hashlib.sha256(other.encode()).hexdigest() if other else content
    return {**row, "error": error, "identity": identity, "content_hash": content}


def item_of(columns: Mapping[str, Any]) -> MemoryItem | InvalidItemError:
    """The item of a dataset's row, whose columns are fields of `MemoryItem`; those that are null are left out.

    A picture is a path, encoded bytes, pixels (height, width, 3), or as Hugging Face's datasets keep it, a dict of
    `bytes` and `path`.
    """
    fields = {name: value for name, value in columns.items() if value is not None}
    picture = fields.get("image")
    try:
        if isinstance(picture, dict):
            fields["image"] = picture.get("bytes") or picture.get("path")
        elif isinstance(picture, np.ndarray):
            fields["image"] = Image.fromarray(picture)
        return MemoryItem(**fields)
    except (InvalidItemError, TypeError, ValueError) as error:  # Pillow's, of an array that is no picture
        shown = {name: value for name, value in fields.items() if name != "image"}
        return InvalidItemError(f"Row {shortened(shown)}: {error}")


def _encoded(picture: Any) -> bytes:
    return as_png(picture) if isinstance(picture, Image.Image) else picture or b""
