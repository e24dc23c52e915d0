"""The command line, a file per group of commands; `app` is what they share."""

from comem_memory.cli import items, transfer, upkeep, config, serve, ui, mcp, train, convert, evaluate, doctor, demo  # noqa: F401, I001  # as --help lists them
from comem_memory.cli.app import main

__all__ = ["main"]
