"""The frozen model by itself, whose answers ours are compared with."""

from collections.abc import Sequence

import torch

from comem_memory.model import Backbone, Message


def bare_answer(backbone: Backbone, asked: str | Sequence[Message], memory: torch.Tensor | None = None) -> str:
    """Up to 12 tokens that the model says to a question or a conversation, after (n, H) vectors or none."""
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    [tokens] = backbone.generate([backbone.prompts.prompt_inputs(messages)], [memory], max_new_tokens=12)
    return backbone.decode(tokens)
