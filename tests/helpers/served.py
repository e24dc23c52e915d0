"""A tiny memory that a server owns: one in another process, or one of this process that others see as well."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from comem_memory import ContinuousMemory
from comem_memory.client import RemoteMemory
from comem_memory.client.connection import Connection
from comem_memory.server.app import create_app
from comem_memory.server.settings import ServerSettings
from helpers.servers import serving

_SERVE = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from comem_memory.server import running
from comem_memory.server.settings import ServerSettings
from comem_memory.testing import tiny_memory

directory, tokens, limits = Path(sys.argv[2]), sys.argv[3], ServerSettings.model_validate_json(sys.argv[4])
address = running.Address(tokens=Path(tokens) if tokens else None)
with tiny_memory(directory) as memory:
    memory.encoder.backbone.model.config.get_text_config().max_position_embeddings = 16384  # prompts, in bytes
    running.serve(
        memory, address, address.bind(), limits, grace=5, directory=directory, ready=lambda url: print(url, flush=True)
    )
"""


@contextmanager
def comem_server(directory: Path, *, tokens: Path | None = None, limits: str = "{}") -> Iterator[str]:
    """Starts it; yields its URL, and stops it.

    Args:
        directory: Of the memory.
        tokens: The file of tokens.
        limits: `ServerSettings`, as JSON.
    """
    arguments = [str(Path(__file__).parents[2]), str(directory), str(tokens or ""), limits]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_SERVE), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url:
        raise RuntimeError(f"The server does not start (exit code {process.wait()}).")
    yield url
    process.terminate()
    process.wait()


class _Served(RemoteMemory):
    """A connected memory; tests, not adapters, look at what it is made of where it was opened."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["opened"], name)


@contextmanager
def as_opened(where: str, memory: ContinuousMemory) -> Iterator[ContinuousMemory]:
    """The memory itself where it is used `here`; where it is `served`, as a client of its server sees it."""
    if where == "here":
        yield memory
        return
    with serving(create_app(memory, ServerSettings(rate="100000/minute"))) as url:
        connection = Connection(url, None, 60)
        served = object.__new__(_Served)
        served.__dict__["opened"] = memory
        served.__init__(connection)  # type: ignore[misc]
        with served:
            yield served
