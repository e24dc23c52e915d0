"""Routes to the model: answers and conversations' next turns, whole or as they are made; descriptions; vectors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse
from starlette.requests import ClientDisconnect

from comem_memory.answers import Answer, Description, Replied
from comem_memory.errors import LimitError
from comem_memory.server import wire
from comem_memory.server.access import Readable, View
from comem_memory.server.answering import GONE, events, in_turn, while_connected
from comem_memory.server.conversations import sent_reply, settings_of, turn_of
from comem_memory.server.pictures import checked, items_of
from comem_memory.server.problems import declared

router = APIRouter(prefix="/v1", tags=["answers"])

STREAMED = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'event: text\ndata: {"text":"The brass"}\n\nevent: text\ndata: {"text":" key."}\n\n',
    }
}


@router.post("/answer", response_model=wire.Answer, responses=declared(504, of_200=STREAMED))
async def answer(view: Readable, ask: wire.AnswerRequest, request: Request) -> Response | wire.Wire:
    """Answer a question from memory.

    With `Accept: text/event-stream` the answer comes as it is made: `event: text` as often as there is some, then
    `event: answer` with all of it, or `event: error` with a problem. A client that goes away stops the model.
    """
    picture = await asyncio.to_thread(checked, ask.image, view.limits)
    most = min(ask.max_new_tokens, view.limits.max_new_tokens)

    def pieces(stopped: threading.Event) -> Iterator[str | Answer]:
        return view.memory.stream_answer(
            ask.question,
            picture,
            k=ask.k,
            where=ask.where,
            mode=ask.mode,
            max_new_tokens=most,
            stopped=stopped,
            **ask.generation.options(),
        )

    def told(piece: str | Answer) -> tuple[str, wire.Wire]:
        if isinstance(piece, str):
            return "text", wire.TextEvent(text=piece)
        view.served.metrics.generated_tokens.inc(piece.completion_tokens)
        hits = [view.hit(hit, vectors=ask.vectors) for hit in piece.hits]
        numbers = {"prompt_tokens": piece.prompt_tokens, "completion_tokens": piece.completion_tokens}
        return "answer", wire.Answer(text=piece.text, hits=hits, **numbers)

    return await _answered(view, request, pieces, told)


@router.post("/reply", response_model=wire.Replied, responses=declared(404, 504, of_200=STREAMED))
async def reply(view: Readable, ask: wire.ReplyRequest, request: Request) -> Response | wire.Wire:
    """A conversation's next turn, from the items that are recalled for it.

    With `Accept: text/event-stream` it comes as it is made: `event: text` as often as there is some, then `event:
    reply` with all of it, or `event: error` with a problem. A client that goes away stops the model.
    """
    turns = await asyncio.to_thread(lambda: [turn_of(message, view.limits) for message in ask.messages])
    settings = settings_of(ask.settings, view.limits)

    def pieces(stopped: threading.Event) -> Iterator[str | Replied]:
        return view.memory.stream_reply(
            turns,
            settings,
            stopped=stopped,
            k=ask.k,
            where=ask.where,
            mode=ask.mode,
            default_mode=ask.default_mode,
            ids=ask.ids,
            found=ask.found,
            **ask.options(),
        )

    def told(piece: str | Replied) -> tuple[str, wire.Wire]:
        if isinstance(piece, str):
            return "text", wire.TextEvent(text=piece)
        view.served.metrics.generated_tokens.inc(piece.reply.completion_tokens)
        hits = [view.hit(hit, vectors=ask.vectors) for hit in piece.hits]
        return "reply", wire.Replied(reply=sent_reply(piece.reply), hits=hits)

    return await _answered(view, request, pieces, told)


async def _answered(
    view: View,
    request: Request,
    start: Callable[[threading.Event], Iterator[Any]],
    told: Callable[[Any], tuple[str, wire.Wire]],
) -> Response | wire.Wire:
    """The last piece of an answer, which is all of it, or all of them as events, as the client wishes."""
    pieces = in_turn(view.served, start)

    async def last() -> Any:
        return [piece async for piece in pieces][-1]

    try:
        if "text/event-stream" not in request.headers.get("accept", ""):
            return told(await while_connected(request, last()))[1]
        first = await while_connected(request, anext(pieces))
        return EventSourceResponse(events(first, pieces, told), headers={"X-Accel-Buffering": "no"})
    except ClientDisconnect:
        await pieces.aclose()
        return Response(status_code=GONE)


@router.post("/describe", response_model=wire.Description, responses=declared(404, 504))
async def describe(view: Readable, ask: wire.DescribeRequest, request: Request) -> Response | wire.Wire:
    """What an item's vectors say: the frozen model restates it from them alone, beside the stored text."""
    most = min(ask.max_new_tokens, view.limits.max_new_tokens)

    def said(stopped: threading.Event) -> Iterator[Description]:
        return iter([view.memory.describe(ask.id, max_new_tokens=most, stopped=stopped)])

    def told(description: Description) -> tuple[str, wire.Wire]:
        return "description", wire.Description(text=description.text, restated=description.restated)

    return await _answered(view, request, said, told)


@router.post("/encode", responses=declared())
async def encode(view: Readable, ask: wire.EncodeRequest) -> wire.Encoded:
    """Vectors and retrieval keys of items, of which nothing is stored."""
    items = await asyncio.to_thread(items_of, ask.items, view.limits)
    async with view.served.writes.turn():
        made = await asyncio.to_thread(view.memory.encode, items, truncate=ask.truncate)
    return wire.Encoded(
        ids=made.ids,
        vectors=wire.Vectors.of(made.vectors),
        keys=wire.Vectors.of(made.keys),
        content_hashes=made.content_hashes,
        truncated=made.truncated,
    )


@router.post("/embed", responses=declared())
def embed(view: Readable, ask: wire.EmbedRequest) -> wire.Embedded:
    """Vectors of texts, as the retrieval key compares them."""
    if len(ask.texts) > view.limits.max_items:
        raise LimitError(f"{len(ask.texts)} texts are more than {view.limits.max_items}. Send them in parts.")
    return wire.Embedded(vectors=wire.Vectors.of(view.memory.embed(ask.texts, questions=ask.questions)))


@router.post("/tokens", responses=declared())
def tokens(view: Readable, ask: wire.TextRequest) -> wire.TokenIds:
    """The tokens of a text, as the model that answers reads it."""
    return wire.TokenIds(ids=view.memory.token_ids(ask.text))
