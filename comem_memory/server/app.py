"""The app: a memory behind HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

import comem_memory
from comem_memory.memory import ContinuousMemory
from comem_memory.server import openai_routes, routes_answers, routes_health, routes_items, routes_memory
from comem_memory.server.mcp_endpoint import McpEndpoint
from comem_memory.server.observer import Observer
from comem_memory.server.problems import handle_errors
from comem_memory.server.served import Served
from comem_memory.server.settings import ServerSettings
from comem_memory.server.tokens import Tokens


def create_app(
    memory: ContinuousMemory,
    settings: ServerSettings | None = None,
    *,
    tokens: Tokens | None = None,
    api: bool = True,
) -> FastAPI:
    """An ASGI app that serves a memory, every namespace of it, to those who have a token.

    Args:
        memory: The memory as it was opened, not a view of a namespace; whoever opened it closes it.
        settings: Limits.
        tokens: Who may do what; without them everyone may do everything, so that only loopback may reach the app.
        api: The routes for clients; without them there is what the caller adds, alone.
    """
    served = Served(memory, settings or ServerSettings(), tokens)
    mcp = McpEndpoint(served)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mcp.running():
            yield

    app = FastAPI(
        title="comem-memory",
        version=comem_memory.__version__,
        description="Continuous memory for AI agents: items become vectors, are found again, and a frozen model "
        "answers from them.",
        docs_url="/docs",
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.served = served
    app.add_middleware(Observer, served=served)
    handle_errors(app)
    if api:
        for routes in (routes_health, routes_items, routes_answers, routes_memory, openai_routes):
            app.include_router(routes.router, max_body_size=served.settings.max_body_bytes)
        app.router.routes.append(Route("/mcp", mcp, methods=["POST"]))
    return app
