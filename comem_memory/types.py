"""The data that users hold: what goes into the memory, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from comem_memory.errors import InvalidItemError

if TYPE_CHECKING:
    import torch

Metadata = dict[str, str | int | float | bool]
RESERVED_PREFIX = "comem."
"""Metadata keys that begin so belong to the store."""


class MemoryItem(BaseModel):
    """One text, one image, or both: what the encoder turns into 8 vectors ("knowledge" in arXiv 2505.17670).

    Args:
        text: the item's text.
        image: a path, encoded image bytes (PNG, JPEG, ...), or a `PIL.Image.Image`.
        id: unique within a namespace; by default a hash of text and image, so that adding twice changes nothing.
        metadata: flat values to filter on; keys must not begin with `comem.`.

    Raises:
        InvalidItemError: neither text nor image, or an id or metadata key that cannot be stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    text: str | None = None
    image: Any = Field(default=None, repr=False)
    id: str | None = None
    metadata: Metadata = Field(default_factory=dict)

    @field_validator("image")
    @classmethod
    def _image_kind(cls, image: Any) -> Any:
        if image is None or isinstance(image, bytes | Path):
            return image
        if isinstance(image, str):
            return Path(image)
        if hasattr(image, "convert") and hasattr(image, "size"):  # a PIL image, without importing Pillow here
            return image
        raise InvalidItemError(
            f"MemoryItem.image is a {type(image).__name__}. Pass a path, encoded image bytes or a PIL image."
        )

    @model_validator(mode="after")
    def _storable(self) -> MemoryItem:
        name = f"MemoryItem {self.id!r}" if self.id else "MemoryItem"
        if not (self.text and self.text.strip()) and self.image is None:
            raise InvalidItemError(f"{name} has neither text nor image. Pass text=..., image=..., or both.")
        if self.id is not None and (not self.id or not self.id.isprintable()):
            raise InvalidItemError(f"{name}: an id must be non-empty and printable. Pass another id, or none.")
        for key in self.metadata:
            if not key or key.startswith(RESERVED_PREFIX):
                raise InvalidItemError(
                    f"{name}: metadata key {key!r} is empty or begins with {RESERVED_PREFIX!r}, which the store uses. "
                    "Rename the key."
                )
        return self


@dataclass(frozen=True)
class MemoryHit:
    """A stored item, as `get` and `search` return it.

    Args:
        id: unique within the namespace.
        memory_embeddings: (num_query_tokens, hidden_size), float32, on the CPU.
        similarity: how close the item is to the query, -1 to 1, larger is closer; `None` from `get`.
        text: the text that was encoded.
        image: path of the stored image.
        metadata: the item's own metadata.
        created_at: ISO 8601, UTC.
        truncated: the text was longer than the encoder's window and its end is not in the vectors.
    """

    id: str
    memory_embeddings: torch.Tensor = field(repr=False, compare=False)
    similarity: float | None = None
    text: str | None = None
    image: str | None = None
    metadata: Metadata = field(default_factory=dict)
    created_at: str = ""
    truncated: bool = False
