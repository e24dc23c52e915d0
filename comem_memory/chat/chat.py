"""A conversation's next turn from the frozen model: messages, tools and memory in, a reply out, whole or as it is made.

What the adapters of agent frameworks share. Without memory, tools and schema it is the bare model.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jinja2.exceptions import TemplateError

from comem_memory.chat import tool_calls
from comem_memory.chat.tool_calls import Tool, ToolCall
from comem_memory.chat.turns import parts_of, text_of
from comem_memory.errors import GrammarError, ModelError
from comem_memory.model import AnsweringModel, Message, PrefixCache
from comem_memory.types import whole

if TYPE_CHECKING:
    from comem_memory.chat.constrained import Constraint, Vocabulary


COLDEST = 1e-3
"""The lowest temperature; a lower one is greedy decoding, where dividing by it would give no numbers."""


@dataclass(frozen=True)
class ChatSettings:
    """How to answer.

    Args:
        max_tokens: Longest answer, in tokens.
        temperature: 0 is greedy decoding.
        top_p: Share of the probability that sampling draws from.
        seed: Sampling with the same seed says the same.
        stop: The answer ends before the first of these texts.
        tools: What the model may call.
        tool_choice: `auto`, `none`, `any` (one call, to any tool) or a tool's name (one call, to it).
        schema: The answer, unless it is a tool call, is JSON that fits this JSON schema.
        generation_kwargs: More of transformers' `generate`.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    tools: Sequence[Tool] = ()
    tool_choice: str = "auto"
    schema: dict[str, Any] | None = None
    generation_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("stop", "tools", "schema"):  # no tokenizer or grammar takes halves of characters
            object.__setattr__(self, name, whole(getattr(self, name)))

    @property
    def tool_names(self) -> list[str]:
        return [tool["function"]["name"] for tool in self.tools]

    @property
    def callable(self) -> list[str]:
        """Names of the tools that this answer may call."""
        if self.tool_choice in ("auto", "any"):
            return self.tool_names
        return [name for name in self.tool_names if name == self.tool_choice]

    @property
    def must_call(self) -> bool:
        return bool(self.tools) and self.tool_choice not in ("auto", "none")


@dataclass(frozen=True)
class Reply:
    """What the model answered.

    Args:
        text: Without the tool calls.
        tool_calls: Valid calls to known tools.
        prompt_tokens: Tokens of the prompt: text, pictures and memory vectors.
        memory_tokens: Memory vectors in the prompt.
        completion_tokens: Tokens of the answer.
        finish_reason: `stop`, `length` (cut at `max_tokens`) or `tool_calls`.
    """

    text: str
    tool_calls: list[ToolCall]
    prompt_tokens: int
    memory_tokens: int
    completion_tokens: int
    finish_reason: str


@dataclass(frozen=True)
class _Turn:
    """A turn ready to be generated."""

    prompt: Any
    memory: torch.Tensor | None
    settings: ChatSettings
    kwargs: dict[str, Any]
    constraint: Constraint | None


