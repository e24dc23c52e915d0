"""Conditions on metadata: checked before a search runs, and joined with the namespace that every search carries."""

from __future__ import annotations

from typing import Any

from comem_memory.errors import QueryError
from comem_memory.types import CHAT_PREFIX, RESERVED_PREFIX, is_storable, plain

Filter = dict[str, Any]
"""A condition on metadata, as Chroma writes it: `{"year": {"$gte": 2020}}`, `{"$or": [{"a": 1}, {"b": 2}]}`.

`$ne` and `$nin` also match items without the key; a boolean is not a number."""

COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin")
COMBINATIONS = ("$and", "$or")


def scoped(namespace: str, where: Filter | None) -> Filter:
    """The namespace and the conditions of the user's filter, in the form that Chroma takes."""
    return _all([{"comem.namespace": {"$eq": check_namespace(namespace)}}, *_conditions(where or {})])


def _all(conditions: list[Filter]) -> Filter:
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _conditions(where: Filter) -> list[Filter]:
    """One-key conditions that must all hold; a plain `{"a": 1, "b": 2}` means both."""
    if not isinstance(where, dict):
        raise _unknown(where)
    conditions: list[Filter] = []
    for name, value in where.items():
        if name in COMBINATIONS:
            if not isinstance(value, list) or not value or not all(value):
                raise _unknown({name: value})
            parts = [_all(_conditions(part)) for part in value]
            conditions.append(parts[0] if len(parts) == 1 else {name: parts})
        elif not isinstance(name, str) or (
            name.startswith(("$", "#", RESERVED_PREFIX)) and not name.startswith(CHAT_PREFIX)
        ):
            raise _unknown({name: value})
        elif isinstance(value, dict) and value:
            conditions += [{name: _comparison(operator, operand)} for operator, operand in value.items()]
        else:
            conditions.append({name: _comparison("$eq", value)})
    return conditions


def _comparison(operator: str, operand: Any) -> Filter:
    operand = [plain(one) for one in operand] if isinstance(operand, list) else plain(operand)
    numbers = isinstance(operand, int | float) and not isinstance(operand, bool)
    one_kind = isinstance(operand, list) and len({type(value) for value in operand}) == 1
    valid = {
        "$eq": isinstance(operand, str | int | float),
        "$in": one_kind and isinstance(operand[0], str | int | float),
        "$gt": numbers,
    }
    same_rule = {"$ne": "$eq", "$nin": "$in", "$gte": "$gt", "$lt": "$gt", "$lte": "$gt"}
    storable = all(map(is_storable, operand if isinstance(operand, list) else [operand]))
    if not (valid.get(same_rule.get(operator, operator), False) and storable):
        raise _unknown({operator: operand})
    return {operator: operand}


def _unknown(part: Any) -> QueryError:
    return QueryError(
        f"The filter cannot be understood at {part!r}. Compare a metadata key (not {RESERVED_PREFIX}...) by "
        f"{', '.join(COMPARISONS)} with a text, finite number of 64 bits or boolean (lists: not empty, of one type), "
        f"and combine conditions by {' or '.join(COMBINATIONS)} over a list that is not empty."
    )


def check_namespace(namespace: str) -> str:
    """The namespace.

    Raises:
        QueryError: The name is not a text, is empty, or has characters that cannot be printed.
    """
    if not isinstance(namespace, str) or not namespace or not namespace.isprintable():
        raise QueryError(
            f"The namespace {namespace!r} must be a text that is not empty and has only printable characters. "
            "Pass for example str(user_id)."
        )
    return namespace
