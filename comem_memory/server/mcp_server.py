"""The memory as an MCP server: the tools remember, recall and forget, for assistants and coding agents."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO, TypeVar

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import TextContent, ToolAnnotations
from mcp.types import Tool as ListedTool
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

import comem_memory
from comem_memory.content import decoded
from comem_memory.errors import ComemError, InvalidItemError, QueryError
from comem_memory.files.encoded_pictures import from_data_url
from comem_memory.memory import ContinuousMemory
from comem_memory.server.pictures import checked
from comem_memory.server.settings import ServerSettings
from comem_memory.threads import run_in_thread
from comem_memory.types import MemoryHit, MemoryItem

logger = logging.getLogger(__name__)

INSTRUCTIONS = (
    "This is the user's long-term memory, which outlives this conversation. Recall before you answer anything that may "
    "depend on what the user said, decided or showed earlier. Remember lasting facts, decisions and preferences, one a "
    "call; not questions, small talk or passwords. Forget what the user asks you to forget: recall it first, for its "
    "ids."
)
MOST_RECALLED = 50

T = TypeVar("T")


class Session(Protocol):
    """Does the work of a tool with the memory of whoever called it."""

    async def __call__(self, request: Request | None, work: Callable[[ContinuousMemory], T], *, writes: bool) -> T:
        """
        Args:
            request: The HTTP request that the call came in; `None` over stdio.
            work: What to do, in a thread.
            writes: Whether it changes the memory.
        """


class Remember(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(
        None,
        description="What to remember: a full sentence that can be read without this conversation, and names whom or "
        "what it is about.",
    )
    picture: str | None = Field(
        None, description="A picture to remember, alone or with the text: a PNG or JPEG file as base64 or a data: URL."
    )
    expires: str | None = Field(
        None,
        description="When to forget it: a moment with a timezone, as 2030-05-03T18:30:00+02:00, or a duration from "
        "now, as P30D. Without it, it is kept.",
    )
    supersedes: list[str] = Field(
        [], description="Ids, as recall gives them, of what this corrects and takes the place of."
    )


class Remembered(BaseModel):
    id: str = Field(description="For forget, and for supersedes.")


class Recall(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, description="A question, or a description of what to find, in full words.")
    k: int = Field(5, ge=1, le=MOST_RECALLED, description="The most items to find.")


class RecalledItem(BaseModel):
    id: str = Field(description="For forget, and for supersedes.")
    text: str | None = Field(None, description="What was remembered.")
    pictures: int = Field(description="How many pictures were remembered with it.")
    recordings: int = Field(0, description="How many recordings, which are not played here.")
    similarity: float = Field(description="How close it is to the query, -1 to 1.")
    created_at: str = Field(description="When it was stored, ISO 8601.")
    said_at: str | None = Field(None, description="When it was said or happened, where that is known, ISO 8601.")
    expires: str | None = Field(None, description="When it will be forgotten, ISO 8601.")


class Found(BaseModel):
    items: list[RecalledItem] = Field(description="Best first; empty where nothing is known.")


class Forget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: list[str] = Field(min_length=1, description="Ids, as recall and remember give them.")


class Forgotten(BaseModel):
    forgotten: int = Field(description="How many of the ids were stored, and are gone now.")


def _remember(memory: ContinuousMemory, asked: Remember, limits: ServerSettings | None) -> Remembered:
    image = None if asked.picture is None else _decoded(asked.picture)
    if limits is not None:
        checked(image, limits)
    item = MemoryItem(text=asked.text, image=image, expires=asked.expires, supersedes=asked.supersedes)
    [id] = memory.add(item, truncate=True, progress=False)
    return Remembered(id=id)


def _decoded(picture: str) -> bytes:
    try:
        return from_data_url(picture) if picture.startswith("data:") else decoded(picture)
    except ValueError as error:
        raise InvalidItemError(str(error)) from error


def _recall(memory: ContinuousMemory, asked: Recall, _: object) -> Found:
    found = [
        RecalledItem(
            id=hit.id,
            text=hit.full_text or None,
            pictures=_pictures(hit),
            recordings=[part["type"] for part in hit.content_locations or ()].count("audio"),
            similarity=round(hit.similarity or 0.0, 4),
            created_at=hit.created_at,
            said_at=hit.said_at,
            expires=hit.expires,
        )
        for hit in memory.search(asked.query, k=asked.k)
    ]
    return Found(items=found)


def _pictures(hit: MemoryHit) -> int:
    kinds = [part["type"] for part in hit.content_locations or ()]
    return max(kinds.count("image"), int(hit.image_location is not None))


def _forget(memory: ContinuousMemory, asked: Forget, _: object) -> Forgotten:
    return Forgotten(forgotten=memory.delete(ids=asked.ids))


@dataclass(frozen=True)
class _Tool:
    """A tool: how models are told of it, and what it does with a memory."""

    description: str
    arguments: type[BaseModel]
    result: type[BaseModel]
    run: Callable[[ContinuousMemory, Any, ServerSettings | None], BaseModel]
    annotations: ToolAnnotations

    def listed(self, name: str) -> ListedTool:
        return ListedTool(
            name=name,
            description=self.description,
            inputSchema=self.arguments.model_json_schema(),
            outputSchema=self.result.model_json_schema(),
            annotations=self.annotations,
        )


_TOOLS = {
    "remember": _Tool(
        "Stores a text, a picture, or both for later conversations. The same again changes nothing; a correction "
        "supersedes what it corrects.",
        Remember,
        Remembered,
        _remember,
        ToolAnnotations(
            title="Remember", readOnlyHint=False, destructiveHint=False, idempotentHint=True, openWorldHint=False
        ),
    ),
    "recall": _Tool(
        "Finds what was remembered about something, by meaning and by names and codes, in any language.",
        Recall,
        Found,
        _recall,
        ToolAnnotations(title="Recall", readOnlyHint=True, openWorldHint=False),
    ),
    "forget": _Tool(
        "Deletes what is stored under these ids, for good.",
        Forget,
        Forgotten,
        _forget,
        ToolAnnotations(
            title="Forget", readOnlyHint=False, destructiveHint=True, idempotentHint=True, openWorldHint=False
        ),
    ),
}


def mcp_server(session: Session, limits: ServerSettings | None = None) -> Server[Any, Request]:
    """A server of the three tools, for any transport.

    Args:
        session: Does the work of the tools.
        limits: What pictures may be; `None` takes any.
    """
    server: Server[Any, Request] = Server("comem-memory", version=comem_memory.__version__, instructions=INSTRUCTIONS)

    async def list_tools() -> list[ListedTool]:
        return [tool.listed(name) for name, tool in _TOOLS.items()]

    async def call_tool(name: str, arguments: dict[str, Any]) -> tuple[list[TextContent], dict[str, Any]]:
        """What a tool answers, as JSON for models and for programs. What it raises is told to the model."""
        if name not in _TOOLS:
            raise QueryError(f"There is no tool {name!r}. Use {', '.join(_TOOLS)}.")
        tool, request = _TOOLS[name], server.request_context.request
        try:
            asked = tool.arguments.model_validate(arguments)
            answer = await session(
                request, lambda memory: tool.run(memory, asked, limits), writes=not tool.annotations.readOnlyHint
            )
        except ComemError:  # the model's mistake, for the model to mend
            raise
        except Exception as error:
            logger.exception("The tool %s failed.", name)
            raise RuntimeError("The memory failed. Its log says why.") from error
        told = answer.model_dump(mode="json", exclude_none=True)
        return [TextContent(type="text", text=json.dumps(told, ensure_ascii=False))], told

    server.list_tools()(list_tools)
    server.call_tool()(call_tool)
    return server


def serve_stdio(open_memory: Callable[[], ContinuousMemory]) -> None:
    """Serves one client over standard input and output until it closes them.

    Nothing but messages goes to standard output: what a library prints there goes to standard error.

    Args:
        open_memory: Opens the memory, while the client is answered already: it may wait less long than a model
            takes to load. What it raises is told where a tool is called.
    """
    with ThreadPoolExecutor(1, "comem-open") as opener, _own_stdout() as stdout:
        opened = opener.submit(open_memory)

        async def session(request: Request | None, work: Callable[[ContinuousMemory], T], *, writes: bool) -> T:
            return await run_in_thread(lambda _: work(opened.result()))

        async def serve() -> None:
            server = mcp_server(session)
            async with stdio_server(stdout=anyio.wrap_file(stdout)) as (read, write):
                await server.run(read, write, server.create_initialization_options())

        anyio.run(serve)


@contextmanager
def _own_stdout() -> Iterator[TextIO]:
    """Standard output, while whatever else writes to it writes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)
        try:
            yield stdout
        finally:
            os.dup2(stdout.fileno(), 1)
