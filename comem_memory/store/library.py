"""Chroma's names, imported even where the host's settings for Chroma are broken.

`import chromadb` reads settings from environment variables and from a `.env` in the working directory, and fails at a
value or an encoding that it does not know. They are the host's: what is opened here is given settings of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from pydantic import BaseModel
from pydantic_settings import BaseSettings

from comem_memory.errors import CacheError


def _import_chroma() -> None:
    """Imports Chroma; if its settings cannot be read, once more with settings that read nothing.

    For that second try `BaseSettings.__init__` is another one in the whole process: settings of other libraries that
    are made in another thread meanwhile read neither environment nor files.

    Raises:
        CacheError: This user has no home directory.
    """
    try:
        import_module("chromadb")
    except (ValueError, OSError):  # a setting that is not valid, a file that is not UTF-8 or cannot be read
        reading = BaseSettings.__init__
        BaseSettings.__init__ = BaseModel.__init__  # type: ignore[assignment, method-assign]
        try:
            import_module("chromadb")
        finally:
            BaseSettings.__init__ = reading  # type: ignore[method-assign]
    except RuntimeError as error:  # it looks for a home directory as it is imported
        raise CacheError(
            "This user has no home directory, which Chroma looks for. Set HOME to a folder that this user may write."
        ) from error


_import_chroma()

import chromadb  # noqa: E402
from chromadb.api import ServerAPI  # noqa: E402
from chromadb.api.client import Client  # noqa: E402
from chromadb.api.models.Collection import Collection  # noqa: E402
from chromadb.config import Settings, System  # noqa: E402
from chromadb.errors import InternalError, InvalidArgumentError, NotFoundError  # noqa: E402

__all__ = [
    "Client",
    "Collection",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "embedded_client",
    "server_client",
]


def server_client(host: str, port: int, *, ssl: bool, headers: dict[str, str] | None) -> Client:
    """A client of a server.

    Each request has a connection of its own: on one that was kept, a server or proxy that closes it at that moment
    would leave the request unanswered, and unclear whether it was carried out.

    Raises:
        ValueError: Nothing answers there.
    """
    headers = {**(headers or {}), "Connection": "close"}  # a limit of no kept connections lets threads share them
    return cast(Client, chromadb.HttpClient(host, port, ssl, headers, _settings()))


def embedded_client(path: str | None) -> Client:
    """A client of a Chroma in a directory, or in memory, that nobody else in this process has open."""
    settings = _settings()
    settings.is_persistent, settings.persist_directory = path is not None, path or ""
    return _EmbeddedClient(settings)


class _EmbeddedClient(Client):
    """A client with a Chroma of its own. Chroma's would share one with whoever opened the same path, or any in memory,
    and refuse to where their settings differ."""

    def __init__(self, settings: Settings) -> None:
        self._own = System(settings)
        self._server = self._own.instance(ServerAPI)  # type: ignore[type-abstract]
        self._own.start()

    def close(self) -> None:
        self._own.stop()


def _settings() -> Settings:
    """Chroma's defaults, constructed, since the initialiser reads files and environment variables; no telemetry."""
    return Settings.model_construct(anonymized_telemetry=False)
