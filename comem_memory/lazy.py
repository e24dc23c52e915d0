"""Names of a package that are imported when they are first asked for, so that what is light stays so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(package: str, home: Mapping[str, str]) -> Callable[[str], object]:
    """A `__getattr__` for a package (PEP 562).

    Args:
        package: Its name.
        home: The module within it that holds each of its names.
    """

    def find(name: str) -> object:
        if name in home:
            return getattr(import_module(f"{package}.{home[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
