"""The command line as a program of its own, with a tiny model."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = """
import sys
from comem_memory import opening
from comem_memory.testing import tiny_key

def noisy_key():
    print("a library that prints")
    return tiny_key()

opening.default_key = noisy_key
from comem_memory.cli import main
main()
"""


def comem(*arguments: object) -> list[str]:
    """The command line in another process, with a key that loads nothing and prints to standard output."""
    return [sys.executable, "-c", PROGRAM, *map(str, arguments)]


def environment(folders: tuple[Path, Path], **more: str) -> dict[str, str]:
    """For `comem`: the tiny model and adapter in these folders."""
    return os.environ | {"COMEM_MODEL": str(folders[0]), "COMEM_ADAPTER": str(folders[1])} | more


@contextmanager
def comem_serve(folders: tuple[Path, Path], directory: Path, *options: object) -> Iterator[str]:
    """`comem serve` over a directory; yields its URL, and stops it as a service manager does."""
    command = comem("-d", directory, "serve", "--port", 0, "--log", directory.with_suffix(".log"), *options)
    process = subprocess.Popen(command, env=environment(folders), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = next((line for line in process.stdout if line.startswith("Serving ")), None)
    assert said is not None, f"It ended with {process.wait()}."
    try:
        yield said.split()[-1]
    finally:
        process.terminate()
        assert process.wait(60) == 0
