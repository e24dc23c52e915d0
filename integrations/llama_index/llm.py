"""`ComemLLM`: the frozen model as a LlamaIndex LLM that reads memory vectors."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import ConfigDict, Field
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool

from comem_memory.answers import Replied
from comem_memory.config import Mode
from comem_memory.memory import ContinuousMemory
from comem_memory.store import Filter
from comem_memory.threads import iterate_in_thread

from ..copying import SharesMemory
from ..turn import PreparedTurn, prepare_turn
from .messages import to_message, to_messages


class ComemLLM(SharesMemory, FunctionCallingLLM):
    """The frozen model of a `ContinuousMemory`, which is given stored items as vectors, as text, or both.

    Items reach it in three ways, the first that applies: `memory_ids=[...]` in a call, messages whose
    `additional_kwargs` name items (as `ComemMemoryBlock` and `ComemMemory` write them), or by itself the `k` items that
    the last user turn is about. Of a query engine's prompt its labelled question alone is searched with
    (`chat.turns.asked_in`). Calls also take the settings below and anything of transformers' `generate`.

    Args:
        memory: Where to recall; its model answers.
        namespace: Whose items; by default the memory's own.
        k: Items to recall for the last user turn; 0 recalls nothing, for engines that bring their own context.
        where: Filter on their metadata.
        mode: How items are given to the model: `memory` (vectors), `text`, `both` or `none`; by default as the memory
            does, which follows its encoder's recommendation.
        temperature: 0 is greedy decoding.
        top_p: Share of the probability that sampling draws from.
        seed: Sampling with the same seed says the same.
        max_tokens: Longest answer.
        stop: Texts that end the answer.
        allow_image_urls: Fetch pictures from URLs and open local paths that messages name.

    Examples:
        >>> llm = ComemLLM(memory=memory)                                                      # doctest: +SKIP
        >>> llm.complete("What opens the blue door?").text                                     # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    memory: ContinuousMemory = Field(exclude=True, repr=False)
    namespace: str | None = None
    k: int = Field(default=3, ge=0)
    where: Filter | None = None
    mode: Mode | None = None
    temperature: float = Field(default=0.0, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int = Field(default=256, gt=0)
    seed: int | None = None
    stop: list[str] = Field(default_factory=list)
    allow_image_urls: bool = False

    @classmethod
    def class_name(cls) -> str:
        return "ComemLLM"

    @property
    def metadata(self) -> LLMMetadata:
        info = self.memory.info
        return LLMMetadata(
            context_window=info.context_window,
            num_output=self.max_tokens,
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=info.model,
        )

    # -- chat ---------------------------------------------------------------------------------------------------

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self._reply(messages, kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return cast(ChatResponseGen, self._responses(messages, kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return await self._areply(messages, kwargs)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        return self._aresponses(messages, kwargs)

    def _reply(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> ChatResponse:
        return _response(self._prepare(messages, kwargs).reply())

    async def _areply(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> ChatResponse:
        async with aclosing(self._aresponses(messages, kwargs)) as responses:
            return [response async for response in responses][-1]

    def _aresponses(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> AsyncGenerator[ChatResponse]:
        return iterate_in_thread(lambda stopped: self._responses(messages, kwargs, stopped))

    def _responses(
        self, messages: Sequence[ChatMessage], kwargs: dict[str, Any], stopped: threading.Event | None = None
    ) -> Iterator[ChatResponse]:
        pieces = self._prepare(messages, kwargs).stream(stopped)

        def run() -> Iterator[ChatResponse]:
            said = ""
            for piece in pieces:
                if isinstance(piece, Replied):
                    yield _response(piece)
                else:
                    said += piece
                    yield ChatResponse(message=ChatMessage(said, role=MessageRole.ASSISTANT), delta=piece)

        return run()

    def _prepare(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> PreparedTurn:
        turns = to_messages(messages, allow_urls=self.allow_image_urls)
        return prepare_turn(self, self.memory, turns, kwargs)

    # -- completion ---------------------------------------------------------------------------------------------

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return _completion(self._reply([ChatMessage(prompt)], kwargs))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        responses = self._responses([ChatMessage(prompt)], kwargs)
        return cast(CompletionResponseGen, (_completion(response) for response in responses))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return _completion(await self._areply([ChatMessage(prompt)], kwargs))

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        async def run() -> AsyncIterator[CompletionResponse]:
            async with aclosing(self._aresponses([ChatMessage(prompt)], kwargs)) as responses:
                async for response in responses:
                    yield _completion(response)

        return cast(CompletionResponseAsyncGen, run())

    # -- tools --------------------------------------------------------------------------------------------------

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        asked = [ChatMessage(user_msg) if isinstance(user_msg, str) else user_msg] if user_msg is not None else []
        choice = kwargs.pop("tool_choice", None) or ("any" if tool_required and tools else "auto")
        written = [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]
        return {"messages": [*(chat_history or []), *asked], "tools": written, "tool_choice": choice, **kwargs}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not calls and error_on_no_tool_call:
            raise ValueError(
                f"The model called no tool, but said: {response.message.content!r}. Pass tool_required=True."
            )
        return [
            ToolSelection(
                tool_id=call.tool_call_id or "",
                tool_name=call.tool_name,
                tool_kwargs=cast(dict[str, Any], call.tool_kwargs),
            )
            for call in calls
        ]


def _response(replied: Replied) -> ChatResponse:
    reply, ids = replied.reply, [hit.id for hit in replied.hits]
    usage = {
        "prompt_tokens": reply.prompt_tokens,
        "memory_tokens": reply.memory_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }
    about = usage | {"usage": usage, "finish_reason": reply.finish_reason, "memory_ids": ids}
    return ChatResponse(message=to_message(reply), raw=about, delta="", additional_kwargs=usage)


def _completion(response: ChatResponse) -> CompletionResponse:
    return CompletionResponse(
        text=response.message.content or "",
        delta=response.delta,
        raw=response.raw,
        additional_kwargs=response.additional_kwargs,
    )
