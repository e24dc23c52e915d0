"""LlamaIndex's messages as the frozen model's, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
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

from comem_memory.chat import NamedItems, Reply, told
from comem_memory.config import Mode
from comem_memory.content import decoded
from comem_memory.files import load_image, named_picture
from comem_memory.files.encoded_pictures import from_data_url
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Message
from comem_memory.types import RESERVED_PREFIX, MemoryHit

logger = logging.getLogger(__name__)

MEMORY_IDS = RESERVED_PREFIX + "memory_ids"
"""Key of a message's `additional_kwargs` that names stored items, so that messages stay serialisable."""
MEMORY_MODE = RESERVED_PREFIX + "memory_mode"
"""Key of a message's `additional_kwargs` that says how the model is given them."""

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


def remembered(memory: ContinuousMemory, hits: Sequence[MemoryHit], mode: Mode | None = None) -> ChatMessage:
    """What a search of a memory found, or nothing, as a message that a `ComemLLM` is given in its mode, as far as it is
    `near_first`, and any other model as text.

    Args:
        memory: Where the items are.
        hits: The items, best first.
        mode: How a `ComemLLM` is given them; by default as it is set.
    """
    about = {MEMORY_IDS: [hit.id for hit in memory.near_first(hits)]} | ({} if mode is None else {MEMORY_MODE: mode})
    return ChatMessage(told(hits, memory.order), role=MessageRole.USER, additional_kwargs=about)


def to_messages(
    messages: Sequence[ChatMessage], *, allow_urls: bool = False, skip_unreadable: bool = False
) -> list[Message]:
    """LlamaIndex's messages as transformers'.

    Args:
        messages: With text, images, tool calls and their results.
        allow_urls: Fetch pictures from URLs and open local paths that messages name.
        skip_unreadable: Leave out blocks that the model cannot read, for recalling and remembering, with a warning.

    Raises:
        ValueError: A block that the model cannot read, or a URL or path that may not be opened.
        InvalidItemError: A picture that cannot be opened.
    """
    return [_turn(message, allow_urls, skip_unreadable) for message in messages]


def to_message(reply: Reply) -> ChatMessage:
    blocks: list[Any] = [TextBlock(text=reply.text)] if reply.text else []
    blocks += [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)
        for call in reply.tool_calls
    ]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)


def _turn(message: ChatMessage, allow_urls: bool, skip_unreadable: bool) -> Message:
    turn: Message = {"role": _ROLES[message.role], "content": []}
    if (ids := message.additional_kwargs.get(MEMORY_IDS)) is not None:
        named = NamedItems(tuple(ids), message.content, message.additional_kwargs.get(MEMORY_MODE))
        return turn | {"named": named}
    for block in message.blocks:
        if isinstance(block, ToolCallBlock):
            function = {"name": block.tool_name, "arguments": _arguments(block.tool_kwargs)}
            turn.setdefault("tool_calls", []).append(
                {"type": "function", "id": block.tool_call_id, "function": function}
            )
            continue
        try:
            part = _part(block, allow_urls)
        except (ValueError, OSError) as error:
            if not skip_unreadable:
                raise
            logger.warning("A block of a message is neither recalled with nor remembered: %s", error)
            continue
        turn["content"] += [part] if part is not None else []
    if turn["role"] == "tool":
        turn |= {
            name: message.additional_kwargs[name] for name in ("tool_call_id",) if name in message.additional_kwargs
        }
    return turn


def _part(block: Any, allow_urls: bool) -> Message | None:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    if isinstance(block, ImageBlock):
        return {"type": "image", "image": load_image(_image(block, allow_urls))}
    if isinstance(block, ThinkingBlock | CachePoint):
        return None
    raise ValueError(f"The model reads text and pictures, not a {type(block).__name__}. Leave it out of the message.")


def _arguments(given: dict[str, Any] | str) -> Any:
    try:
        return json.loads(given) if isinstance(given, str) else given
    except json.JSONDecodeError:  # another model's mistake, shown as it was made
        return given


def _image(block: ImageBlock, allow_urls: bool) -> bytes | Path:
    url = str(block.url or "")
    if url.startswith("data:"):
        return from_data_url(url)
    if block.image:
        given = block.resolve_image().read()
        try:
            return decoded(given)  # base64 that the block did not know as such, since it is in lines
        except ValueError:
            return given
    if not (block.path or url):
        raise ValueError("An image block has neither image, url nor path. Send the picture's bytes.")
    return named_picture(str(block.path or url), allowed=allow_urls)
