"""The times and links of an item: what is taken, and what is refused."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from comem_memory import MemoryItem
from comem_memory.errors import InvalidItemError
from comem_memory.types import superseded_ids, told_similarity


def test_times_are_datetimes_or_their_texts():
    noon = datetime(2026, 5, 3, 12, tzinfo=UTC)
    for value in (noon, "2026-05-03T12:00:00+00:00", "2026-05-03T12:00:00Z", "2026-05-03T14:00+02:00"):
        item = MemoryItem(text="a", said_at=value, expires=value)  # type: ignore[arg-type]
        assert (item.said_at, item.expires) == (noon, noon)
    assert MemoryItem(text="a", said_at="2026-05-03T14:00+02:00").said_at.day == 3  # type: ignore[arg-type, union-attr]
    assert MemoryItem(text="a", expires="P30D").expires == timedelta(days=30)  # type: ignore[arg-type]
    assert MemoryItem.model_validate_json('{"text": "a", "expires": "PT1H"}').expires == timedelta(hours=1)


@pytest.mark.parametrize("name", ["said_at", "expires"])
@pytest.mark.parametrize(
    "value", [datetime(2026, 5, 3), "2026-05-03T12:00:00", "2026-05-03", date(2026, 5, 3), "soon", 5]
)
def test_a_time_without_a_timezone_is_refused(name: str, value: Any):
    with pytest.raises(InvalidItemError, match=rf"{name}: .* is no moment with a timezone, such as"):
        MemoryItem(text="a", **{name: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"expires": timedelta()},
        {"expires": -timedelta(days=1)},
        {"expires": "Perhaps"},
        {"said_at": timedelta(days=1)},
        {"supersedes": 5},
        {"supersedes": [5]},
    ],
)
def test_other_values_are_refused(fields: dict[str, Any]):
    with pytest.raises(InvalidItemError):
        MemoryItem(text="a", **fields)


def test_one_id_or_several():
    assert superseded_ids(MemoryItem(text="a")) == ()
    assert superseded_ids(MemoryItem(text="a", supersedes="old")) == ("old",)
    assert superseded_ids(MemoryItem(text="a", supersedes=["old", "older"])) == ("old", "older")


@pytest.mark.parametrize(
    ("similarity", "of_texts", "told"),
    [
        (0.744, None, "0.74"),
        (-0.001, None, "0.00"),
        (0.744, 0.314, "0.74 = 0.31 text + 0.43 picture"),
        (0.744, 0.305, "0.74 = 0.30 text + 0.44 picture"),
        (0.2884, -0.001, "0.29 = 0.00 text + 0.29 picture"),
        (0.0, 0.004, "0.00 = 0.00 text + 0.00 picture"),
        (0.1, 0.15, "0.10 = 0.15 text + -0.05 picture"),
    ],
)
def test_a_similarity_is_told_so_that_what_is_shown_adds_up(similarity: float, of_texts: float | None, told: str):
    assert told_similarity(similarity, of_texts, 2) == told
