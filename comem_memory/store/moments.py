"""Moments in microseconds since 1970, UTC: they order what is stored, even where the system's clock is put back."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_START = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = timedelta(microseconds=1)
_LAST = (datetime(9999, 1, 1, tzinfo=UTC) - _START) // _STEP  # later ones would soon have no date


def next_moment(any_after: Callable[[int], bool], known: int = 0) -> int:
    """Now, or the moment after the newest thing stored where that is not before now.

    Args:
        any_after: Whether anything stored is newer than a moment.
        known: A moment that was given before; the search starts there, in steps that double.
    """
    now = time.time_ns() // 1000
    if not any_after(now - 1):
        return now
    start, step = max(now, known), 1
    while start + step < _LAST and any_after(start + step):
        step *= 2
    low, high = start + step // 2, min(start + step, _LAST)
    return bisect.bisect_left(range(_LAST), True, lo=low, hi=high, key=lambda moment: not any_after(moment)) + 1


def to_date(moment: int) -> str:
    """ISO 8601, such that dates sort as their moments."""
    return (_START + moment * _STEP).isoformat(timespec="microseconds")


def to_moment(date: str) -> int | None:
    """The moment of a date in ISO 8601; `None` for what is none."""
    try:
        parsed = datetime.fromisoformat(date)
    except ValueError:
        return None
    return (parsed.replace(tzinfo=parsed.tzinfo or UTC) - _START) // _STEP
