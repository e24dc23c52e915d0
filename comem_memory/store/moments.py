"""Moments in microseconds since 1970, UTC: they order what is stored, even where the system's clock is put back."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

_START = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = timedelta(microseconds=1)
_LAST = (datetime(9999, 1, 1, tzinfo=UTC) - _START) // _STEP  # later ones would soon have no date


def next_moment(any_after: Callable[[int], bool], known: int = 0) -> int:
    """Now, or the moment after the newest thing stored where that is not before now.

    Args:
        any_after: Whether anything stored is newer than a moment.
        known: A moment that was given before; the search starts there, in steps that double.
    """
    shown = now()
    if not any_after(shown - 1):
        return shown
    start, step = max(shown, known), 1
    while start + step < _LAST and any_after(start + step):
        step *= 2
    low, high = start + step // 2, min(start + step, _LAST)
    return bisect.bisect_left(range(_LAST), True, lo=low, hi=high, key=lambda moment: not any_after(moment)) + 1


def now() -> int:
    """The moment that the system's clock shows."""
    return time.time_ns() // 1000


def to_date(moment: int, offset: int = 0) -> str:
    """ISO 8601, such that dates of one timezone sort as their moments.

    Args:
        moment: The moment.
        offset: The timezone's distance from UTC, in seconds.
    """
    local = _START.replace(tzinfo=None) + (moment * _STEP + timedelta(seconds=offset))
    return local.replace(tzinfo=timezone(timedelta(seconds=offset))).isoformat(timespec="microseconds")


def moment_of(time: datetime) -> int:
    """The moment of a datetime with a timezone."""
    return (time - _START) // _STEP


def date_of(time: datetime) -> str:
    """ISO 8601 of a datetime with a timezone, in this timezone."""
    return to_date(moment_of(time), (time.utcoffset() or timedelta()) // timedelta(seconds=1))


def offset_of(date: str) -> int:
    """The distance from UTC, in seconds, of the timezone of a date in ISO 8601."""
    return (datetime.fromisoformat(date).utcoffset() or timedelta()) // timedelta(seconds=1)


def expiry(expires: datetime | timedelta) -> str:
    """When something that is stored now with this expiry expires, in ISO 8601, UTC."""
    moment = now() + expires // _STEP if isinstance(expires, timedelta) else moment_of(expires)
    return to_date(min(max(moment, 0), _LAST))


def to_moment(date: str) -> int | None:
    """The moment of a date in ISO 8601; `None` for what is none."""
    try:
        parsed = datetime.fromisoformat(date)
    except ValueError:
        return None
    return moment_of(parsed.replace(tzinfo=parsed.tzinfo or UTC))
