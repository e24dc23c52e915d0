"""A server's life: from a bound port to a stop at which nothing that was acknowledged is lost."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from comem_memory.errors import AddressError
from comem_memory.memory import ContinuousMemory
from comem_memory.server.announcement import announced
from comem_memory.server.app import create_app
from comem_memory.server.observer import ACCESS
from comem_memory.server.served import Served
from comem_memory.server.settings import ServerSettings
from comem_memory.server.tokens import Access, Tokens

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Address:
    """Where a server listens, and how it is protected there.

    Args:
        host: A name or address of this machine.
        port: A TCP port; 0 for any that is free.
        tokens: The file of tokens; without it whoever reaches the port may do everything.
        certificate, key: PEM files, for TLS.
        plain_http: Tokens and contents may travel unencrypted beyond this machine.

    Raises:
        AddressError: Others would reach the server without a token, or could read tokens on their way; or certificate
            and key cannot be used.
        TokenError: The file of tokens is missing or damaged.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tokens: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    plain_http: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise AddressError("TLS needs a certificate and its key. Pass both --tls-cert and --tls-key.")
        if self.certificate is not None and self.key is not None:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.certificate, self.key)
            except OSError as error:  # ssl's own among them
                raise AddressError(f"{self.certificate} and {self.key} cannot be used for TLS: {error}.") from error
        if self.tokens is not None:
            Tokens(self.tokens)
        if self.is_local:
            return
        if self.tokens is None:
            raise AddressError(
                f"On {self.host} others reach this server. Give them tokens: comem token FILE --name ada --namespaces "
                "ada, then comem serve --tokens FILE. Without tokens it listens on 127.0.0.1 only."
            )
        if self.certificate is None and not self.plain_http:
            raise AddressError(
                f"On {self.host} tokens and contents would travel unencrypted. Pass --tls-cert and --tls-key; or "
                "listen on 127.0.0.1 behind a proxy that encrypts; or pass --plain-http, on a network that is private."
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def bind(self) -> socket.socket:
        """The port, at which clients wait from now on until the server is ready.

        Raises:
            AddressError: It is taken by another process, or there is no such host here.
        """
        try:
            [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            bound = socket.socket(family, kind, protocol)
            try:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind(address)
                bound.listen(2048)
            except OSError:
                bound.close()
                raise
        except (OSError, OverflowError) as error:
            raise AddressError(
                f"{self.host}:{self.port} cannot be listened on: {error}. Pass another --host or --port (0 for any)."
            ) from error
        return bound

    def url(self, bound: socket.socket) -> str:
        """Where it is reached, once bound; of all addresses of this machine, by loopback's."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"{'http' if self.certificate is None else 'https'}://{host}:{bound.getsockname()[1]}"


def serve(
    memory: ContinuousMemory,
    address: Address,
    bound: socket.socket,
    settings: ServerSettings,
    *,
    grace: float,
    directory: Path | None = None,
    tracing: bool = False,
    own_token: str | None = None,
    api: bool = True,
    add: Callable[[FastAPI], object] | None = None,
    ready: Callable[[str], None],
) -> None:
    """Serves a memory until the process is told to stop (SIGTERM, SIGINT).

    Then new requests are refused, and those that are being answered are finished within the time of grace. A second
    signal ends it at once.

    Args:
        memory: The memory.
        address: Where to listen.
        bound: Its port, as `bind` took it.
        settings: Limits.
        grace: Seconds that running requests are given.
        directory: The memory's directory, in which the server is announced to processes of this machine.
        tracing: Send spans, as the standard variables of OpenTelemetry say.
        own_token: What opens everything to whoever starts the server; then a token is wanted without a file of them,
            too.
        api: The routes for clients.
        add: Is called with the app, to add to it.
        ready: Is called with the URL when requests are taken.
    """
    local = own_token or secrets.token_urlsafe(32)
    wanted = address.tokens is not None or own_token is not None
    tokens = Tokens(address.tokens, {local: Access("local")}) if wanted else None
    app = create_app(memory, settings, tokens=tokens, api=api)
    if add is not None:
        add(app)
    if address.tokens is None:  # else a page of another site could reach it, under a name that leads to this machine
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    with ExitStack() as running:
        running.callback(bound.close)
        if tracing:
            from comem_memory.server.tracing import exported, trace  # an extra of its own

            trace(app, memory, running.enter_context(exported()))

        def begin() -> None:
            url = address.url(bound)
            # A certificate's name need not be this machine's; and a read-only memory is served too.
            if directory is not None and address.certificate is None and os.access(directory, os.W_OK):
                running.enter_context(announced(directory, url, local))
            ready(url)

        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=address.certificate,
            ssl_keyfile=address.key,
            timeout_graceful_shutdown=1,  # those that the grace did not suffice for are cut
        )
        _Server(config, app, grace, begin).run([bound])


class _Server(uvicorn.Server):
    """Uvicorn that goes on answering what it has begun, and refuses the rest, before it stops."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, grace: float, begin: Callable[[], None]) -> None:
        super().__init__(config)
        self._served: Served = app.state.served
        self._grace, self._begin, self._ends_at = grace, begin, 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._begin()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self._served.stopping
        self._served.stopping = True
        self._ends_at = time.monotonic() + self._grace

    async def on_tick(self, counter: int) -> bool:
        late = time.monotonic() >= self._ends_at
        if self._served.stopping and (self.force_exit or late or not self._served.in_flight):
            self.should_exit = True
        return await super().on_tick(counter)


def log_to(log: Path | None) -> None:
    """Has this process's server write its access log.

    Args:
        log: The file; standard error by default.

    Raises:
        AddressError: The file cannot be written.
    """
    try:
        handler: logging.Handler = logging.StreamHandler() if log is None else WatchedFileHandler(log)
    except OSError as error:
        raise AddressError(f"The access log {log} cannot be written: {error}. Pass another --log.") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    ACCESS.addHandler(handler)
    ACCESS.setLevel(logging.INFO)
    ACCESS.propagate = False
