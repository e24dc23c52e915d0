"""Which of our extras brings a library that is missing."""

from __future__ import annotations

import re
from importlib.metadata import requires


def how_to_install(module: str) -> str | None:
    """The command that installs a module: the first extra of pyproject.toml that has it; `None` if none has.

    A distribution is taken for a module's where it has the name of the module, or of one above it, or where it begins
    with the module's name, as those do that share a namespace: `llama-index-core` brings `llama_index`.
    """
    parts = re.sub(r"_", "-", module).lower().split(".")
    above = ["-".join(parts[:end]) for end in range(len(parts), 0, -1)]
    brought: dict[str, str] = {}
    for declared in requires("comem-memory") or ():
        name, extra = re.split(r"[^\w-]", declared)[0].lower(), re.search(r"extra == .([\w-]+)", declared)
        if extra and extra[1] != "test" and name != "comem-memory":
            brought.setdefault(name, extra[1])
    sharing = [name for name in brought if name.startswith(f"{above[0]}-")]
    found = next((name for name in (*above, *sharing) if name in brought), None)
    return None if found is None else f"pip install 'comem-memory[{brought[found]}]'"
