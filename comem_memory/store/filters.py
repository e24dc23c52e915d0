"""Conditions on metadata: checked before a search runs, and joined with the namespace that every search carries."""

from __future__ import annotations

from typing import Any

from comem_memory.errors import QueryError, shortened
from comem_memory.store.comparisons import COMPARISONS, compared
from comem_memory.store.times import TIMES, time_compared
from comem_memory.types import CHAT_PREFIX, RESERVED_PREFIX, is_name, is_storable, plain

Filter = dict[str, Any]
"""A condition on metadata, as Chroma writes it: `{"year": {"$gte": 2020}}`, `{"$or": [{"a": 1}, {"b": 2}]}`.

Numbers compare by value, as in Python (2 is below 2.5 and equals 2.0); a boolean is not a number. A value in a dict is
named by its path, `{"author.name": "Ada"}`; of a list of one kind `$contains` and `$not_contains` ask whether it has a
value. `$ne`, `$nin` and `$not_contains` also match items without the key. Of our own keys the times can be compared,
with a datetime or its text in ISO 8601: `{"comem.said_at": {"$lt": datetime.now(UTC)}}`, likewise `comem.created_at`,
`comem.updated_at` and `comem.expires`."""

COMBINATIONS = ("$and", "$or")
_KINDS = (str, bool, int | float)  # in this order: to Python a boolean is an integer


def scoped(namespace: str, where: Filter | None, *states: Filter) -> Filter:
    """The namespace, the conditions of the user's filter and further ones, in the form that Chroma takes."""
    return _all([{"comem.namespace": {"$eq": check_namespace(namespace)}}, *states, *_conditions(where or {})])


def _all(conditions: list[Filter]) -> Filter:
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _conditions(where: Filter) -> list[Filter]:
    """One-key conditions that must all hold; a plain `{"a": 1, "b": 2}` means both."""
    if not isinstance(where, dict):
        raise _unknown(where)
    conditions: list[Filter] = []
    for name, value in where.items():
        comparisons = value if isinstance(value, dict) and value else {"$eq": value}
        if name in COMBINATIONS:
            if not isinstance(value, list) or not value or not all(value):
                raise _unknown({name: value})
            parts = [_all(_conditions(part)) for part in value]
            conditions.append(parts[0] if len(parts) == 1 else {name: parts})
        elif name in TIMES:
            conditions += [time_compared(name, operator, one) for operator, one in comparisons.items()]
        elif not isinstance(name, str) or (
            name.startswith(("$", "#", RESERVED_PREFIX)) and not name.startswith(CHAT_PREFIX)
        ):
            raise _unknown({name: value})
        else:
            conditions += [compared(name, operator, _checked(operator, one)) for operator, one in comparisons.items()]
    return conditions


def _checked(operator: str, operand: Any) -> Any:
    """What to compare with, NumPy's scalars as Python's."""
    listed = isinstance(operand, list)
    values = [plain(one) for one in operand] if listed else [plain(operand)]
    kinds = {next((kind for kind in _KINDS if isinstance(value, kind)), None) for value in values}
    allowed = {_KINDS[-1]} if operator in ("$gt", "$gte", "$lt", "$lte") else set(_KINDS)
    if not (
        operator in COMPARISONS
        and listed == (operator in ("$in", "$nin"))
        and len(kinds) == 1
        and kinds <= allowed
        and all(map(is_storable, values))
    ):
        raise _unknown({operator: operand})
    return values if listed else values[0]


def _unknown(part: Any) -> QueryError:
    return QueryError(
        f"The filter cannot be understood at {shortened(repr(part))}. Compare a metadata key (not "
        f"{RESERVED_PREFIX}..., except for {', '.join(TIMES)}) by {', '.join(COMPARISONS)} with a text, finite number "
        "of 64 bits or boolean (lists: not empty, of one kind), "
        f"and combine conditions by {' or '.join(COMBINATIONS)} over a list that is not empty."
    )


def check_filter(where: Filter) -> Filter:
    """The filter.

    Raises:
        QueryError: It cannot be understood.
    """
    _conditions(where)
    return where


def check_namespace(namespace: str) -> str:
    """The namespace.

    Raises:
        QueryError: The name is not a text, is empty, or has control characters.
    """
    if not isinstance(namespace, str) or not is_name(namespace):
        raise QueryError(
            f"The namespace {shortened(repr(namespace))} must be a text that is not empty and has no control "
            "characters. Pass for example str(user_id)."
        )
    return namespace
