"""The MCP server over streamable HTTP, with the tokens, namespaces and limits of all other routes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import anyio
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from comem_memory.errors import ComemError
from comem_memory.memory import ContinuousMemory
from comem_memory.server.access import View, bearer, caller, readable, writable
from comem_memory.server.mcp_server import mcp_server
from comem_memory.server.problems import answer_to, note, problem_of
from comem_memory.server.served import Served
from comem_memory.threads import run_in_thread

T = TypeVar("T")


class McpEndpoint:
    """An ASGI app for one route, POST.

    It has no sessions: each request has its token, and says all. So a restart ends nothing, and nobody reaches
    another's session.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._manager = StreamableHTTPSessionManager(
            mcp_server(_session, served.settings),
            stateless=True,
            json_response=True,
            max_request_body_size=served.settings.max_body_bytes,
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Within it requests are answered."""
        return self._manager.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            access = caller(request, self._served, await bearer(request))
            request.state.view = readable(self._served, access, request.query_params.get("namespace"))
        except ComemError as error:
            await answer_to(error)(scope, receive, send)
        else:
            await self._manager.handle_request(scope, receive, send)


async def _session(request: Request | None, work: Callable[[ContinuousMemory], T], *, writes: bool) -> T:
    assert request is not None
    view: View = request.state.view
    try:
        if not writes:
            return await anyio.to_thread.run_sync(work, view.memory)  # in the threads of all searches, which are few
        memory = writable(view).memory
        async with view.served.writes.turn():
            return await run_in_thread(lambda _: work(memory))
    except ComemError as error:
        note(request, error)
        raise ComemError(problem_of(error).detail) from error
