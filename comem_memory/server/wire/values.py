"""What requests and answers are made of: bytes, moments, durations, filters, vectors, and what went wrong."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from comem_memory.types import CHAT_PREFIX

if TYPE_CHECKING:
    import torch


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("no base64 (RFC 4648, section 4, without line breaks)") from error


DateTime = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment with a timezone, in ISO 8601."""
Duration = Annotated[str, WithJsonSchema({"type": "string", "format": "duration"})]


def _written(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        raise ValueError("no duration, as P30D")
    return value


TimeSpan = Annotated[timedelta, BeforeValidator(_written), Field(strict=False)]
"""A duration, in JSON ISO 8601."""
BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
"""As a regular expression."""
Bytes = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda content: base64.b64encode(content).decode(), when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "pattern": f"^{BASE64}$"}),
]
"""Bytes, in JSON base64."""
Where = Annotated[
    dict[str, Any],
    Field(
        description="A condition on metadata and times, in Chroma's operators; a value in a dict is named by its path.",
        examples=[{"year": {"$gte": 2020}}, {"comem.said_at": {"$lt": "2026-05-03T18:30:00+02:00"}}],
    ),
]
Note = Annotated[str, StringConstraints(pattern=rf"^{re.escape(CHAT_PREFIX)}")]
"""The name of what an adapter notes about an item."""
K = Annotated[int, Field(ge=1, le=1000, description="The largest number of items.")]


class Wire(BaseModel):
    """An answer or a part of one, to which a later version may add fields."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)


class Asked(Wire):
    """A request or a part of one, in which an unknown field is an error rather than a silent typo, and 0 no false."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        """To JSON 3.0 is a whole number."""
        if not isinstance(given, dict):
            return given
        return {name: int(one) if isinstance(one, float) and one.is_integer() else one for name, one in given.items()}


class Vectors(Wire):
    """Numbers as little-endian float32, row by row."""

    shape: list[Annotated[int, Field(ge=0)]]
    """The length of each axis."""
    data: Bytes
    """4 bytes for each number."""

    @classmethod
    def of(cls, array: torch.Tensor | np.ndarray) -> Self:
        numbers = np.ascontiguousarray(np.asarray(array), "<f4")
        return cls(shape=list(numbers.shape), data=numbers.tobytes())

    def array(self) -> np.ndarray:
        """The numbers, float32, which can be written to."""
        return np.frombuffer(self.data, "<f4").reshape(self.shape).astype(np.float32)


class Problem(Wire):
    """What went wrong (RFC 9457)."""

    type: str
    """The name of the error, one of `comem_memory.errors`."""
    title: str
    """What errors of this name are."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened, and what to do."""
