"""Recordings of items, which the browser plays."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from nicegui import ui

from comem_memory.server.access import readable
from comem_memory.server.pictures import audio_file, audio_type
from comem_memory.types import MemoryHit
from comem_memory.ui.guard import PATH, session_of
from comem_memory.ui.pictures import CACHED
from comem_memory.ui.sessions import Sessions


def show_recording(hit: MemoryHit, namespace: str, part: int) -> None:
    """The recording at a place in an item's content, with what starts and stops it."""
    audio = ui.element("audio").classes("full").props('controls preload=metadata aria-label="A recording"')
    query = {"namespace": namespace, "id": hit.id, "part": part, "version": hit.updated_at}
    audio.props["src"] = f"audio?{urlencode(query)}"  # `props(...)` would parse what users wrote


def recording_routes(sessions: Sessions) -> APIRouter:
    """The route of recordings, for those who may read the item."""
    router = APIRouter(include_in_schema=False)

    @router.get(f"{PATH}/audio")
    def audio(request: Request, namespace: str, id: str, part: int) -> FileResponse:
        access = sessions.access(session_of(request))
        [hit] = readable(sessions.served, access, namespace).memory.get(id)
        path = audio_file(hit, part)
        return FileResponse(path, media_type=audio_type(path), headers=CACHED)

    return router
