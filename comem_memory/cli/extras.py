"""Which of our extras brings a library that is missing."""

from __future__ import annotations

import re
from importlib.metadata import requires


def how_to_install(module: str) -> str:
    """The command that installs a module: our extra, the first one of pyproject.toml that has it, or the module."""
    wanted = re.sub(r"[._]", "-", module).lower() + "-"
    for declared in requires("comem-memory") or ():
        name, extra = re.split(r"[^\w-]", declared)[0].lower() + "-", re.search(r"extra == .([\w-]+)", declared)
        if extra and (name.startswith(wanted) or wanted.startswith(name)):  # opentelemetry.sdk and opentelemetry-sdk
            return f"pip install 'comem-memory[{extra[1]}]'"
    return f"pip install {module.partition('.')[0]}"
