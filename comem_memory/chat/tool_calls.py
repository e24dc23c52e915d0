"""Tool calls as models write them: put into prompts, forced by a grammar, and read from what the model said.

Two formats are read: Hermes (`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, as Qwen and SmolLM write it)
and plain JSON (`{"name": ..., "parameters": {...}}`, as Llama writes it; also in a list or a code fence).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Tool = dict[str, Any]
"""As OpenAI and transformers write it: `{"type": "function", "function": {"name", "description", "parameters"}}`."""

MARK = "<tool_call>"
BEGIN, END = f"{MARK}\n", "\n</tool_call>"
_CUT = "|".join(END.strip()[:length] for length in range(1, len(END.strip())))
_HERMES = re.compile(rf"{MARK}(.*?)(?:{END.strip()}|(?:{_CUT})?$)", re.DOTALL)
"""The end of the last call may be missing, or cut."""
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_OPENINGS = (MARK, "{", "[", "```")

_INSTRUCTIONS = """You can call these functions:
{tools}

To call one, answer with nothing but a JSON object within <tool_call></tool_call> tags:
<tool_call>
{{"name": <function name>, "arguments": <arguments as a JSON object>}}
</tool_call>"""


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called."""

    name: str
    arguments: dict[str, Any]
    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")

    @property
    def arguments_json(self) -> str:
        return json.dumps(self.arguments, ensure_ascii=False)


def instructions(tools: Sequence[Tool]) -> str:
    """For the system turn of a model whose own chat template knows no tools."""
    return _INSTRUCTIONS.format(tools="\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools))


def write_call(name: str, arguments: Any) -> str:
    """A call as JSON; in the Hermes format it stands between `BEGIN` and `END`."""
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def tool_choice_of(choice: str | dict[str, Any] | bool | None) -> str:
    """A tool choice in any form that the frameworks give it, as `auto`, `none`, `any` or a tool's name."""
    if isinstance(choice, dict):  # OpenAI's form
        return str(choice["function"]["name"])
    if isinstance(choice, bool) or choice == "required":
        return "any" if choice else "auto"
    return choice or "auto"


def call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """The JSON schema of a call to one of these tools."""
    calls, definitions = [], dict[str, Any]()
    for tool in tools:
        function = tool["function"]
        written = json.dumps(function.get("parameters") or {"type": "object", "properties": {}})
        for place in ("$defs", "definitions"):
            written = written.replace(f'"#/{place}/', f'"#/$defs/{function["name"]}.')
        if '"$ref": "#"' in written:
            written = written.replace('"$ref": "#"', f'"$ref": "#/$defs/{function["name"]}"')
            definitions[function["name"]] = json.loads(written)
        parameters = json.loads(written)
        if "$ref" not in parameters:
            parameters.setdefault("additionalProperties", False)
        for place in ("$defs", "definitions"):
            definitions |= {f"{function['name']}.{name}": one for name, one in parameters.pop(place, {}).items()}
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": function["name"]}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return schema | ({"$defs": definitions} if definitions else {})


def parse(text: str, names: Sequence[str]) -> tuple[str, list[ToolCall]]:
    """What the model said besides its calls, and the calls to tools of these names; what is no valid call is text."""
    calls: list[ToolCall] = []

    def taken(match: re.Match[str]) -> str:
        found = _calls(match[1], names)
        calls.extend(found)
        return "" if found else match[0]

    rest = _HERMES.sub(taken, text).strip()
    if not calls and (found := _calls(rest, names)):
        return "", found
    return rest, calls


def may_be_call(text: str) -> bool:
    """Whether what the model has said so far may turn out to be a call."""
    return any(opening.startswith(text) or text.startswith(opening) for opening in _OPENINGS)


def _calls(text: str, names: Sequence[str]) -> list[ToolCall]:
    text = text.strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        said = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return []
    calls = [_call(one) for one in (said if isinstance(said, list) else [said])]
    valid = [call for call in calls if call is not None and call.name in names]
    return valid if len(valid) == len(calls) else []


def _call(said: Any) -> ToolCall | None:
    if not isinstance(said, dict):
        return None
    name, arguments = said.get("name"), said.get("arguments", said.get("parameters", {}))
    return ToolCall(name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None
