"""Comparisons of a metadata value, written so that Chroma compares numbers as Python does.

Chroma keeps whole numbers as 64-bit integers and others as doubles, and converts what it compares with to the type of
what is kept: to an integer 2.5 is 2, to a double 2**53 + 1 is 2**53 (https://github.com/chroma-core/chroma/issues/7491,
as of 1.5.9, embedded and server alike). So it can be wrong about one value alone, the number that it converts to, which
each condition here takes out or adds. Where nothing is converted they mean the same.

Chroma reads decimals with an error of up to one unit in the last place where they have more than 15 digits; to that
degree such numbers are kept and compared.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

from comem_memory.types import is_storable

_SINGLE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": python.eq,
    "$ne": python.ne,
    "$gt": python.gt,
    "$gte": python.ge,
    "$lt": python.lt,
    "$lte": python.le,
}
COMPARISONS = (*_SINGLE, "$in", "$nin", "$contains", "$not_contains")


def compared(name: str, operator: str, operand: Any) -> dict[str, Any]:
    """The condition that the value of a metadata key compares so.

    Args:
        name: The metadata key.
        operator: One of `COMPARISONS`.
        operand: A text, boolean or number; for `$in` and `$nin` a list of one of these kinds.
    """
    if operator in _SINGLE:
        return _with_one(name, operator, operand)
    if operator in ("$contains", "$not_contains"):
        return _in_list(name, operator, operand)
    if isinstance(operand[0], str | bool):
        return {name: {operator: operand}}
    return _with_several(name, operator, operand)


def _with_one(name: str, operator: str, value: str | bool | int | float) -> dict[str, Any]:
    condition = {name: {operator: value}}
    if isinstance(value, str | bool):
        return condition
    converted, compare = _converted(value), _SINGLE[operator]
    if compare(converted, value) == compare(value, value) or not is_storable(converted):
        return condition
    if compare(converted, value):
        return {"$or": [condition, {name: {"$eq": converted}}]}
    return {"$and": [condition, {name: {"$ne": converted}}]}


def _with_several(name: str, operator: str, numbers: list[int | float]) -> dict[str, Any]:
    """Lists of one type, which is all that Chroma takes."""
    opposite, any_, all_ = ("$nin", "$or", "$and") if operator == "$in" else ("$in", "$and", "$or")
    exact = [int(number) for number in numbers if _converted(number) == number]
    conditions: list[dict[str, Any]] = [{name: {operator: exact}}] if exact else []
    for kind in (int, float):
        inexact = [number for number in numbers if isinstance(number, kind) and _converted(number) != number]
        converted = [number for number in map(_converted, inexact) if is_storable(number)]
        if converted:
            conditions.append({all_: [{name: {operator: inexact}}, {name: {opposite: converted}}]})
        elif inexact:
            conditions.append({name: {operator: inexact}})
    return conditions[0] if len(conditions) == 1 else {any_: conditions}


def _in_list(name: str, operator: str, value: str | bool | int | float) -> dict[str, Any]:
    """Chroma looks for a number in lists of its own type only."""
    condition = {name: {operator: value}}
    if isinstance(value, str | bool) or _converted(value) != value:
        return condition
    other = {name: {operator: _converted(value)}}
    return {"$or" if operator == "$contains" else "$and": [condition, other]}


def _converted(number: int | float) -> int | float:
    """What Chroma makes of a number where it meets the other type."""
    return float(number) if isinstance(number, int) else int(number)
