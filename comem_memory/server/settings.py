"""What a server takes and how long it waits."""

from __future__ import annotations

from pydantic import Field

from comem_memory.config import Settings


class ServerSettings(Settings):
    """Limits of a server."""

    max_body_bytes: int = Field(64 * 2**20, gt=0)
    """Bytes of one request."""
    max_items: int = Field(256, gt=0)
    """Items in one request."""
    max_picture_bytes: int = Field(32 * 2**20, gt=0)
    """Bytes of one picture's file."""
    max_picture_pixels: int = Field(25_000_000, gt=0)
    """Pixels of one picture."""
    max_new_tokens: int = Field(1024, gt=0)
    """Longest answer, in tokens."""
