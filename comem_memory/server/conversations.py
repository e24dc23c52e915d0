"""Conversations as they are sent, and as `ContinuousMemory.reply` takes them."""

from __future__ import annotations

from typing import Any

from comem_memory.chat import ChatSettings, NamedItems, Reply
from comem_memory.files import load_image
from comem_memory.model import Message
from comem_memory.server import wire
from comem_memory.server.pictures import checked
from comem_memory.server.settings import ServerSettings


def turn_of(sent: wire.Message, limits: ServerSettings) -> Message:
    """A turn of a conversation, with its pictures opened.

    Raises:
        LimitError: A picture is too large.
        InvalidItemError: A picture cannot be read.
    """
    content: str | list[Message] = (
        sent.content if isinstance(sent.content, str) else [_part(part, limits) for part in sent.content]
    )
    turn: Message = {"role": sent.role, "content": content}
    if sent.tool_calls:
        turn["tool_calls"] = [call.model_dump(exclude_none=True) for call in sent.tool_calls]
    turn |= sent.model_dump(include={"tool_call_id", "name"}, exclude_none=True)
    if sent.named is not None:
        turn["named"] = NamedItems(tuple(sent.named.ids), sent.named.text, sent.named.mode)
    return turn


def _part(part: wire.TextPart | wire.ImagePart, limits: ServerSettings) -> Message:
    if isinstance(part, wire.TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image", "image": load_image(checked(part.image, limits))}


def settings_of(sent: wire.ChatSettings, limits: ServerSettings) -> ChatSettings:
    """How to answer, at most at the length that the server lets answers have."""
    fields: dict[str, Any] = {
        name: getattr(sent, name) for name in ("temperature", "top_p", "seed", "stop", "tool_choice")
    }
    return ChatSettings(
        **fields,
        max_tokens=min(sent.max_tokens, limits.max_new_tokens),
        tools=[tool.model_dump() for tool in sent.tools],
        schema=sent.schema_,
        generation_kwargs=sent.generation.options(),
    )


def sent_reply(reply: Reply) -> wire.Reply:
    """What the model answered, as it is sent."""
    return wire.Reply(
        text=reply.text,
        tool_calls=[wire.ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in reply.tool_calls],
        prompt_tokens=reply.prompt_tokens,
        memory_tokens=reply.memory_tokens,
        completion_tokens=reply.completion_tokens,
        finish_reason=reply.finish_reason,
    )