class Chat:
    """Conversations with one frozen model.

    Messages are transformers' (`Message`), with `tool_calls` on assistant turns and turns of role `tool`.

    Args:
        backbone: The model.
        reuse_prefix: Whether what a turn shares with the one answered before it is kept, and not prefilled again
            (`PrefixCache`).
    """

    def __init__(self, backbone: AnsweringModel[Any], *, reuse_prefix: bool = True) -> None:
        self.backbone = backbone
        self._prefix = PrefixCache() if reuse_prefix else None
        self._vocabulary: Vocabulary | None = None

    def reply(
        self,
        messages: Sequence[Message],
        memory: torch.Tensor | None = None,
        settings: ChatSettings | None = None,
        *,
        stopped: threading.Event | None = None,
    ) -> Reply:
        """The whole answer.

        Args:
            messages: The conversation so far.
            memory: (n, H) memory embeddings that go before it.
            settings: How to answer.
            stopped: Ends the answer at the next token when it is set.

        Raises:
            PromptTooLongError: Conversation and memory leave no room for an answer.
            GrammarError: The schema cannot be enforced, or `tool_choice` names no tool.
            InvalidItemError: A picture for a model that takes none.
            ModelError: The model's chat template refuses the conversation.
        """
        turn = self._prepare(messages, memory, settings or ChatSettings())
        tokens, *_ = self.backbone.generate([turn.prompt], [memory], stopped=stopped, **turn.kwargs)
        return self._finish(turn, self.backbone.decode(tokens), tokens)

    def stream(
        self,
        messages: Sequence[Message],
        memory: torch.Tensor | None = None,
        settings: ChatSettings | None = None,
        *,
        stopped: threading.Event | None = None,
    ) -> Iterator[str | Reply]:
        """The answer's text in pieces as it is made, then the `Reply`; what may become a tool call is held back.

        Errors are as in `reply`, raised before it returns. Setting `stopped` ends the answer at the next token.
        """
        return self._pieces(self._prepare(messages, memory, settings or ChatSettings()), stopped)

    def _pieces(self, turn: _Turn, stopped: threading.Event | None) -> Iterator[str | Reply]:
        pieces = self.backbone.stream(turn.prompt, turn.memory, stopped=stopped, **turn.kwargs)
        said, shown, tokens = "", 0, list[int]()
        while True:
            try:
                said = (said + next(pieces)).lstrip()
            except StopIteration as end:
                tokens = end.value
                break
            safe = self._safe_length(said, turn.settings)
            if safe > shown:
                yield said[shown:safe]
                shown = safe
        reply = self._finish(turn, said, tokens)
        if rest := reply.text[shown:]:
            yield rest
        yield reply

    def _safe_length(self, said: str, settings: ChatSettings) -> int:
        """How much of what was said will surely be part of the answer's text."""
        if settings.callable and tool_calls.may_be_call(said):
            return 0
        ends = [*settings.stop, *([tool_calls.MARK] if settings.callable else [])]
        text = _cut(said, ends)
        held = 0 if len(text) < len(said) else max((_overlap(said, end) for end in ends), default=0)
        return len(text[: len(text) - held].rstrip())

    def _finish(self, turn: _Turn, said: str, tokens: list[int]) -> Reply:
        settings = turn.settings
        text, calls = _cut(said, settings.stop).strip(), list[ToolCall]()
        if settings.callable and (settings.schema is None or text.startswith(tool_calls.MARK)):
            text, calls = tool_calls.parse(text, settings.callable)
        hurried = turn.constraint is not None and turn.constraint.hurried
        cut = hurried or len(tokens) >= turn.kwargs["max_new_tokens"]
        reason = "tool_calls" if calls else "length" if cut else "stop"
        memory_tokens = 0 if turn.memory is None else len(turn.memory)
        return Reply(
            text, calls, self.backbone.prompt_length(turn.prompt, turn.memory), memory_tokens, len(tokens), reason
        )

    # -- the prompt ---------------------------------------------------------------------------------------------

    def _prepare(self, messages: Sequence[Message], memory: torch.Tensor | None, settings: ChatSettings) -> _Turn:
        prompt = self.prompt(messages, settings)
        left = self.backbone.remaining_tokens(prompt, memory)
        kwargs: dict[str, Any] = {"max_new_tokens": min(settings.max_tokens, left), "prefix": self._prefix}
        kwargs |= settings.generation_kwargs
        if settings.temperature >= COLDEST:
            kwargs = {"top_k": 0, "top_p": 1.0} | kwargs  # Qwen2-VL's own top_k of 1 would choose the likeliest always
            kwargs |= {"do_sample": True, "temperature": settings.temperature, "seed": settings.seed}
            kwargs |= {"top_p": settings.top_p} if settings.top_p is not None else {}
        if settings.stop:
            kwargs |= {"stop_strings": list(settings.stop), "tokenizer": self.backbone.prompts.tokenizer}
        constraint = self._constraint(settings, kwargs["max_new_tokens"])
        if constraint is not None:
            kwargs["constraint"] = constraint
        return _Turn(prompt, memory, settings, kwargs, constraint)

    def prompt(self, messages: Sequence[Message], settings: ChatSettings | None = None) -> Any:
        """What the model reads of a conversation, without memory; tools and schema of the settings are in it.

        Raises:
            InvalidItemError: A picture for a model that takes none.
            ModelError: The model's chat template refuses the conversation.
        """
        settings = settings or ChatSettings()
        native = self.backbone.prompts.template_knows_tools
        messages = list(messages) if native else [_without_tools(message) for message in messages]
        if settings.tools and not native:
            messages = _with_system(messages, tool_calls.instructions(settings.tools))
        if settings.schema is not None:
            messages = _with_system(messages, f"Answer in JSON that fits this schema: {json.dumps(settings.schema)}")
        tools = settings.tools if native else None
        try:
            return self.backbone.prompt(messages, tools=tools)
        except TemplateError:  # some templates, as Gemma's, take roles that alternate only
            messages = _alternating(messages)
        try:
            return self.backbone.prompt(messages, tools=tools)
        except TemplateError as error:
            raise ModelError(
                f"The chat template of {self.backbone.name} does not take this conversation: {error}. "
                "Pass turns of user and assistant, after one of system at most."
            ) from error

    def _constraint(self, settings: ChatSettings, max_new_tokens: int) -> Constraint | None:
        tools = [tool for tool in settings.tools if tool["function"]["name"] in settings.callable]
        if settings.must_call and not tools:
            raise GrammarError(
                f"tool_choice is {settings.tool_choice!r}, but the tools are {', '.join(settings.tool_names)}. "
                "Use one of them, or auto, any or none."
            )
        if not settings.must_call and settings.schema is None:
            return None
        from comem_memory.chat.constrained import Constraint, Form, Vocabulary

        forms = []
        if tools:
            hermes = not self.backbone.prompts.template_knows_tools or tool_calls.MARK in str(
                self.backbone.prompts.processor.chat_template
            )
            around = (tool_calls.BEGIN, tool_calls.END) if hermes else ("", "")
            forms.append(Form(tool_calls.call_schema(tools), *around))
        if settings.schema is not None and not settings.must_call:
            forms.append(Form(settings.schema))
        stops = self.backbone.stops(settings.generation_kwargs.get("eos_token_id"))
        if self._vocabulary is None or self._vocabulary.stop_ids != stops:
            self._vocabulary = Vocabulary(self.backbone.prompts.tokenizer, self.backbone.vocabulary_size, stops)
        return Constraint(self._vocabulary, forms, max_new_tokens=max_new_tokens)


