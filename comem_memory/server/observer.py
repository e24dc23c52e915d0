"""Around every request: it is counted, logged without its contents, and refused while the server stops."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comem_memory.errors import AccessError, BusyError, ComemError, LimitError
from comem_memory.server.problems import answer_to
from comem_memory.server.served import Served

ACCESS = logging.getLogger("comem.access")
"""Gets a line of JSON for each request: no contents, no ids, no namespaces, no tokens."""
ALWAYS = ("/health", "/ready", "/metrics")
"""Paths that are answered while the server stops, too."""


def foreign(headers: Headers) -> bool:
    """Whether a page of another site asks; browsers tell the origin of whatever changes something."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


class Observer:
    """An ASGI middleware.

    Args:
        app: What answers.
        served: What is served, of which the requests are counted.
    """

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self.app, self.served = app, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, size = time.perf_counter(), 500, 0

        async def sending(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            size += len(message.get("body", b""))
            await send(message)

        refusal = self._refusal(scope)
        answer: ASGIApp = self.app if refusal is None else answer_to(refusal)
        self.served.in_flight += 1
        try:
            await answer(scope, receive, sending)
        finally:
            self.served.in_flight -= 1
            self._note(scope, status, time.perf_counter() - begun, size)

    def _refusal(self, scope: Scope) -> ComemError | None:
        """Why a request is not even read; a body that does not tell its length is cut by the app."""
        if self.served.stopping and scope["path"] not in ALWAYS:
            return BusyError("This server is stopping. Try again later.")
        headers, most = Headers(scope=scope), self.served.settings.max_body_bytes
        if self.served.tokens is None and foreign(headers):
            return AccessError("Pages of other sites do not reach a server without tokens. Give it tokens: comem token")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            return LimitError(f"The request has {length} bytes, more than {most}. Send it in parts.")
        return None

    def _note(self, scope: Scope, status: int, seconds: float, size: int) -> None:
        route: str = getattr(scope.get("route"), "path", "other")
        self.served.metrics.request(scope["method"], route, status, seconds)
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": size,
            "caller": scope.get("state", {}).get("caller"),
        }
        ACCESS.info(json.dumps(line))
