"""Routes for items: add, get, list, count, change, delete, search, and their pictures and audio."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from PIL import Image

from comem_memory.server.access import Readable, Writable
from comem_memory.server.pictures import audio_file, audio_type, checked, checked_content, items_of, picture_file
from comem_memory.server.problems import declared
from comem_memory.server.wire import (
    AddRequest,
    Count,
    Deleted,
    DeleteRequest,
    FilterRequest,
    GetRequest,
    HistoryRequest,
    Hits,
    Ids,
    IdsRequest,
    ListRequest,
    Newest,
    NewestRequest,
    Page,
    PostponeRequest,
    Same,
    SameRequest,
    SearchRequest,
    UpdateRequest,
)

router = APIRouter(prefix="/v1", tags=["items"])
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private"}
"""Of files: a browser takes them for nothing else, and no proxy keeps them."""


@router.post("/items", responses=declared(404, 409))
async def add(view: Writable, request: AddRequest) -> Ids:
    """Store items. What is stored already keeps its vectors, so that sending a request again does no harm.

    When the answer comes, the items are on the server's disk. When there is an error instead, some of them may be.
    """
    items = await asyncio.to_thread(items_of, request.items, view.limits)
    async with view.served.writes.turn():
        ids = await view.memory.aadd(items, truncate=request.truncate, progress=False)
    view.served.metrics.items_added.inc(len(ids))
    return Ids(ids=ids)


@router.post("/items/get", responses=declared(404))
def get(view: Readable, request: GetRequest) -> Hits:
    """Items by id, in the order asked; superseded ones too."""
    hits = view.memory.get(request.ids, skip_missing=request.skip_missing, question=request.question)
    return Hits(hits=[view.hit(hit, vectors=request.vectors) for hit in hits])


@router.post("/items/list", responses=declared())
def list_(view: Readable, request: ListRequest) -> Page:
    """Items ordered by id, a page at a time."""
    ids = view.memory.ids(where=request.where)
    left = [id for id in ids if request.after is None or id > request.after]
    hits = view.memory.get(left[: request.limit], skip_missing=True)
    more = len(left) > request.limit
    return Page(
        hits=[view.hit(hit, vectors=request.vectors) for hit in hits], next=left[request.limit - 1] if more else None
    )


@router.post("/items/newest", responses=declared())
def newest(view: Readable, request: NewestRequest) -> Newest:
    """The items that were stored last, newest first, a page at a time."""
    hits = view.memory.newest(limit=request.limit, offset=request.offset, where=request.where)
    return Newest(hits=[view.hit(hit, vectors=request.vectors) for hit in hits], total=hits.total)


@router.post("/items/ids", responses=declared())
def ids(view: Readable, request: IdsRequest) -> Ids:
    """The ids of the items that match, sorted."""
    found = view.memory.ids(where=request.where, history=request.history)
    return Ids(ids=found)


@router.post("/items/count", responses=declared())
def count(view: Readable, request: FilterRequest) -> Count:
    """How many items match."""
    return Count(count=view.memory.count(where=request.where))


@router.patch("/items", status_code=204, responses=declared(404, 409))
async def update(view: Writable, request: UpdateRequest) -> None:
    """Change an item; it is encoded again if its text, picture or content changes."""
    content = await asyncio.to_thread(checked_content, request.content, request.image, view.limits)
    async with view.served.writes.turn():
        await view.memory.aupdate(
            request.id,
            text=request.text,
            image=request.image,
            content=content,
            metadata=request.metadata,
            thin=request.thin,
            truncate=request.truncate,
            passages=request.passages,
        )


@router.post("/items/delete", responses=declared())
def delete(view: Writable, request: DeleteRequest) -> Deleted:
    """Delete items by id, by a filter, or by both."""
    return Deleted(deleted=view.memory.delete(ids=request.ids, where=request.where))


@router.post("/items/clear", responses=declared())
def clear(view: Writable) -> Deleted:
    """Delete everything in the namespace, history and pictures too: how a user is forgotten."""
    return Deleted(deleted=view.memory.clear())


@router.post("/items/postpone", status_code=204, responses=declared())
def postpone(view: Writable, request: PostponeRequest) -> None:
    """Have items expire when a duration from now has passed: those alone that are to expire and have not yet."""
    view.memory.postpone(request.ids, request.duration)


@router.post("/items/same", responses=declared())
def same(view: Readable, request: SameRequest) -> Same:
    """For each item, the ids of what is stored with the same texts and pictures, superseded ones too."""
    return Same(ids=view.memory.same_content(items_of(request.items, view.limits)))


@router.post("/items/history", responses=declared(404))
def history(view: Readable, request: HistoryRequest) -> Hits:
    """An item with those that it superseded and that superseded it, oldest first."""
    return Hits(hits=[view.hit(hit, vectors=request.vectors) for hit in view.memory.history(request.id)])


@router.post("/search", responses=declared())
def search(view: Readable, request: SearchRequest) -> Hits:
    """The items that a text, a picture, or both are about, best first."""
    hits = view.memory.search(
        request.text, checked(request.image, view.limits), k=request.k, where=request.where, **request.options()
    )
    view.served.metrics.searches.inc()
    return Hits(hits=[view.hit(hit, vectors=request.vectors) for hit in hits])


@router.get(
    "/pictures",
    response_class=FileResponse,
    responses=declared(404, of_200={"image/*": {}}),
)
def picture(
    view: Readable,
    id: Annotated[str, Query(description="The item.")],
    part: Annotated[
        int | None, Query(ge=0, description="The place in its content, from 0; by default the picture it is found by.")
    ] = None,
) -> FileResponse:
    """A picture of an item."""
    path = picture_file(view.memory.get(id)[0], part)
    with Image.open(path) as opened:
        media_type = opened.get_format_mimetype()
    return FileResponse(path, media_type=media_type, headers=_HEADERS)


@router.get("/audio", response_class=FileResponse, responses=declared(404, of_200={"audio/*": {}}))
def audio(
    view: Readable,
    id: Annotated[str, Query(description="The item.")],
    part: Annotated[int, Query(ge=0, description="The place in its content, from 0.")],
) -> FileResponse:
    """A recording of an item."""
    path = audio_file(view.memory.get(id)[0], part)
    return FileResponse(path, media_type=audio_type(path), headers=_HEADERS)
