"""LlamaIndex's `MetadataFilters` as our filters."""

from __future__ import annotations

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from comem_memory.errors import QueryError
from comem_memory.store import Filter

COMPARISONS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.CONTAINS: "$contains",
}
OPPOSITES = {"$eq": "$ne", "$ne": "$eq", "$in": "$nin", "$nin": "$in", "$contains": "$not_contains"}
"""Of a comparison what holds where it does not, items without the key included."""


def to_filter(filters: MetadataFilters | None) -> Filter | None:
    """The same condition in our form.

    Raises:
        QueryError: An operator, or one under `not`, that a memory cannot compare with.
    """
    return _all(filters) if filters is not None and filters.filters else None


def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """Both conditions, each unless there is none."""
    return {"$and": [one, other]} if one and other else one or other


def _all(part: MetadataFilter | MetadataFilters, negated: bool = False) -> Filter:
    if isinstance(part, MetadataFilter):
        return _one(part, negated)
    condition = part.condition or FilterCondition.AND
    if condition == FilterCondition.NOT:  # none of the filters holds
        negated = not negated
    any_ = (condition == FilterCondition.AND) == negated
    return {"$or" if any_ else "$and": [_all(inner, negated) for inner in part.filters]}


def _one(part: MetadataFilter, negated: bool) -> Filter:
    if part.operator in (FilterOperator.ANY, FilterOperator.ALL):
        values = part.value if isinstance(part.value, list) else [part.value]
        any_ = (part.operator == FilterOperator.ANY) != negated
        name = "$not_contains" if negated else "$contains"
        return {"$or" if any_ else "$and": [{part.key: {name: value}} for value in values]}
    comparison: str | None = COMPARISONS.get(part.operator)
    if negated:
        comparison = OPPOSITES.get(comparison or "")
    if comparison is None:
        names = [one.value for one in (*COMPARISONS, FilterOperator.ANY, FilterOperator.ALL)]
        raise QueryError(
            f"A memory cannot filter {part.key!r} by {part.operator.value!r}{' under not' if negated else ''}. Use one "
            f"of {', '.join(names)}; of these, {', '.join(names[2:6])} not under not."
        )
    return {part.key: {comparison: part.value}}
