"""OpenAI's chat completions as far as the frozen model gives them, with one field more: `memory`.

A field that would be silently wrong is refused; one that changes nothing about the answer is accepted.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from comem_memory.chat import ChatSettings, Tool, tool_choice_of
from comem_memory.config import Mode
from comem_memory.errors import RequestError, shortened
from comem_memory.files import load_image
from comem_memory.model import Message
from comem_memory.server.pictures import checked
from comem_memory.server.settings import ServerSettings
from comem_memory.server.wire import BASE64, Asked, Where, Wire

# -- a conversation ---------------------------------------------------------------------------------------------


class TextPart(Asked):
    """A part of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(Asked):
    url: str = Field(pattern=f"^data:[^,]*;base64,{BASE64}$")
    """The picture itself, as data:image/png;base64,...; the server fetches nothing."""
    detail: str | None = None
    """Changes nothing."""

    @property
    def picture(self) -> bytes:
        """The picture's file."""
        return base64.b64decode(self.url.partition(",")[2])


class ImagePart(Asked):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class RefusalPart(Asked):
    """What the assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: str


class CalledFunction(Asked):
    name: str
    arguments: str
    """A JSON object, as a text."""


class ToolCall(Asked):
    """A call that the assistant made."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction

    def read(self) -> Message:
        """The call in transformers' form.

        Raises:
            RequestError: Its arguments are no JSON object.
        """
        try:
            arguments = json.loads(self.function.arguments)
        except (json.JSONDecodeError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            raise RequestError(
                f"The arguments of the call {shortened(self.id)!r} are no JSON object. Send what the model gave."
            )
        return {"type": self.type, "id": self.id, "function": {"name": self.function.name, "arguments": arguments}}


class _Told(Asked):
    """What all messages have in common."""

    name: str | None = None
    """Who of several; changes nothing."""


class SystemMessage(_Told):
    role: Literal["system", "developer"]
    content: str | list[TextPart]


class UserMessage(_Told):
    role: Literal["user"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class AssistantMessage(_Told):
    role: Literal["assistant"]
    content: str | list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    annotations: list[Any] | None = None
    """Changes nothing."""
    audio: None = None
    function_call: None = None


class ToolMessage(_Told):
    role: Literal["tool"]
    content: str | list[TextPart]
    tool_call_id: str


AnyMessage = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]

# -- how it is answered -----------------------------------------------------------------------------------------

Name = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class OfferedFunction(Asked):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """The JSON schema of its arguments."""
    strict: bool | None = None
    """Changes nothing: a call that `tool_choice` asks for fits the schema always."""


class OfferedTool(Asked):
    type: Literal["function"]
    function: OfferedFunction


class NamedFunction(Asked):
    name: Name


class NamedTool(Asked):
    type: Literal["function"]
    function: NamedFunction


class PlainFormat(Asked):
    type: Literal["text", "json_object"]


class NamedSchema(Asked):
    name: Name
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None
    """Changes nothing: the answer fits the schema always."""

    model_config = ConfigDict(populate_by_name=True)


class SchemaFormat(Asked):
    type: Literal["json_schema"]
    json_schema: NamedSchema


class StreamOptions(Asked):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Changes nothing."""


class MemoryOptions(Asked):
    """Which memories the model is given."""

    namespace: str | None = None
    """Whose; by default as `namespace` of the query says, or else the first that the token opens."""
    k: int = Field(3, ge=0, le=1000)
    """Items to search for; 0 searches for nothing."""
    where: Where | None = None
    mode: Mode | None = None
    """Whether the model is given the items' vectors, texts, both or none; by default as the server recommends."""
    ids: list[str] | None = None
    """Exactly these items, best first, instead of a search."""
    remember: bool = False
    """Store what the user said last, as far as it states something; see docs/guides/agents.md."""


class ChatRequest(Asked):
    """A conversation, of which the next turn is asked for."""

    model: str
    """As GET /v1/models lists it."""
    messages: list[AnyMessage] = Field(
        min_length=1, examples=[[{"role": "user", "content": "What opens the blue door?"}]]
    )
    memory: MemoryOptions = MemoryOptions()
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = Field(None, ge=1)
    """Longest answer, in tokens; at most as the server's limits say."""
    max_tokens: int | None = Field(None, ge=1)
    """The older name of `max_completion_tokens`."""
    temperature: float | None = Field(None, ge=0, le=2)
    """0, the default, is greedy decoding."""
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**53)
    stop: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] | None = None
    tools: list[OfferedTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    """Whether one turn may make several calls; by default it may."""
    response_format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None

    n: Literal[1] | None = None
    """One request has one answer. Ask again, with another seed."""
    logprobs: Literal[False] | None = None
    """Probabilities are not given."""
    top_logprobs: None = None
    """Probabilities are not given."""
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    """Tokens cannot be favoured."""
    frequency_penalty: float | None = Field(None, ge=0, le=0)
    """Repetition is not penalised."""
    presence_penalty: float | None = Field(None, ge=0, le=0)
    """Repetition is not penalised."""
    modalities: list[Literal["text"]] | None = None
    """Answers are text."""

    metadata: dict[str, Any] | None = None
    """This and what follows changes nothing."""
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None
    verbosity: str | None = None

    def turns(self, limits: ServerSettings) -> list[Message]:
        """The conversation, in transformers' form.

        Raises:
            InvalidItemError: A picture that cannot be read.
            RequestError: Arguments of a call that are no JSON object.
            LimitError: A picture is too large.
        """
        called = self._called()
        return [_turn(message, called, limits) for message in self.messages]

    def settings(self, limits: ServerSettings) -> ChatSettings:
        """How to answer, within the limits."""
        most = self.max_completion_tokens or self.max_tokens or ChatSettings.max_tokens
        choice = self.tool_choice.model_dump() if isinstance(self.tool_choice, NamedTool) else self.tool_choice
        return ChatSettings(
            max_tokens=min(most, limits.max_new_tokens),
            temperature=self.temperature or 0.0,
            top_p=self.top_p,
            seed=self.seed,
            stop=[self.stop] if isinstance(self.stop, str) else self.stop or (),
            tools=[_tool(tool) for tool in self.tools or ()],
            tool_choice=tool_choice_of(choice),
            schema=self._schema(),
        )

    def _schema(self) -> dict[str, Any] | None:
        if isinstance(self.response_format, SchemaFormat):
            return self.response_format.json_schema.schema_
        return {"type": "object"} if self.response_format and self.response_format.type == "json_object" else None

    def _called(self) -> dict[str, str]:
        """The names of the functions that the assistant called, by the ids of the calls."""
        said = (message for message in self.messages if isinstance(message, AssistantMessage))
        return {call.id: call.function.name for message in said for call in message.tool_calls or ()}


def _tool(tool: OfferedTool) -> Tool:
    return {"type": "function", "function": tool.function.model_dump(exclude={"strict"}, exclude_none=True)}


def _turn(message: AnyMessage, called: Mapping[str, str], limits: ServerSettings) -> Message:
    """
    Args:
        message: A message.
        called: As `ChatRequest._called`.
        limits: Of pictures.
    """
    parts: list[Message] = [{"type": "text", "text": message.content}] if isinstance(message.content, str) else []
    for part in message.content if isinstance(message.content, list) else ():
        if isinstance(part, ImagePart):
            picture = checked(part.image_url.picture, limits)
            parts.append({"type": "image", "image": load_image(picture)})
        else:
            parts.append({"type": "text", "text": part.text if isinstance(part, TextPart) else part.refusal})
    if isinstance(message, SystemMessage):
        return {"role": "system", "content": parts}
    turn: Message = {"role": message.role, "content": parts}
    if isinstance(message, AssistantMessage):
        parts += [{"type": "text", "text": message.refusal}] if message.refusal else []
        if message.tool_calls:
            turn["tool_calls"] = [call.read() for call in message.tool_calls]
    if isinstance(message, ToolMessage):
        turn |= {"tool_call_id": message.tool_call_id, "name": called.get(message.tool_call_id, "")}
    return turn


# -- the answer -------------------------------------------------------------------------------------------------

FinishReason = Literal["stop", "length", "tool_calls"]


class Usage(Wire):
    """Tokens."""

    prompt_tokens: int
    """Of the prompt: text, pictures and memory vectors."""
    completion_tokens: int
    total_tokens: int


class MemoryGiven(Wire):
    """What the answer is from."""

    ids: list[str]
    """The items that the model was given, best first."""
    tokens: int
    """Memory vectors in the prompt."""
    remembered: list[str]
    """The items that are stored of what the user said last."""


class MadeFunction(Wire):
    name: str
    arguments: str
    """A JSON object."""


class MadeCall(Wire):
    """A function that the model wants called."""

    id: str
    type: Literal["function"]
    function: MadeFunction


class Said(Wire):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[MadeCall] | None = None


class Choice(Wire):
    index: Literal[0]
    message: Said
    logprobs: None
    finish_reason: FinishReason


class _Answer(Wire):
    id: str
    created: int
    model: str


class ChatCompletion(_Answer):
    """The answer, whole."""

    object: Literal["chat.completion"]
    choices: list[Choice]
    usage: Usage
    memory: MemoryGiven


class CallPiece(MadeCall):
    index: int


class Piece(Wire):
    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[CallPiece] | None = None


class ChoicePiece(Wire):
    index: Literal[0]
    delta: Piece
    logprobs: None
    finish_reason: FinishReason | None


class ChatCompletionChunk(_Answer):
    """A piece of the answer."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChoicePiece]
    usage: Usage | None = None
    memory: MemoryGiven | None = None
    """In the piece that says why the answer ends."""


class ModelCard(Wire):
    """A model that answers."""

    id: str
    object: Literal["model"]
    created: int = 0
    owned_by: str = "comem-memory"


class Models(Wire):
    object: Literal["list"]
    data: list[ModelCard]


class Failure(Wire):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Wire):
    """What went wrong, as OpenAI tells it."""

    error: Failure
