"""Memory vectors for a chat model that asks a vLLM server, as `ChatOpenAI(base_url=...)` does."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from langchain.agents.middleware import ModelRequest
from langchain_core.messages import BaseMessage, ChatMessage

from comem_memory.errors import ModelError
from comem_memory.memory import ContinuousMemory
from comem_memory.model import prompt_embeds, without_reserved

_M = TypeVar("_M", bound=BaseMessage)

ROLE = "memory"
BEFORE = (
    "{%- for one in messages if one['role'] == 'memory' -%}"
    "{{ one['content'] if one['content'] is string else one['content'][0]['text'] }}{%- endfor -%}"
    "{%- set messages = messages | rejectattr('role', 'equalto', 'memory') | list -%}"
)
"""Puts the turn with the vectors before all that the model's own template writes."""


def template_with_memory(memory: ContinuousMemory) -> str:
    """The chat template of the model that reads a memory's vectors, which stand before everything else.

    Raises:
        NotServedError: The memory is behind a URL, which does not tell its model's template.
        ModelError: The model has no chat template, or several.
    """
    template = memory.backbone.prompts.processor.chat_template
    if not isinstance(template, str):
        raise ModelError(
            "vectors=True needs a model with one chat template, and this one has "
            f"{', '.join(template) if template else 'none'}. Set its processor's chat_template to one text, or leave "
            "out vectors=True."
        )
    return BEFORE + template


def with_vectors(request: ModelRequest[Any], vectors: torch.Tensor, template: str) -> ModelRequest[Any]:
    """A request that gives the model memory vectors, as vLLM takes them in a chat.

    Args:
        request: The request.
        vectors: (n, H), what goes before the conversation.
        template: Of `template_with_memory`.
    """
    turn = ChatMessage(role=ROLE, content=[prompt_embeds(vectors)])
    extra = dict(request.model_settings.get("extra_body") or {}) | {"chat_template": template}
    return request.override(
        messages=[turn, *request.messages], model_settings=request.model_settings | {"extra_body": extra}
    )


def as_vllm_takes(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """A request without texts that stand for vectors at vLLM, which refuses them; in instructions, messages and calls
    of tools."""
    system = request.system_message
    return request.override(
        messages=[_escaped_message(one) for one in request.messages],
        system_message=None if system is None else _escaped_message(system),
    )


def _escaped_message(message: _M) -> _M:
    names = ("content", "tool_calls", "invalid_tool_calls", "additional_kwargs")
    fields = {name: getattr(message, name) for name in names if hasattr(message, name)}
    return message.model_copy(update=_escaped(fields))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return without_reserved(value)
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    if isinstance(value, dict):
        return {_escaped(name): _escaped(one) for name, one in value.items()}
    return value
