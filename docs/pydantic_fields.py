"""For the reference: the fields of a pydantic model as the parameters of its `__init__`, with types and defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import griffe

KEYWORD = griffe.ParameterKind.keyword_only


class PydanticFields(griffe.Extension):
    """Griffe reads no pydantic: without this, whatever `Args:` says of a field would be unknown to it."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for model in list(_classes(pkg)):
            if "__init__" in model.members and len(model["__init__"].parameters) > 2:  # more than self and **fields
                continue
            lineage = [*reversed(model.mro()), model]
            fields = {name: field for one in lineage for name, field in _fields(one)}
            if any("model_config" in one.members for one in lineage) or any(map(_described, fields.values())):
                own = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
                parameters = griffe.Parameters(own, *(_parameter(field) for field in fields.values()))
                model.set_member("__init__", griffe.Function("__init__", parameters=parameters))


def _classes(found: griffe.Module | griffe.Class) -> Iterator[griffe.Class]:
    for member in found.members.values():
        if isinstance(member, griffe.Module | griffe.Class):
            if isinstance(member, griffe.Class):
                yield member
            yield from _classes(member)


def _fields(model: griffe.Class) -> Iterator[tuple[str, griffe.Attribute]]:
    for name, member in model.members.items():
        if isinstance(member, griffe.Attribute) and member.annotation is not None and not name.startswith("_"):
            yield name, member


def _described(field: griffe.Attribute) -> bool:
    return isinstance(field.value, griffe.ExprCall) and str(field.value.function) == "Field"


def _parameter(field: griffe.Attribute) -> griffe.Parameter:
    default: Any = field.value
    if _described(field):
        named = {one.name: one.value for one in default.arguments if isinstance(one, griffe.ExprKeyword)}
        given = [one for one in default.arguments if not isinstance(one, griffe.ExprKeyword)]
        made = "..." if "default_factory" in named else None
        default = given[0] if given else named.get("default", made)
    return griffe.Parameter(field.name, annotation=field.annotation, kind=KEYWORD, default=default)
