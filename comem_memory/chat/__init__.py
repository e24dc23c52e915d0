"""A conversation's next turn from the frozen model: what was recalled laid out in it, text, tool calls, JSON."""

from comem_memory.chat.chat import Chat, ChatSettings, Reply
from comem_memory.chat.layout import Recalled, check_mode, lay_out, memory_of, told
from comem_memory.chat.schemas import whole_schema
from comem_memory.chat.tool_calls import Tool, ToolCall, tool_choice_of
from comem_memory.chat.turns import NamedItems, asked_in, content_of, item_of, parts_of, question_turn, spoken, text_of

__all__ = [
    "Chat",
    "ChatSettings",
    "NamedItems",
    "Recalled",
    "Reply",
    "Tool",
    "ToolCall",
    "asked_in",
    "check_mode",
    "content_of",
    "item_of",
    "lay_out",
    "memory_of",
    "parts_of",
    "question_turn",
    "spoken",
    "text_of",
    "told",
    "tool_choice_of",
    "whole_schema",
]
