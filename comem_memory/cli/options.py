"""Options of a command, one for each field of a settings model, so that none is written down twice."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from comem_memory.config import Settings


def options_of(settings: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command that takes `**options` an option for every field: its name, type, default, bounds and help."""

    def described(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        fields = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=_option(name, field)
            )
            for name, field in settings.model_fields.items()
        ]
        command.__signature__ = signature.replace(parameters=[*own, *fields])  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in [*own, *fields]}
        return command

    return described


def _option(name: str, field: FieldInfo) -> Any:
    bounds = {
        bound: getattr(constraint, attribute)
        for constraint in field.metadata
        for attribute, bound in (("ge", "min"), ("le", "max"))
        if hasattr(constraint, attribute)
    }
    switch = [f"--{name.replace('_', '-')}"] if field.default is False else []  # off already: it needs no --no-...
    return Annotated[field.annotation, typer.Option(*switch, help=field.description, **bounds)]
