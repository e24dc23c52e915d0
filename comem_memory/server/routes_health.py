"""Routes for whoever runs the server: is it alive, does it take requests, what does it do."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST

from comem_memory.errors import AccessError, BusyError
from comem_memory.server.access import AppServed, Caller
from comem_memory.server.problems import declared
from comem_memory.server.wire import Health

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> Health:
    """The process is alive."""
    return Health(status="ok")


@router.get("/ready", responses=declared())
async def ready(served: AppServed) -> Health:
    """The memory is open, and new requests are taken."""
    if served.stopping:
        raise BusyError("This server is stopping. Try again later.")
    await asyncio.to_thread(served.memory.count)
    return Health(status="ready")


def _of_all(access: Caller) -> None:
    """
    Raises:
        AccessError: The token does not open every namespace.
    """
    if access.namespaces is not None:
        raise AccessError("This needs a token that opens all namespaces.")


OpensAll = Annotated[None, Depends(_of_all)]


@router.get("/metrics", responses=declared(of_200={CONTENT_TYPE_LATEST.partition(";")[0]: {}}))
async def metrics(served: AppServed, _: OpensAll) -> Response:
    """Numbers for Prometheus; where there are tokens, to one that opens all namespaces."""
    return Response(served.metrics.exposed(), media_type=CONTENT_TYPE_LATEST)
