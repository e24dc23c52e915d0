"""`ChatComem`: the frozen model as a LangChain chat model that reads memory vectors."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, cast

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import agenerate_from_stream
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import ConfigDict, Field, PrivateAttr

from comem_memory.answers import Replied
from comem_memory.chat import Reply, Tool, tool_choice_of, whole_schema
from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.store import ChromaStore, Filter
from comem_memory.threads import iterate_in_thread

from ..copying import SharesMemory
from ..turn import SETTINGS, PreparedTurn, prepare_turn
from .messages import to_messages, to_tool_calls

Method = Literal["json_schema", "function_calling", "json_mode"]


class ChatComem(SharesMemory, BaseChatModel):
    """The frozen model of a `ContinuousMemory`, which is given recalled items as vectors, as text, or both.

    Items reach the model in three ways, the first that applies:

    - `chat.bind(memory_ids=[...])`: these items, best first; an empty list means none.
    - a `memory_block` in a message: the items it names; those forgotten since are left out.
    - by itself: the `k` items that text and picture of the last user turn are about; `k=0` recalls nothing. Of a prompt
      that a retrieval chain wrote, with documents in it, its labelled question alone is searched with: what follows the
      last `Question:` or `Query:` that begins a line, up to `Answer:` or `Context:` (`chat.turns.asked_in`).

    `bind` also takes `namespace`, `k`, `where`, `mode`, `tools`, `tool_choice`, `response_format`, the generation
    settings below and anything that transformers' `generate` takes.

    Args:
        memory: An open memory; or leave it out and say how to open one with the next fields. It is then opened at the
            first call. LangChain's `dumps` writes these fields, and `loads` takes them with
            `allowed_objects=[ChatComem], valid_namespaces=["comem_memory"]`; of one with an open memory it writes that
            it cannot be loaded.
        model: As in `ContinuousMemory.from_pretrained`, like the next four.
        adapter: Folder of a trained memory encoder.
        persist_directory: Where the memory is kept.
        chroma_url: The Chroma server that keeps it instead.
        collection_name: One memory of several in a directory or server.
        namespace: Whose items to recall; by default the memory's own.
        k: Items to recall for the last user turn.
        where: Filter on their metadata.
        mode: How items are given to the model: `memory` (vectors), `text`, `both` or `none`; by default as the memory
            does, which follows its encoder's recommendation.
        temperature: 0 is greedy decoding.
        top_p: Share of the probability that sampling draws from.
        seed: Sampling with the same seed says the same.
        max_tokens: Longest answer.
        stop: Texts that end the answer.
        streaming: `invoke` too tells callbacks every piece.
        allow_image_urls: Fetch pictures from URLs and open local paths that messages name.

    Examples:
        >>> chat = ChatComem(persist_directory="memory", k=3)                                  # doctest: +SKIP
        >>> chat.invoke("What opens the blue door?").content                                   # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    memory: ContinuousMemory | None = Field(default=None, exclude=True, repr=False)
    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """Off: LangChain's cache knows neither whose memory answered nor what it held."""
    model: str | None = None
    adapter: str | None = None
    persist_directory: str | None = None
    chroma_url: str | None = None
    collection_name: str = "comem"
    namespace: str | None = None
    k: int = Field(default=3, ge=0)
    where: Filter | None = None
    mode: Mode | None = None
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int = Field(default=256, gt=0)
    seed: int | None = None
    stop: list[str] | None = None
    streaming: bool = False
    allow_image_urls: bool = False
    _given: bool = PrivateAttr(default=False)
    """Whether it was made with an open memory, which no settings open again."""
    _opening: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._given = self.memory is not None
        if self.memory is None and self.persist_directory is not None and self.chroma_url is None:
            ChromaStore.check_location(self.persist_directory)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """One that has not opened its memory is its settings, which open it in the other process."""
        return super().__reduce_ex__(protocol) if self.memory is not None else (type(self)._of, (self.model_dump(),))

    @classmethod
    def _of(cls, settings: dict[str, Any]) -> ChatComem:
        return cls(**settings)

    @property
    def _llm_type(self) -> str:
        return "comem"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        return ["comem_memory", "integrations", "langchain", "chat_model"]

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """For LangChain's `dumps`: the settings that open it, or that an open memory was given, which is no JSON."""
        return self.to_json_not_implemented() if self._given else super().to_json()

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include=set(SETTINGS))

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params.setdefault("ls_model_name", self.memory.info.model if self.memory else self.model or "mini")
        params["ls_provider"] = "comem"
        return params

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own tokens, with which `trim_messages` and others count."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        return self._opened().token_ids(text)

    def for_namespace(self, name: str) -> ChatComem:
        """The same model for another user; both reuse what either has read."""
        self._opened()
        return self.model_copy(update={"namespace": name})

    # -- generation ---------------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        turn = self._prepare(messages, stop, kwargs)
        replied = turn.reply()
        message = AIMessage(
            content=replied.reply.text,
            tool_calls=to_tool_calls(replied.reply.tool_calls),
            usage_metadata=_usage(replied.reply),
            response_metadata=_about(turn, replied),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        stopped: threading.Event | None = kwargs.pop("stopped", None)
        turn = self._prepare(messages, stop, kwargs)
        for piece in turn.stream(stopped):
            if isinstance(piece, Replied):
                yield ChatGenerationChunk(message=_last_chunk(turn, piece))
                continue
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks = iterate_in_thread(lambda stopped: self._stream(messages, stop, None, stopped=stopped, **kwargs))
        async with aclosing(chunks):
            async for chunk in chunks:
                if run_manager and chunk.text:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, None, **kwargs))

    def _prepare(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> PreparedTurn:
        memory, call, found = self._opened(), dict(kwargs), None
        call.pop("model", None)  # which LangChain hands on where others have several
        if stop is not None:
            call["stop"] = stop
        if around := SERVED.get():
            found = []
            if served := next((one for one in around if one.view.source is memory.source), None):
                memory, found = served.view, served.ids
                call["namespace"] = None
                if served.told:
                    mode = next(m for m in (call.get("mode"), served.mode, self.mode, memory.mode) if m is not None)
                    call["mode"] = WITHOUT_TEXT.get(mode, mode)
                elif served.mode is not None:
                    call.setdefault("mode", served.mode)
        schema = _schema(call.pop("response_format", None))
        turns = to_messages(messages, allow_urls=self.allow_image_urls)
        return prepare_turn(self, memory, turns, call, schema=schema, found=found)

    def _opened(self) -> ContinuousMemory:
        with self._opening:
            if self.memory is None:
                self.memory = ContinuousMemory.from_pretrained(
                    self.model,
                    self.adapter,
                    self.persist_directory,
                    chroma_url=self.chroma_url,
                    collection_name=self.collection_name,
                )
            return self.memory

    # -- tools and structured output ----------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Lets the model call tools.

        Args:
            tools: Functions, pydantic classes, LangChain tools, or OpenAI's format.
            tool_choice: `auto`, `none`, a tool's name, or `any` (also `required`, True); the last two force one valid
                call through constrained decoding.
            **kwargs: See `bind`; `strict` and `parallel_tool_calls` are accepted and change nothing.
        """
        for name in ("strict", "parallel_tool_calls"):
            kwargs.pop(name, None)
        written = [_tool(tool) for tool in tools]
        return self.bind(tools=written, tool_choice=tool_choice_of(tool_choice), **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Method = "json_schema",
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers that fit a schema, enforced by constrained decoding.

        Args:
            schema: A pydantic class, TypedDict, JSON schema or OpenAI function.
            include_raw: Return `{"raw", "parsed", "parsing_error"}`.
            method: `json_schema` and `json_mode` answer in JSON, `function_calling` in a forced tool call.
            **kwargs: See `bind`; `strict` changes nothing.

        Raises:
            ValueError: An unknown method.
        """
        kwargs.pop("strict", None)
        json_schema = convert_to_json_schema(schema)
        traced = {"ls_structured_output_format": {"kwargs": {"method": method}, "schema": json_schema}}
        parser: Any
        if method == "function_calling":
            tool = _tool(schema)
            name = tool["function"]["name"]
            llm = self.bind_tools([tool], tool_choice=name, **traced, **kwargs)
            if is_basemodel_subclass(cast(type, schema)):
                parser = PydanticToolsParser(tools=[cast(Any, schema)], first_tool_only=True)
            else:
                parser = JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        elif method in ("json_schema", "json_mode"):
            whole = whole_schema(json_schema, schema)
            wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": whole}}
            llm = self.bind(response_format=wanted, **traced, **kwargs)
            pydantic = is_basemodel_subclass(cast(type, schema))
            parser = PydanticOutputParser(pydantic_object=cast(Any, schema)) if pydantic else JsonOutputParser()
        else:
            raise ValueError(f"method is {method!r}. Use json_schema, function_calling or json_mode.")
        if not include_raw:
            return llm | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")


@dataclass(frozen=True)
class Served:
    """Whom a middleware serves.

    Args:
        view: That user's memory.
        ids: The items that were recalled, best first.
        mode: How they are given to the model, if the middleware says so.
        told: Whether their texts stand in the system turn already, for a model that may not be ours.
    """

    view: ContinuousMemory
    ids: list[str]
    mode: Mode | None
    told: bool


WITHOUT_TEXT: dict[Mode, Mode] = {"both": "memory", "text": "none"}
"""What is left of a mode where the texts are told already."""

SERVED: ContextVar[tuple[Served, ...]] = ContextVar("SERVED", default=())
"""Set while middlewares call a model, one of each memory: a `ChatComem` does not search on its own then."""


def _tool(tool: dict[str, Any] | type | Callable[..., Any] | BaseTool) -> Tool:
    written = convert_to_openai_tool(tool)
    function, source = written["function"], tool.tool_call_schema if isinstance(tool, BaseTool) else tool
    if "parameters" in function:
        function["parameters"] = whole_schema(function["parameters"], source)
    return written


def _schema(response_format: dict[str, Any] | None) -> dict[str, Any] | None:
    if response_format is None or response_format.get("type") == "text":
        return None
    if response_format.get("type") == "json_object":
        return {"type": "object"}
    return dict(response_format["json_schema"]["schema"])


def _usage(reply: Reply) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=reply.prompt_tokens,
        output_tokens=reply.completion_tokens,
        total_tokens=reply.prompt_tokens + reply.completion_tokens,
        input_token_details=cast(InputTokenDetails, {"memory": reply.memory_tokens}),
    )


def _about(turn: PreparedTurn, replied: Replied) -> dict[str, Any]:
    """The metadata of a response."""
    ids = [hit.id for hit in replied.hits]
    return {"model_name": turn.memory.info.model, "memory_ids": ids, "finish_reason": replied.reply.finish_reason}


def _last_chunk(turn: PreparedTurn, replied: Replied) -> AIMessageChunk:
    calls = [
        tool_call_chunk(name=call.name, args=call.arguments_json, id=call.id, index=index)
        for index, call in enumerate(replied.reply.tool_calls)
    ]
    return AIMessageChunk(
        content="",
        tool_call_chunks=calls,
        usage_metadata=_usage(replied.reply),
        response_metadata=_about(turn, replied),
        chunk_position="last",
    )
