"""What a server takes, and how much of it at once."""

from __future__ import annotations

from pydantic import ConfigDict, Field, field_validator

from comem_memory.config import Settings


class ServerSettings(Settings):
    """Limits of a server; `comem serve` has an option for each."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    max_body_bytes: int = Field(64 * 2**20, ge=1)
    """Bytes of one request."""
    max_items: int = Field(256, ge=1)
    """Items in one request."""
    max_picture_bytes: int = Field(32 * 2**20, ge=1)
    """Bytes of one picture's file."""
    max_picture_pixels: int = Field(25_000_000, ge=1)
    """Pixels of one picture."""
    max_parts: int = Field(1000, ge=1)
    """Texts and pictures of one item."""
    max_item_pixels: int = Field(32_000_000, ge=1)
    """Pixels of all pictures of one item: to prepare it, the encoder takes some 50 MB of memory a megapixel."""
    max_new_tokens: int = Field(1024, ge=1)
    """Longest answer, in tokens, whatever a request asks for."""
    rate: str = "6000/minute"
    """Requests of one token, as 10/second or 6000/minute."""
    answers_at_once: int | None = Field(None, ge=1)
    """Answers that are generated at the same time; by default 1, or 64 where a server of its own runs the model."""
    answers_waiting: int = Field(32, ge=0)
    """Answers that may wait their turn; further ones are refused."""
    answer_seconds: float = Field(300.0, gt=0)
    """Longest time for an answer, its waiting included."""
    writes_at_once: int = Field(8, ge=1)
    """Requests that add or change items at the same time; the encoder takes them in turn."""
    writes_waiting: int = Field(64, ge=0)
    """Requests to add or change items that may wait their turn; further ones are refused."""

    @field_validator("rate")
    @classmethod
    def _parses(cls, rate: str) -> str:
        import limits  # the command line is there without the packages of a server, too

        limits.parse(rate)
        return rate
