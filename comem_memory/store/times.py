"""A record's times and states in Chroma's metadata, and the conditions on them.

| key | value |
|---|---|
| `comem.moment` | `created_at` as a number, which Chroma can compare; some records of earlier versions have none |
| `comem.updated`, `comem.updated_at` | 1 and the moment, of records that were changed since |
| `comem.said_at`, `comem.said_offset` | the moment, and its timezone's distance from UTC in seconds |
| `comem.expiring`, `comem.expires` | 1 and the moment, of records that expire |
| `comem.superseded`, `comem.superseded_by` | 1 and an id, of superseded records |

Moments are microseconds since 1970, UTC. A condition cannot ask whether a key is missing, but `$ne` holds without it:
hence the ones. They are numbers, for which Chroma has an index; for booleans it has none.
"""

from __future__ import annotations

from typing import Any

from comem_memory.errors import QueryError
from comem_memory.store.moments import moment_of
from comem_memory.types import zoned

Condition = dict[str, Any]

MOMENT = "comem.moment"
UPDATED_AT = "comem.updated_at"
TIMES = ("comem.created_at", UPDATED_AT, "comem.said_at", "comem.expires")
"""The times that a filter may compare; those of a record that lacks one are only `$ne`."""
_OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")

TIME_KEYS = (
    MOMENT,
    "comem.updated",
    UPDATED_AT,
    "comem.said_at",
    "comem.said_offset",
    "comem.expiring",
    "comem.expires",
    "comem.superseded",
    "comem.superseded_by",
)
"""All of the table above."""

CURRENT: Condition = {"comem.superseded": {"$ne": 1}}
"""Of records that no other took the place of."""


def alive(moment: int) -> Condition:
    """Of records that have not expired at a moment."""
    return {"$or": [{"comem.expiring": {"$ne": 1}}, expiring_after(moment)]}


def expired(moment: int) -> Condition:
    """Of records that have expired at a moment."""
    return {"comem.expires": {"$lte": moment}}


def expiring_after(moment: int) -> Condition:
    """Of records that expire, after a moment."""
    return {"comem.expires": {"$gt": moment}}


def hidden(moment: int) -> Condition:
    """Of records that a search does not find: expired or superseded."""
    return {"$or": [{"comem.superseded": {"$eq": 1}}, expired(moment)]}


def expires_at(date: str) -> dict[str, Any]:
    """What has a record expire at a date in ISO 8601."""
    return {"comem.expiring": 1, "comem.expires": moment_of(zoned(date))}


def superseded(by: str) -> dict[str, Any]:
    """What marks a record as superseded by the one with this id."""
    return {"comem.superseded": 1, "comem.superseded_by": by}


def time_compared(name: str, operator: str, operand: Any) -> Condition:
    """The condition that one of `TIMES` compares so with a moment.

    Raises:
        QueryError: Another operator, or the operand is neither a datetime with a timezone nor the text of one.
    """
    if operator not in _OPERATORS:
        raise QueryError(f"{name} cannot be compared by {operator!r}. Use one of {', '.join(_OPERATORS)}.")
    try:
        comparison = {operator: moment_of(zoned(operand))}
    except ValueError as error:
        raise QueryError(f"The filter cannot compare {name}: {error}.") from error
    if name == "comem.created_at":
        return {MOMENT: comparison}
    if name == UPDATED_AT:
        changed = {"$and": [{"comem.updated": {"$eq": 1}}, {UPDATED_AT: comparison}]}
        return {"$or": [changed, {"$and": [{"comem.updated": {"$ne": 1}}, {MOMENT: comparison}]}]}
    return {name: comparison}
