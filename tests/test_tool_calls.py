"""Tool calls in text: what is read as a call and what stays text, and how tools and calls are written."""

import json
from typing import Any

import pytest
from helpers.tools import ADD, WEATHER, tool

from comem_memory.chat import Tool, ToolCall, tool_choice_of
from comem_memory.chat.tool_calls import BEGIN, END, call_schema, instructions, may_be_call, parse, write_call

NAMES = ["add", "weather"]
CALL = write_call("add", {"a": 1, "b": 2})
HERMES = f"{BEGIN}{CALL}{END}"


def read(text: str) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    rest, calls = parse(text, NAMES)
    return rest, [(call.name, call.arguments) for call in calls]


class TestParse:
    @pytest.mark.parametrize(
        "text",
        [
            HERMES,
            f"<tool_call>{CALL}</tool_call>",
            CALL,
            f"  {CALL}\n",
            '{"name": "add", "parameters": {"a": 1, "b": 2}}',
            f"[{CALL}]",
            f"```json\n{CALL}\n```",
            f"```\n[{CALL}]\n```",
            f"{BEGIN}```json\n{CALL}\n```{END}",
        ],
    )
    def test_a_call_in_every_format(self, text: str):
        assert read(text) == ("", [("add", {"a": 1, "b": 2})])

    @pytest.mark.parametrize("missing", range(len(END) + 1))
    def test_the_end_of_the_last_tag_may_be_cut(self, missing: int):
        assert read(HERMES[: len(HERMES) - missing]) == ("", [("add", {"a": 1, "b": 2})])

    def test_text_beside_calls_is_kept(self):
        weather = f"{BEGIN}{write_call('weather', {'place': 'Turin'})}{END}"
        calls = [("add", {"a": 1, "b": 2}), ("weather", {"place": "Turin"})]
        assert read(f"Let me see.\n{HERMES}\n{weather}") == ("Let me see.", calls)
        assert read(f"{HERMES} and {weather} then") == ("and  then", calls)
        assert read(f"[{CALL}, {write_call('weather', {'place': 'Turin'})}]") == ("", calls)

    def test_a_call_may_have_no_arguments(self):
        assert read('{"name": "add"}') == ("", [("add", {})])

    @pytest.mark.parametrize(
        "text",
        [
            "Hello.",
            "",
            '{"answer": 42}',
            "[1, 2]",
            "42",
            "[]",
            '{"name": "subtract", "arguments": {}}',
            '{"name": 1, "arguments": {}}',
            '{"name": "add", "arguments": "1 and 2"}',
            f'[{CALL}, {{"name": "subtract"}}]',
            f"Say {CALL}",
            f"{BEGIN}not JSON{END}",
            f'{BEGIN}{{"name": "subtract", "arguments": {{}}}}{END}',
            "[" * 100_000,
        ],
    )
    def test_what_is_no_call_stays_text(self, text: str):
        assert read(text) == (text, [])

    def test_beside_a_valid_call_an_invalid_one_stays_text(self):
        wrong = f"{BEGIN}not JSON{END}"
        assert read(f"{HERMES}{wrong}") == (wrong, [("add", {"a": 1, "b": 2})])

    def test_calls_have_ids_of_their_own(self):
        _, calls = parse(HERMES + HERMES, NAMES)
        assert len({call.id for call in calls}) == 2
        assert all(call.id.startswith("call_") for call in calls)


@pytest.mark.parametrize("text", ["", "<", "<tool_c", "<tool_call>\n{", "{", '{"a"', "[1", "`", "```json"])
def test_what_may_become_a_call(text: str):
    assert may_be_call(text)


@pytest.mark.parametrize("text", ["Hello", "<b>", "`a`", "(1)", " {"])
def test_what_cannot_become_a_call(text: str):
    assert not may_be_call(text)


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        (None, "auto"),
        (False, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        (True, "any"),
        ("any", "any"),
        ("required", "any"),
        ("add", "add"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
    ],
)
def test_a_tool_choice_in_every_form(choice: Any, meant: str):
    assert tool_choice_of(choice) == meant


def test_what_is_written_is_what_is_read():
    call = ToolCall("weather", {"place": "Zürich"})
    assert write_call(call.name, call.arguments) == '{"name": "weather", "arguments": {"place": "Zürich"}}'
    assert call.arguments_json == '{"place": "Zürich"}'
    assert read(write_call(call.name, call.arguments)) == ("", [("weather", {"place": "Zürich"})])


def test_instructions_hold_each_tool_and_the_format():
    text = instructions([ADD, WEATHER])
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"name": "')]
    assert lines == [ADD["function"], WEATHER["function"]]
    assert f'{BEGIN}{{"name": <function name>, "arguments": <arguments as a JSON object>}}{END}' in text


class TestCallSchema:
    def test_of_one_tool(self):
        parameters = ADD["function"]["parameters"] | {"additionalProperties": False}
        assert call_schema([ADD]) == {
            "type": "object",
            "properties": {"name": {"const": "add"}, "arguments": parameters},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }

    def test_of_several(self):
        assert call_schema([ADD, WEATHER]) == {"anyOf": [call_schema([ADD]), call_schema([WEATHER])]}

    @pytest.mark.parametrize("parameters", [{}, {"parameters": None}, {"parameters": {}}])
    def test_of_a_tool_without_parameters(self, parameters: dict[str, Any]):
        function: Tool = {"type": "function", "function": {"name": "sleep", **parameters}}
        assert call_schema([function])["properties"]["arguments"] == {
            "type": "object",
            "properties": {},
            "additionalProperties": False,
        }

    def test_other_arguments_stay_allowed_where_a_tool_says_so(self):
        free = tool("free")
        free["function"]["parameters"]["additionalProperties"] = True
        assert call_schema([free])["properties"]["arguments"]["additionalProperties"] is True

    def test_arguments_that_refer_to_themselves(self):
        node: Tool = tool("node", next={"anyOf": [{"$ref": "#"}, {"type": "null"}]})
        [call] = [call_schema([node])]
        assert call["properties"]["arguments"]["properties"]["next"]["anyOf"][0] == {"$ref": "#/$defs/node"}
        assert call["$defs"]["node"]["required"] == ["next"]
        named: Tool = {"type": "function", "function": {"name": "tree"}}
        named["function"]["parameters"] = {"$ref": "#/$defs/Tree", "$defs": {"Tree": {"type": "object"}}}
        assert call_schema([named])["properties"]["arguments"] == {"$ref": "#/$defs/tree.Tree"}

    def test_definitions_of_the_same_name_stay_apart(self):
        def with_definition(name: str, place: str, kind: str) -> Tool:
            one = tool(name, x={"$ref": f"#/{place}/Part"})
            one["function"]["parameters"][place] = {"Part": {"type": kind}}
            return one

        first, second = with_definition("one", "$defs", "integer"), with_definition("two", "definitions", "string")
        schema = call_schema([first, second])
        assert schema["$defs"] == {"one.Part": {"type": "integer"}, "two.Part": {"type": "string"}}
        found = [call["properties"]["arguments"]["properties"]["x"]["$ref"] for call in schema["anyOf"]]
        assert found == ["#/$defs/one.Part", "#/$defs/two.Part"]
        assert "definitions" in second["function"]["parameters"], "the caller's stays as it is"
