"""What is known of a found item besides its text, as the metadata of frameworks' documents and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comem_memory.conversion import GIVEN
from comem_memory.types import RESERVED_PREFIX, MemoryHit

from .transcript import visible

FIELDS = (*GIVEN, "created_at", "updated_at", "superseded_by", "found_by")


def metadata_of(hit: MemoryHit, fields: Sequence[str] = FIELDS, **more: Any) -> dict[str, Any]:
    """The item's own metadata, and under `comem.` these fields of the hit that are set, its content, and `more`."""
    ours = {name: getattr(hit, name) for name in fields} | {"content": hit.content_locations} | more
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in ours.items()}
    return visible(hit) | {RESERVED_PREFIX + name: value for name, value in told.items() if value not in (None, [], "")}
