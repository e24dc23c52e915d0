"""What the frameworks' chat models have in common: the settings of a call, and the items that go before its answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comem_memory.answers import Replied
from comem_memory.chat import ChatSettings, tool_choice_of
from comem_memory.memory import ContinuousMemory, RecallOptions
from comem_memory.model import Message

SETTINGS = ("namespace", "k", "where", "mode", "temperature", "top_p", "max_tokens", "seed", "stop")
"""Of a chat model, each of which a call may replace."""


@dataclass(frozen=True)
class PreparedTurn:
    """A conversation whose next turn a memory's model is to make.

    Args:
        memory: In the namespace whose items are recalled.
        messages: The conversation, in transformers' form.
        settings: How to answer.
        recalling: Which items, and how they are given.
    """

    memory: ContinuousMemory
    messages: Sequence[Message]
    settings: ChatSettings
    recalling: RecallOptions

    def reply(self) -> Replied:
        return self.memory.reply(self.messages, self.settings, **self.recalling)

    def stream(self, stopped: threading.Event | None = None) -> Iterator[str | Replied]:
        return self.memory.stream_reply(self.messages, self.settings, stopped=stopped, **self.recalling)


def prepare_turn(
    model: object,
    memory: ContinuousMemory,
    messages: Sequence[Message],
    call: Mapping[str, Any],
    *,
    schema: dict[str, Any] | None = None,
    found: Sequence[str] | None = None,
) -> PreparedTurn:
    """A conversation, how to answer it, and from which items.

    Args:
        model: A framework's chat model; its settings hold unless the call names others.
        memory: Where to recall, in the call's or the model's namespace, else in its own.
        messages: The conversation, in transformers' form.
        call: Settings of this call: those in `SETTINGS`, `memory_ids`, `tools`, `tool_choice`, and anything that
            transformers' `generate` takes.
        schema: The answer is JSON that fits it.
        found: Items that were searched for already; see `ContinuousMemory.recall`.

    Raises:
        QueryError: The namespace cannot be one.
    """
    call = dict(call)
    mode = call.pop("mode", None)
    given = {name: call.pop(name, getattr(model, name)) for name in SETTINGS}
    ids, tools = call.pop("memory_ids", None), call.pop("tools", ())
    settings = ChatSettings(
        max_tokens=given["max_tokens"],
        temperature=given["temperature"] or 0.0,
        top_p=given["top_p"],
        seed=given["seed"],
        stop=given["stop"] or (),
        tools=tools,
        tool_choice=tool_choice_of(call.pop("tool_choice", None)),
        schema=schema,
        generation_kwargs=call,
    )
    view = memory if given["namespace"] is None else memory.namespace(given["namespace"])
    recalling: RecallOptions = {
        "k": given["k"],
        "where": given["where"],
        "mode": mode,
        "default_mode": given["mode"],
        "ids": ids,
        "found": found,
    }
    return PreparedTurn(view, messages, settings, recalling)
