"""What can be added to a memory: items, texts, trajectories, and documents and nodes, which are told by their shape."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Protocol, TypeGuard

from comem_memory.errors import InvalidItemError, shortened
from comem_memory.trajectory import Trajectory
from comem_memory.types import RESERVED_PREFIX, MemoryItem


class DocumentLike(Protocol):
    """A LangChain `Document`, which may have an `id`."""

    page_content: str
    metadata: dict[Any, Any]


class NodeLike(Protocol):
    """A LlamaIndex node or document; one with a picture also has `image`, base64, `image_path` or `image_url`."""

    metadata: dict[str, Any]

    @property
    def node_id(self) -> str: ...

    def get_content(self) -> str: ...


Addable = MemoryItem | Trajectory | str | DocumentLike | NodeLike
"""What `ContinuousMemory.add` takes."""


GIVEN = ("said_at", "expires", "supersedes")
"""Fields of an item that documents and nodes have in their metadata, under `comem.`."""


def is_one(given: Any) -> bool:
    """Whether it is one thing to add rather than several; texts, dictionaries and documents can be iterated too."""
    return isinstance(given, MemoryItem | Trajectory | str | dict) or _is_document(given) or _is_node(given)


def to_item(given: Addable) -> MemoryItem:
    """The item that a text, trajectory, document or node becomes; a document's or node's id is the item's.

    `comem.said_at`, `comem.expires` and `comem.supersedes` in its metadata are the item's fields of these names; what
    else this library notes there (`comem.`) is left out.

    Raises:
        InvalidItemError: It is none of these, or cannot be stored. Or a document names a picture, since a memory opens
            no file that a document's metadata name; or a document or node is of an item of several parts.
    """
    if isinstance(given, MemoryItem):
        return given
    if isinstance(given, str):
        return MemoryItem(text=given)
    if isinstance(given, Trajectory):
        return given.item()
    if (_is_document(given) or _is_node(given)) and RESERVED_PREFIX + "content" in given.metadata:
        id = getattr(given, "id", None) or getattr(given, "node_id", None)
        raise InvalidItemError(
            f"Document or node {shortened(id)!r} is of an item of several parts, of which it holds the text alone. To "
            "change the item, call memory.update(id, ...), or pass MemoryItem(content=...)."
        )
    if _is_document(given):
        id, picture = getattr(given, "id", None), RESERVED_PREFIX + "image"
        if picture in given.metadata:
            raise InvalidItemError(
                f"Document {shortened(id or given.page_content)!r} names the picture {given.metadata[picture]!r}, and "
                "a memory opens no file that a document names. Pass MemoryItem(text=..., image=...)."
            )
        return MemoryItem(text=given.page_content, id=id, **_fields(given.metadata))
    if _is_node(given):
        return MemoryItem(text=given.get_content(), image=_picture(given), id=given.node_id, **_fields(given.metadata))
    raise InvalidItemError(
        f"{shortened(repr(given))} cannot be added. Pass MemoryItem(text=..., image=...), a text, a Trajectory, or a "
        "document or node of LangChain or LlamaIndex."
    )


def _is_document(given: Any) -> TypeGuard[DocumentLike]:
    return hasattr(given, "page_content") and isinstance(getattr(given, "metadata", None), dict)


def _is_node(given: Any) -> TypeGuard[NodeLike]:
    return all(hasattr(given, name) for name in ("get_content", "node_id")) and isinstance(
        getattr(given, "metadata", None), dict
    )


def _fields(metadata: dict[Any, Any]) -> dict[str, Any]:
    own = {name: value for name, value in metadata.items() if not str(name).startswith(RESERVED_PREFIX)}
    given = (name for name in GIVEN if RESERVED_PREFIX + name in metadata)
    return {"metadata": own} | {name: metadata[RESERVED_PREFIX + name] for name in given}


def _picture(node: NodeLike) -> Any:
    encoded, path, url = (getattr(node, name, None) for name in ("image", "image_path", "image_url"))
    try:
        return base64.b64decode(encoded) if isinstance(encoded, str) else path or url
    except binascii.Error as error:
        raise InvalidItemError(
            f"Node {shortened(node.node_id)!r} has a picture whose base64 is damaged: {error}. Encode its bytes again."
        ) from error
