"""Where a Chroma is: in a directory of this machine, on a server, or in this process; and how to connect to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import chromadb
from chromadb.api.client import Client
from chromadb.config import Settings as ChromaSettings
from filelock import FileLock, Timeout

from comem_memory.errors import StoreInUseError, StoreLocationError
from comem_memory.files import atomic_write

FORMAT_VERSION = 1
_MARKER = "comem.json"
_LOCK = "comem.lock"

_opening = threading.Lock()  # Chroma's registry of clients and the lock's counter are not thread-safe


@dataclass(frozen=True)
class Connection:
    """An open client, and how to let go of it."""

    client: Client
    close: Callable[[], None]


def to_directory(directory: str | Path) -> Connection:
    """A Chroma in a directory, made if missing, which one process at a time may open.

    Raises:
        StoreLocationError: As in `check_location`.
        StoreInUseError: Another process has it open.
    """
    path = check_location(directory)
    path.mkdir(parents=True, exist_ok=True)
    # A singleton counts the openings of one process. The soft fallback would outlive a killed process.
    lock = FileLock(path / _LOCK, timeout=0, thread_local=False, is_singleton=True, fallback_to_soft=False)
    with _opening:
        try:
            lock.acquire()
        except Timeout as error:
            raise StoreInUseError(
                f"Another process has the memory in {path} open. To share it, close it there, start "
                f"`chroma run --path {path / 'chroma'}`, and open the memory with that server's URL."
            ) from error
        try:
            _write_marker(path)
            client = cast(Client, chromadb.PersistentClient(path / "chroma", settings=_settings()))
        except BaseException:
            lock.release()
            raise

    def close() -> None:
        with _opening:
            client.close()
            lock.release()

    return Connection(client, close)


def to_server(url: str, headers: dict[str, str] | None = None) -> Connection:
    """A running Chroma server.

    Args:
        url: `http://host:port` or `https://host`.
        headers: Sent with each request, for instance an authorization.

    Raises:
        StoreLocationError: Not such a URL, or nothing answers there.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise StoreLocationError(f"{url!r} is not the URL of a server. Pass one like 'http://localhost:8000'.")
    ssl = parts.scheme == "https"
    try:
        port = parts.port or (443 if ssl else 8000)
        client = cast(Client, chromadb.HttpClient(parts.hostname, port, ssl, headers, _settings()))
    except ValueError as error:
        raise StoreLocationError(
            f"No Chroma server answers at {url} ({error}). Start one with `chroma run`, or check the URL."
        ) from error
    return Connection(client, client.close)


def to_process(collection_name: str) -> Connection:
    """The Chroma of this process, which keeps the collection until the connection is closed."""
    with _opening:
        client = cast(Client, chromadb.EphemeralClient(settings=_settings()))

    def close() -> None:
        with _opening:
            client.delete_collection(collection_name)
            client.close()

    return Connection(client, close)


def check_location(directory: str | Path) -> Path:
    """The absolute path of a directory that can be opened as a memory, or created; writes nothing.

    Raises:
        StoreLocationError: The path is a file or foreign directory, or a newer library wrote it.
    """
    path = Path(directory).resolve()
    marker = path / _MARKER
    if path.exists() and not path.is_dir():
        raise StoreLocationError(f"{path} is a file. Pass a directory, or the path of one to be created.")
    if marker.exists():
        try:
            version = int(json.loads(marker.read_text())["format_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreLocationError(f"{marker} is damaged. Restore it from a backup.") from error
        if version > FORMAT_VERSION:
            raise StoreLocationError(
                f"{path} has format version {version}, and this library reads up to {FORMAT_VERSION}. "
                "Upgrade with: pip install --upgrade comem-memory"
            )
    elif path.exists() and any(not entry.name.startswith((_LOCK, _MARKER)) for entry in path.iterdir()):
        raise StoreLocationError(
            f"{path} holds files but no memory ({_MARKER} is missing). Pass an empty or new directory."
        )
    return path


def _settings() -> ChromaSettings:
    return ChromaSettings(anonymized_telemetry=False)


def _write_marker(path: Path) -> None:
    """Whole or not at all, so that a crash leaves a directory that can still be opened."""
    if not (path / _MARKER).exists():
        content = json.dumps({"format_version": FORMAT_VERSION, "library": "comem-memory"})
        atomic_write(path / _MARKER, content, durable=True)
