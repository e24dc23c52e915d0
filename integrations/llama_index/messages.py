"""LlamaIndex's messages as the frozen model's, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from comem_memory.backbone import Message
from comem_memory.chat import Reply
from comem_memory.images import load_image
from comem_memory.types import MemoryHit

MEMORY_IDS = "memory_ids"
"""Key of a message's `additional_kwargs` that names stored items, so that messages stay serialisable."""

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}


def remembered(hits: Sequence[MemoryHit]) -> ChatMessage:
    """Items, best first, as a message that `ComemLLM` reads as vectors and any other model as text."""
    known = "\n".join(f"- {hit.text or hit.image}" for hit in reversed(hits))
    text = f"What you remember, the most relevant last:\n{known}"
    return ChatMessage(text, role=MessageRole.USER, additional_kwargs={MEMORY_IDS: [hit.id for hit in hits]})


def memory_ids(messages: Sequence[ChatMessage]) -> list[str]:
    """Ids that the messages name, those of the latest message first, each once."""
    named = [id for message in reversed(messages) for id in message.additional_kwargs.get(MEMORY_IDS, [])]
    return list(dict.fromkeys(named))


def to_messages(messages: Sequence[ChatMessage], *, allow_urls: bool = False) -> list[Message]:
    """LlamaIndex's messages as transformers'.

    Args:
        messages: with text, images, tool calls and their results.
        allow_urls: fetch pictures from URLs and open local paths that messages name.

    Raises:
        ValueError: a block that the model cannot read, or a URL or path that may not be opened.
        InvalidItemError: a picture that cannot be opened.
    """
    return [_turn(message, allow_urls) for message in messages]


def to_message(reply: Reply) -> ChatMessage:
    blocks: list[Any] = [TextBlock(text=reply.text)] if reply.text else []
    blocks += [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)
        for call in reply.tool_calls
    ]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)


def _turn(message: ChatMessage, allow_urls: bool) -> Message:
    parts, calls = list[Message](), list[Message]()
    for block in message.blocks:
        if isinstance(block, TextBlock):
            parts.append({"type": "text", "text": block.text})
        elif isinstance(block, ImageBlock):
            parts.append({"type": "image", "image": load_image(_image(block, allow_urls))})
        elif isinstance(block, ToolCallBlock):
            given = block.tool_kwargs
            arguments = json.loads(given) if isinstance(given, str) else given
            calls.append({"type": "function", "function": {"name": block.tool_name, "arguments": arguments}})
        elif not isinstance(block, ThinkingBlock | CachePoint):
            raise ValueError(
                f"The model reads text and pictures, not a {type(block).__name__}. Leave it out of the message."
            )
    return {"role": _ROLES[message.role], "content": parts} | ({"tool_calls": calls} if calls else {})


def _image(block: ImageBlock, allow_urls: bool) -> bytes:
    if not block.image and not allow_urls:
        raise ValueError(
            f"The message names a picture at {str(block.path or block.url)[:80]!r}. Send its bytes, or pass "
            "allow_image_urls=True if everyone who writes messages may make this machine fetch URLs and open files."
        )
    return block.resolve_image().read()
