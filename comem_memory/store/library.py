"""Chroma's names, imported even where the host's settings for Chroma are broken.

`import chromadb` reads settings from environment variables and from a `.env` in the working directory, and fails at a
value or an encoding that it does not know. They are the host's: what is opened here is given settings of its own.
"""

from __future__ import annotations

from importlib import import_module

import httpx
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

from chromadb.api import ServerAPI  # noqa: E402
from chromadb.api.client import Client  # noqa: E402
from chromadb.api.fastapi import FastAPI  # noqa: E402
from chromadb.api.models.Collection import Collection  # noqa: E402
from chromadb.config import DEFAULT_DATABASE, DEFAULT_TENANT, Settings, System  # noqa: E402
from chromadb.errors import InternalError, InvalidArgumentError, NotFoundError  # noqa: E402

__all__ = [
    "Client",
    "Collection",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "ServerClient",
    "embedded_client",
]


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


class ServerClient(Client):
    """A client of a server.

    Args:
        host, port, ssl: Where it is.
        session: Sends the requests.
        tenant, database: By default those that the server names for who asks.

    Raises:
        NotFoundError: There is no such tenant or database.
    """

    def __init__(
        self, host: str, port: int, session: httpx.Client, *, ssl: bool, tenant: str | None, database: str | None
    ) -> None:
        settings = _settings()
        settings.chroma_api_impl = "chromadb.api.fastapi.FastAPI"
        settings.chroma_server_host, settings.chroma_server_http_port = host, port
        settings.chroma_server_ssl_enabled = ssl
        self._own = System(settings)
        server = self._own.instance(FastAPI)
        session.headers.update({name: server._session.headers[name] for name in ("Content-Type", "User-Agent")})
        server._session.close()
        self._server, server._session = server, session  # Chroma's own waits without end
        self._own.start()
        try:
            identity = server.get_user_identity()
            own = [name for name in identity.databases or () if name != "*"]
            self.tenant = tenant or identity.tenant or DEFAULT_TENANT
            self.database = database or (own[0] if len(own) == 1 else DEFAULT_DATABASE)
            server.get_database(self.database, self.tenant)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._server._session.close()  # type: ignore[attr-defined]
        self._own.stop()


def _settings() -> Settings:
    """Chroma's defaults, constructed, since the initialiser reads files and environment variables; no telemetry."""
    return Settings.model_construct(anonymized_telemetry=False)
