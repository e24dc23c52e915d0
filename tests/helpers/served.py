"""A memory as it is opened, or as a client of its server sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from comem_memory import ContinuousMemory
from comem_memory.client import RemoteMemory
from comem_memory.client.connection import Connection
from comem_memory.server.app import create_app
from comem_memory.server.settings import ServerSettings
from helpers.servers import serving


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
