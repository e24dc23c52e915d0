"""LangChain's messages as the frozen model's, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import ToolCall as LangChainToolCall
from langchain_core.messages.tool import tool_call

from comem_memory.chat import NamedItems, ToolCall
from comem_memory.config import Mode
from comem_memory.files import load_image, named_picture
from comem_memory.files.encoded_pictures import carried, is_picture, named_in
from comem_memory.model import Message

logger = logging.getLogger(__name__)

SILENT = ("reasoning", "thinking", "tool_call", "tool_use", "invalid_tool_call", "tool_call_chunk", "memory")
"""Blocks without text or picture: thoughts are not shown again, calls stand in `tool_calls`, memory is named."""


def memory_block(ids: Sequence[str], *, mode: Mode | None = None) -> dict[str, Any]:
    """A content block that gives stored items, or none, to the model; it carries ids, so that messages serialise.

    Args:
        ids: The items, best first.
        mode: How they are given; by default as the chat model does.
    """
    return {"type": "memory", "ids": list(ids)} | ({} if mode is None else {"mode": mode})


def to_messages(
    messages: Sequence[BaseMessage], *, allow_urls: bool = False, skip_unreadable: bool = False
) -> list[Message]:
    """LangChain's messages as transformers'.

    Args:
        messages: System, human, AI and tool messages with text and images.
        allow_urls: Fetch pictures from http(s) URLs and open local paths that messages name.
        skip_unreadable: Leave out blocks that the model cannot read, for recalling and remembering, with a warning.

    Raises:
        ValueError: A block that the model cannot read (audio, video, PDF), or a URL that may not be fetched.
        InvalidItemError: A picture that cannot be opened.
    """
    return [_turn(message, allow_urls, skip_unreadable) for message in messages]


def to_tool_calls(calls: Sequence[ToolCall]) -> list[LangChainToolCall]:
    return [tool_call(name=call.name, args=call.arguments, id=call.id) for call in calls]


def _turn(message: BaseMessage, allow_urls: bool, skip_unreadable: bool) -> Message:
    parts = []
    for block in _blocks(message):
        try:
            part = _part(block, allow_urls)
        except ValueError as error:
            if not skip_unreadable:
                raise
            logger.warning("A block of a message is neither recalled with nor remembered: %s", error)
            continue
        parts += [part] if part is not None else []
    turn: Message = {"role": _role(message), "content": parts}
    if blocks := [block for block in _blocks(message) if block["type"] == "memory" and "ids" in block]:
        ids = dict.fromkeys(id for block in reversed(blocks) for id in block["ids"])
        modes = [block["mode"] for block in blocks if block.get("mode") is not None]
        turn["named"] = NamedItems(tuple(ids), mode=modes[-1] if modes else None)
    if isinstance(message, AIMessage) and message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "id": call["id"], "function": {"name": call["name"], "arguments": call["args"]}}
            for call in message.tool_calls
        ]
    if isinstance(message, ToolMessage):
        turn |= {"tool_call_id": message.tool_call_id, "name": message.name or ""}
    return turn


def _role(message: BaseMessage) -> str:
    kinds = (
        (SystemMessage, "system"),
        (HumanMessage, "user"),
        (AIMessage, "assistant"),
        (ToolMessage | FunctionMessage, "tool"),
    )
    for kind, role in kinds:
        if isinstance(message, kind):
            return role
    if isinstance(message, ChatMessage):
        return message.role
    raise ValueError(f"A {type(message).__name__} cannot be shown to a model. Remove it from the messages.")


def _blocks(message: BaseMessage) -> list[dict[str, Any]]:
    """Content blocks in LangChain's standard form, ours unwrapped."""
    blocks: list[dict[str, Any]] = [dict(block) for block in message.content_blocks]
    return [b["value"] if b["type"] == "non_standard" and "type" in b["value"] else b for b in blocks]


def _part(block: dict[str, Any], allow_urls: bool) -> dict[str, Any] | None:
    kind = block["type"]
    if kind in SILENT:
        return None
    if kind in ("text", "text-plain"):
        return {"type": "text", "text": block.get("text", "")}
    if is_picture(block):
        return {"type": "image", "image": load_image(_image(block, allow_urls))}
    if kind == "json":
        return {"type": "text", "text": json.dumps(block["json"], default=str)}
    raise ValueError(f"The model reads text and pictures, not a block of type {kind!r}. Leave it out of the message.")


def _image(block: dict[str, Any], allow_urls: bool) -> bytes | Path:
    named = named_in(block)
    source = str(named.get("path") or named.get("url") or "")
    if (found := carried(named, source)) is not None:
        return found
    if not source:
        raise ValueError(
            f"An image block has {', '.join(map(repr, block))}, but a picture's bytes are needed. "
            "Send them as base64 or a data: URL; or, when allowed, a url or path."
        )
    return named_picture(source, allowed=allow_urls)
