"""Who asks, and the memory that they may read or write: what every route takes of a request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from comem_memory.errors import AccessError
from comem_memory.memory import ContinuousMemory
from comem_memory.server.served import Served
from comem_memory.server.settings import ServerSettings
from comem_memory.server.tokens import Access
from comem_memory.server.wire import Hit, Limits
from comem_memory.types import MemoryHit


def served(request: Request) -> Served:
    """What the app serves."""
    found: Served = request.app.state.served
    return found


AppServed = Annotated[Served, Depends(served)]
bearer = HTTPBearer(auto_error=False, description="A token that `comem token` made.")


def caller(
    request: Request,
    served: AppServed,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Access:
    """What whoever asks may do.

    Raises:
        TokenError: No token, or an unknown one.
        RateLimitError: Its owner asks too often.
    """
    access = served.access(None if credentials is None else credentials.credentials)
    request.state.caller = access.name  # for the access log
    return access


Caller = Annotated[Access, Depends(caller)]


@dataclass(frozen=True)
class View:
    """A namespace as one caller sees it.

    Args:
        memory: The memory of the namespace.
        access: What the caller may do.
        served: What the server shares between requests.
    """

    memory: ContinuousMemory
    access: Access
    served: Served

    @property
    def limits(self) -> ServerSettings:
        """What the server takes."""
        return self.served.settings

    def hit(self, hit: MemoryHit, *, vectors: bool = False) -> Hit:
        """A hit as it is sent; its pictures and audio are told by where the server gives them, not by their files."""
        return Hit.of(hit, where=partial(self._file_url, hit.id), vectors=vectors)

    def _file_url(self, id: str, kind: str, part: int | None) -> str:
        """The path on the server that gives an item's picture, or the picture or audio at a place in its content."""
        of_content = {} if part is None else {"part": part}
        return f"/v1/{kind}?{urlencode({'namespace': self.memory.name, 'id': id} | of_content)}"


Namespace = Annotated[
    str | None,
    Query(description="Whose memory; by default the first namespace that the token opens.", examples=["ada"]),
]


def readable(served: AppServed, access: Caller, namespace: Namespace = None) -> View:
    """The namespace that a request is about.

    Raises:
        AccessError: The token does not open it, whether it holds anything or not.
        QueryError: Its name cannot be one.
    """
    name = access.default(served.memory.name) if namespace is None else namespace
    if not access.opens(name):
        raise AccessError(f"This token does not open the namespace {name!r}. Ask for one that it opens.")
    return View(served.memory.namespace(name), access, served)


Readable = Annotated[View, Depends(readable)]


def writable(view: Readable) -> View:
    """The namespace that a request changes.

    Raises:
        AccessError: The token opens it only for reading.
    """
    if not view.access.writes:
        raise AccessError("This token is for reading only. Ask for one that may write.")
    return view


Writable = Annotated[View, Depends(writable)]


def limits_of(settings: ServerSettings) -> Limits:
    """The settings that a client is told."""
    return Limits(**settings.model_dump(include=set(Limits.model_fields)))


def public_name(model: str) -> str:
    """What clients call a model: its name on the hub, or that of its folder, of which no path is told."""
    return Path(model).name if Path(model).exists() else model
