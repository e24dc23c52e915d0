"""What a call to a framework's chat model becomes: its settings, and the items that go before its answer."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.tools import ADD

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.chat import ChatSettings, Recalled
from comem_memory.integrations.turn import SETTINGS, prepare_turn
from comem_memory.testing import tiny_memory

ASKED = [{"role": "user", "content": "What opens the blue door?"}]


@pytest.fixture(scope="module")
def memory() -> Iterator[ContinuousMemory]:
    with tiny_memory() as memory:
        memory.add(
            [
                MemoryItem(id="key", text="The brass key opens the blue door.", metadata={"room": "hall"}),
                MemoryItem(id="cat", text="Zzz.", metadata={"room": "attic"}),
            ]
        )
        memory.namespace("bob").add(MemoryItem(id="secret", text="Bob's blue door opens with a spoon."))
        yield memory


def prepared(memory: ContinuousMemory, call: dict[str, Any], **model: Any) -> tuple[Recalled, ChatSettings]:
    settings = dict.fromkeys(SETTINGS) | {"k": 1, "max_tokens": 12} | model
    turn = prepare_turn(SimpleNamespace(**settings), memory, ASKED, call)
    return turn.memory.recall(turn.messages, **turn.recalling), turn.settings


def ids(recalled: Recalled) -> list[str]:
    return [hit.id for hit in recalled.hits]


def test_the_model_s_settings_hold_unless_the_call_names_others(memory: ContinuousMemory):
    _, settings = prepared(memory, {})
    assert settings == ChatSettings(max_tokens=12)
    own = {"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["x"]}
    assert prepared(memory, {}, **own)[1] == ChatSettings(max_tokens=12, **own)
    named = {"temperature": 0.0, "top_p": 0.5, "seed": 4, "stop": ["y"], "max_tokens": 5}
    assert prepared(memory, named, **own)[1] == ChatSettings(**named)


def test_tools_schema_and_whatever_generate_takes(memory: ContinuousMemory):
    call = {"tools": [ADD], "tool_choice": "required", "min_new_tokens": 3}
    _, settings = prepared(memory, call)
    assert (settings.tools, settings.tool_choice) == ([ADD], "any")
    assert settings.generation_kwargs == {"min_new_tokens": 3}
    assert call == {"tools": [ADD], "tool_choice": "required", "min_new_tokens": 3}, "the caller's stays"
    model = SimpleNamespace(**dict.fromkeys(SETTINGS) | {"k": 0, "max_tokens": 12})
    assert prepare_turn(model, memory, ASKED, {}, schema={"type": "null"}).settings.schema == {"type": "null"}


def test_whose_items_are_recalled_how_many_and_in_which_mode(memory: ContinuousMemory):
    recalled, _ = prepared(memory, {})
    assert ids(recalled) == ["key"] and recalled.mode == memory.mode
    assert ids(prepared(memory, {"k": 2})[0]) == ["key", "cat"]
    assert ids(prepared(memory, {}, where={"room": "attic"})[0]) == ["cat"]
    assert ids(prepared(memory, {"where": None}, where={"room": "attic"})[0]) == ["key"]
    assert ids(prepared(memory, {}, namespace="bob")[0]) == ["secret"]
    assert ids(prepared(memory, {"namespace": "default"}, namespace="bob")[0]) == ["key"]
    assert ids(prepared(memory, {"memory_ids": ["cat"]})[0]) == ["cat"]
    assert prepared(memory, {"mode": "both"}, mode="text")[0].mode == "both"
    assert prepared(memory, {}, mode="text")[0].mode == "text"
