"""What HTTP headers may hold, checked before a library names a secret in its error."""

from __future__ import annotations

from collections.abc import Mapping


def unsendable(headers: Mapping[str, str]) -> str | None:
    """The name of the first header whose value has characters outside printable ASCII, such as line breaks."""
    return next((name for name, value in headers.items() if not (value.isascii() and value.isprintable())), None)
