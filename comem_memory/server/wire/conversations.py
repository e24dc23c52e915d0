"""A conversation, the tools that its model may call, and its next turn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from comem_memory.config import Mode
from comem_memory.server.wire.answering import GenerationOptions
from comem_memory.server.wire.items import Hit, Said
from comem_memory.server.wire.searching import SearchOptions
from comem_memory.server.wire.values import Asked, Where, Wire


class Function(Asked):
    """A function and the arguments it is called with."""

    name: str
    arguments: dict[str, Any]


class Call(Asked):
    """A call that the assistant made."""

    type: Literal["function"] = "function"
    id: str | None = None
    function: Function


class Named(Asked):
    """Stored items that a message names, for the model to be given."""

    ids: list[str]
    """The items, best first; none means that nothing was found."""
    text: str | None = None
    """What the message says where the items are not stored."""
    mode: Mode | None = None
    """How the items are given."""


class Message(Asked):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | Said = ""
    tool_calls: list[Call] | None = None
    """What the assistant called."""
    tool_call_id: str | None = None
    """Which call a tool's message answers."""
    name: str | None = None
    """The tool's name."""
    named: Named | None = None
    """The stored items that the message names."""


class ToolFunction(Asked):
    """A function that the model may call."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    """The JSON schema of its arguments."""


class Tool(Asked):
    """What the model may call, as OpenAI writes it."""

    type: Literal["function"] = "function"
    function: ToolFunction


class ChatSettings(Asked):
    """How a conversation is answered."""

    max_tokens: int = Field(256, ge=1)
    """Longest answer, in tokens; a larger number means the server's own limit."""
    temperature: float = Field(0.0, ge=0, le=10)
    """0 is greedy decoding."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Share of the probability that sampling draws from."""
    seed: int | None = Field(None, ge=0, lt=2**53)
    """Sampling with the same seed says the same."""
    stop: list[Annotated[str, Field(min_length=1)]] = []
    """The answer ends before the first of these texts."""
    tools: list[Tool] = []
    """What the model may call."""
    tool_choice: str = "auto"
    """`auto`, `none`, `any` (one call, to any tool) or a tool's name."""
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """The answer, unless it is a tool call, is JSON that fits this JSON schema."""
    generation: GenerationOptions = GenerationOptions()

    model_config = ConfigDict(populate_by_name=True)


class ReplyRequest(SearchOptions):
    """A conversation, and how its next turn is made from memory."""

    messages: list[Message] = Field(min_length=1, examples=[[{"role": "user", "content": "What opens the blue door?"}]])
    settings: ChatSettings = ChatSettings()
    k: int = Field(3, ge=0, le=1000)
    """Items to search for; 0 searches for nothing."""
    where: Where | None = None
    mode: Mode | None = None
    """How the items are given; by default as the messages that name them say."""
    default_mode: Mode | None = None
    """How they are given where neither `mode` nor a message says so."""
    ids: list[str] | None = None
    """Exactly these items, best first."""
    found: list[str] | None = None
    """Items that were searched for already, best first; then nothing is searched for."""
    vectors: bool = False
    """Send the items' vectors too."""


class ToolCall(Wire):
    """A function that the model wants called."""

    id: str
    name: str
    arguments: dict[str, Any]


class Reply(Wire):
    """What the model answered."""

    text: str
    """Without the tool calls."""
    tool_calls: list[ToolCall]
    prompt_tokens: int
    """Tokens of the prompt: text, pictures and memory vectors."""
    memory_tokens: int
    """Memory vectors in the prompt."""
    completion_tokens: int
    """Tokens of the answer."""
    finish_reason: str
    """`stop`, `length` (cut at `max_tokens`) or `tool_calls`."""


class Replied(Wire):
    """What the model answered, and from what."""

    reply: Reply
    hits: list[Hit]
    """The items it had, best first."""
