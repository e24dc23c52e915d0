"""Pictures of items, scaled down once."""

from __future__ import annotations

import io
from base64 import b64encode
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from nicegui import ui

from comem_memory.files import load_image
from comem_memory.server.access import readable
from comem_memory.server.pictures import picture_file
from comem_memory.types import MemoryHit
from comem_memory.ui.guard import PATH, session_of
from comem_memory.ui.sessions import Sessions

SMALL, LARGE = 480, 1280
"""Most pixels of a picture's longer side, on a card and alone."""
KEPT = 1000
"""Scaled pictures that are kept in memory; a small one takes about 20 kB."""

CACHED = {"Cache-Control": "private, max-age=3600", "Vary": "Cookie"}
"""A browser keeps pictures, for one session."""


def show_picture(hit: MemoryHit, namespace: str, *, large: bool = False, part: int | None = None) -> None:
    """An item's picture on the page, or the one at a place in its content."""
    image = ui.element("img").classes("picture")
    query = {"namespace": namespace, "id": hit.id, "large": large, "version": hit.updated_at}
    query |= {} if part is None else {"part": part}
    image.props["src"] = f"picture?{urlencode(query)}"  # `props(...)` would parse what users wrote
    image.props["alt"] = hit.text or "A picture without a text"
    image.props["loading"] = "lazy"


def picture_routes(sessions: Sessions) -> APIRouter:
    """The route of pictures, for those who may read the item."""
    router = APIRouter(include_in_schema=False)

    @router.get(f"{PATH}/picture")
    def picture(request: Request, namespace: str, id: str, large: bool = False, part: int | None = None) -> Response:
        access = sessions.access(session_of(request))
        [hit] = readable(sessions.served, access, namespace).memory.get(id)
        path = picture_file(hit, part)
        content = _scaled(path, path.stat().st_mtime_ns, LARGE if large else SMALL)
        return Response(content, media_type="image/jpeg", headers=CACHED)

    return router


def within_page(picture: bytes) -> str:
    """The address of a picture that only this page has, scaled down: the picture itself."""
    return f"data:image/jpeg;base64,{b64encode(_as_jpeg(picture, SMALL)).decode()}"


@lru_cache(KEPT)
def _scaled(path: Path, _changed: int, side: int) -> bytes:
    """A picture as JPEG; `_changed` tells a file from what it was before."""
    return _as_jpeg(path, side)


def _as_jpeg(source: Path | bytes, side: int) -> bytes:
    picture, file = load_image(source), io.BytesIO()
    picture.thumbnail((side, side))
    picture.save(file, format="JPEG", quality=85)
    return file.getvalue()
