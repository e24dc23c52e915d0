"""OpenAI's routes: what speaks to OpenAI's API speaks to the frozen model, which has the caller's memory."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from comem_memory.chat import Reply, question_turn
from comem_memory.errors import ComemError, shortened
from comem_memory.integrations.keeping import BY, kept_of
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Message
from comem_memory.server.access import AppServed, Caller, Namespace, Readable, View, public_name, readable, writable
from comem_memory.server.answering import GONE, in_turn, while_connected
from comem_memory.server.openai_errors import declared, failed, failure
from comem_memory.server.openai_wire import (
    CallPiece,
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Choice,
    ChoicePiece,
    MadeCall,
    MadeFunction,
    MemoryGiven,
    ModelCard,
    Models,
    Piece,
    Said,
    Usage,
)
from comem_memory.server.problems import note
from comem_memory.types import with_notes

MEDIA_TYPE = "text/event-stream"
EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string", "description": "A `ChatCompletionChunk`; [DONE] after the last one."}},
    "required": ["data"],
}
"""What OpenAPI says of a server-sent event."""
DONE = "data: [DONE]\n\n"
KEEPER = "chat.completions"
"""Who remembered what a user said, as a note on the item tells."""


class _Route(APIRoute):
    """A route that tells errors as OpenAI does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except ComemError as error:
                note(request, error)
                return failed(error)
            except RequestValidationError as error:
                return failed(error)

        return handled


router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=_Route)


@router.get("/models", responses=declared())
def models(view: Readable) -> Models:
    """The model that answers."""
    return Models(object="list", data=[ModelCard(id=public_name(view.memory.info.model), object="model")])


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    response_model_exclude_unset=True,
    responses=declared() | {200: {"content": {MEDIA_TYPE: {"schema": EVENT}}}},
)
async def chat_completions(
    served: AppServed, access: Caller, asked: ChatRequest, request: Request, namespace: Namespace = None
) -> Response | ChatCompletion:
    """A conversation's next turn, answered with what a namespace holds.

    With `stream` it comes in pieces, as server-sent events. A client that goes away stops the model.
    """
    view = readable(served, access, namespace if asked.memory.namespace is None else asked.memory.namespace)
    if asked.memory.remember:
        writable(view)
    model = public_name(view.memory.info.model)
    if asked.model != model:
        return failure(
            404,
            f"There is no model {shortened(asked.model)!r} here. Ask for {model!r}.",
            param="model",
            code="model_not_found",
        )
    answering = _Answering(view, asked, model)
    pieces = in_turn(view.served, answering.pieces)
    try:
        if asked.stream:
            first = await while_connected(request, anext(pieces))
            return StreamingResponse(answering.events(first, pieces), media_type=MEDIA_TYPE)
        return await while_connected(request, answering.whole(pieces))
    except ClientDisconnect:
        await pieces.aclose()
        return Response(status_code=GONE)


@dataclass(frozen=True)
class _Answered:
    """The model's reply, and what it is from."""

    reply: Reply
    memory: MemoryGiven

    @property
    def usage(self) -> Usage:
        prompt, completion = self.reply.prompt_tokens, self.reply.completion_tokens
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

    def calls(self, asked: ChatRequest) -> list[MadeCall]:
        made = self.reply.tool_calls[:1] if asked.parallel_tool_calls is False else self.reply.tool_calls
        return [
            MadeCall(id=one.id, type="function", function=MadeFunction(name=one.name, arguments=one.arguments_json))
            for one in made
        ]


@dataclass(frozen=True)
class _Answering:
    """A request, and its answer as OpenAI tells it."""

    view: View
    asked: ChatRequest
    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def pieces(self, stopped: threading.Event) -> Iterator[str | _Answered]:
        """The answer's text as it is made, and then all of it."""
        memory, given = self.view.memory, self.asked.memory
        turns = self.asked.turns(self.view.limits)
        settings = self.asked.settings(self.view.limits)
        recalling = given.model_dump(include={"k", "where", "mode", "ids"})
        for piece in memory.stream_reply(turns, settings, stopped=stopped, **recalling):
            if isinstance(piece, str):
                yield piece
                continue
            self.view.served.metrics.generated_tokens.inc(piece.reply.completion_tokens)
            remembered = _remember(memory, turns) if given.remember and not stopped.is_set() else []
            ids = [hit.id for hit in piece.hits]
            told = MemoryGiven(ids=ids, tokens=piece.reply.memory_tokens, remembered=remembered)
            yield _Answered(piece.reply, told)

    async def whole(self, pieces: AsyncGenerator[str | _Answered]) -> ChatCompletion:
        [answered] = [piece async for piece in pieces if isinstance(piece, _Answered)]
        calls = answered.calls(self.asked)
        said = Said(role="assistant", content=answered.reply.text or (None if calls else ""), refusal=None)
        if calls:
            said.tool_calls = calls
        reason = answered.reply.finish_reason
        return ChatCompletion(
            id=self.id,
            object="chat.completion",
            created=self.created,
            model=self.model,
            choices=[Choice(index=0, message=said, logprobs=None, finish_reason=reason)],
            usage=answered.usage,
            memory=answered.memory,
        )

    async def events(self, first: str | _Answered, pieces: AsyncGenerator[str | _Answered]) -> AsyncGenerator[str]:
        """The answer as server-sent events; what fails after the first piece is told in one."""
        async with aclosing(pieces):
            yield self._event(Piece(role="assistant", content=""))
            try:
                piece = first
                while isinstance(piece, str):
                    yield self._event(Piece(content=piece))
                    piece = await anext(pieces)
            except ComemError as error:
                yield f"data: {bytes(failed(error).body).decode()}\n\n"
                return
            if calls := piece.calls(self.asked):
                numbered = [CallPiece(index=at, **call.model_dump()) for at, call in enumerate(calls)]
                yield self._event(Piece(tool_calls=numbered))
            yield self._event(Piece(), piece.reply.finish_reason, memory=piece.memory)
            if self._tells_usage:
                yield self._chunk(choices=[], usage=piece.usage)
            yield DONE

    @property
    def _tells_usage(self) -> bool:
        return self.asked.stream_options is not None and bool(self.asked.stream_options.include_usage)

    def _event(self, delta: Piece, reason: str | None = None, **more: Any) -> str:
        choice = ChoicePiece(index=0, delta=delta, logprobs=None, finish_reason=reason)
        return self._chunk(choices=[choice], **({"usage": None} if self._tells_usage else {}), **more)

    def _chunk(self, **fields: Any) -> str:
        chunk = ChatCompletionChunk(
            id=self.id, object="chat.completion.chunk", created=self.created, model=self.model, **fields
        )
        return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n"


def _remember(memory: ContinuousMemory, turns: Sequence[Message]) -> list[str]:
    """Stores what the user said last, as far as it states something, as agents keep it; returns the items' ids."""
    at = question_turn(turns)
    kept = [] if at is None else kept_of(turns[at], memory, where={BY: KEEPER})
    items = [with_notes(item, {BY: KEEPER}) for item in kept]
    return memory.add(items, truncate=True, progress=False) if items else []
