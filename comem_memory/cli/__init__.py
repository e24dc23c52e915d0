"""The command line, a file per group of commands."""

from comem_memory.cli.app import main

__all__ = ["main"]
