"""Memory vectors for a chat model that asks a vLLM server, as `ChatOpenAI(base_url=...)` does."""

from __future__ import annotations

from typing import Any

import torch
from langchain.agents.middleware import ModelRequest
from langchain_core.messages import ChatMessage

from comem_memory.memory import ContinuousMemory
from comem_memory.model import prompt_embeds

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
    """
    return BEFORE + str(memory.backbone.prompts.processor.chat_template)


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