def _without_tools(message: Message) -> Message:
    """The message for a template that knows only the roles system, user and assistant."""
    if message["role"] == "tool":
        shown = [_trusted("<tool_response>\n"), *parts_of(message), _trusted("\n</tool_response>")]
        return {"role": "user", "content": shown}
    if "tool_calls" in message:
        calls = [call["function"] for call in message["tool_calls"]]
        parts = [{"type": "text", "text": said}] if (said := text_of(message)) else []
        for call in calls:
            written = tool_calls.write_call(call["name"], call["arguments"])
            begin = _trusted(f"\n{tool_calls.BEGIN}" if parts else tool_calls.BEGIN)
            parts += [begin, {"type": "text", "text": written}, _trusted(tool_calls.END)]
        return {"role": message["role"], "content": parts}
    return message


def _with_system(messages: Sequence[Message], text: str) -> list[Message]:
    """The messages with something more in the system turn that opens them."""
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": [*parts_of(messages[0]), _trusted(f"\n\n{text}")]}, *messages[1:]]
    return [{"role": "system", "content": [_trusted(text)]}, *messages]


def _alternating(messages: Sequence[Message]) -> list[Message]:
    """The conversation with neighbouring turns of user or assistant as one, begun by the user.

    System turns that do not open it are the user's.
    """
    opening = 1 if messages and messages[0]["role"] == "system" else 0
    turns: list[Message] = list(messages[:opening])
    for message in messages[opening:]:
        role = "user" if message["role"] == "system" else message["role"]
        if len(turns) == opening and role != "user":
            turns.append({"role": "user", "content": ""})
        last = turns[-1] if len(turns) > opening else None
        if last is None or last["role"] != role or role == "tool":
            turns.append(message | {"role": role})
            continue
        between = [{"type": "text", "text": "\n\n"}] if last["content"] and message["content"] else []
        calls = [*last.get("tool_calls", []), *message.get("tool_calls", [])]
        joined = last | {"content": [*parts_of(last), *between, *parts_of(message)]}
        turns[-1] = joined | {"tool_calls": calls} if calls else joined
    return turns


def _trusted(text: str) -> Message:
    """A part of a message that we wrote ourselves, so that its markers may be special tokens."""
    return {"type": "text", "text": text, "trusted": True}


def _cut(said: str, stops: Sequence[str]) -> str:
    ends = [at for stop in stops if stop and (at := said.find(stop)) >= 0]
    return said[: min(ends)] if ends else said


def _overlap(said: str, stop: str) -> int:
    """How many characters at the end of what was said begin a stop text."""
    return next((n for n in range(min(len(said), len(stop) - 1), 0, -1) if said.endswith(stop[:n])), 0)
