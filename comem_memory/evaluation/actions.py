"""An action on an element of a page, read from the ways in which agents write it, and compared as Mind2Web compares."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from comem_memory.metrics import contains, normalise

KINDS = {
    "click": ("click", "tap", "press", "push", "hover", "enter", "click_element_by_index"),
    "type": ("type", "write", "fill", "input", "input_text"),
    "select": ("select", "selection", "choose", "pick"),
}
"""Words for the same kind of action; as in Mind2Web, hovering and pressing Enter are clicks."""
_SAME = {word: kind for kind, words in KINDS.items() for word in words}
_ELEMENT = ("element", "description", "field_description", "label", "target", "selector", "element_id")
_VALUE = ("text", "value", "option", "key", "direction", "answer", "page_name", "url")
_NAME = ("name", "action", "action_type", "type")
_ARGUMENT = re.compile(r"""(?:^|,)\s*(\w+)\s*=\s*(?:(["'])((?:\\.|(?!\2).)*)\2|([^,]+))""")
"""A name, and its value with quotes (the quote, what stands in it) or without."""


@dataclass(frozen=True)
class Action:
    """What is done on a page; as text `click "Help"`, `type "blue" into "Colour"` or `select "blue" from "Colour"`.

    Args:
        kind: `click`, `type`, `select`, or another word.
        element: What stands on the element, or what it is called.
        value: What is typed or selected.
    """

    kind: str
    element: str = ""
    value: str = ""

    def __str__(self) -> str:
        if self.value:
            return f'{self.kind} "{self.value}" {"from" if self.kind == "select" else "into"} "{self.element}"'
        return f'{self.kind} "{self.element}"' if self.element else self.kind


class Match(NamedTuple):
    """How an answer compares with the right action."""

    element: bool
    """Its first line names the right element, as whole words."""
    operation_f1: float
    """Harmonic mean of precision and recall of the different words of kind and value, as Mind2Web's evaluation does."""

    @property
    def step(self) -> bool:
        """Element, kind and value are right."""
        return self.element and self.operation_f1 == 1


def match(said: str, right: Action) -> Match:
    """Compares an answer with the right action.

    Args:
        said: What the model says; its first line with words counts.
        right: The right action.
    """
    line = next((line for line in said.splitlines() if normalise(line)), "")
    words = [{action.kind, *normalise(action.value).split()} - {""} for action in (read_action(line), right)]
    common = len(words[0] & words[1])
    return Match(contains(line, right.element), 2 * common / (len(words[0]) + len(words[1])))


def read_action(text: str) -> Action:
    """The first action that a text names; what is in no known form is its kind and then its element.

    It reads `[button] Save -> CLICK` and `[textbox] Colour -> TYPE: blue` (Mind2Web), `{"name": "click", "arguments":
    {"description": "Save"}}` (CoMEM's authors), `click(index=5) <button "Save">` (browser-use),
    `click(element="Save")`, `type "blue" into "Colour"`, and plain words.
    """
    if found := re.search(r"\{.*\}", text, re.DOTALL):
        try:
            return _from_json(json.loads(found[0]))
        except (ValueError, AttributeError):
            pass
    if found := re.search(r"^\s*(?:\[[^\]]*\])?\s*(.*?)\s*->\s*(\w+)(?::\s*(.*))?", text, re.MULTILINE):
        return Action(_kind(found[2]), found[1], (found[3] or "").strip())
    if found := re.search(r"(\w+)\((.*)\).*", text):
        if tagged := re.match(r'(\w+)\((.*?)\)\s*<[\w-]+(?: "(.*)")?>', found[0]):
            return _called(tagged[1], _arguments(tagged[2]) | {"element": tagged[3]})
        return _called(found[1], _arguments(found[2]) or {"element": found[2].strip("\"' ")})
    return _from_words(text)


def _arguments(text: str) -> dict[str, str]:
    return {
        name: re.sub(r"\\([\"'\\])", r"\1", quoted) or bare.strip() for name, _, quoted, bare in _ARGUMENT.findall(text)
    }


def _from_json(action: Mapping[str, Any]) -> Action:
    """
    Raises:
        ValueError: It names no action.
    """
    name = next((action[key] for key in _NAME if isinstance(action.get(key), str)), None)
    if name is not None:
        return _called(name, action.get("arguments", action))
    [(name, arguments)] = action.items()
    return _called(name, arguments)


def _called(name: str, arguments: Mapping[str, Any]) -> Action:
    element, value = (
        next((str(arguments[key]) for key in keys if arguments.get(key)), "") for keys in (_ELEMENT, _VALUE)
    )
    kind = _kind(name)
    return Action(kind, element, value) if element or kind in ("type", "select") else Action(kind, value)


def _from_words(text: str) -> Action:
    quoted = re.search(r'(\w+)\s+"([^"]*)"\s+(?:in|into|from|on|to)\s+(?:the\s+)?"([^"]*)"', text)
    if quoted:
        return Action(_kind(quoted[1], quoted[2]), quoted[3], quoted[2])
    known = rf"\b({'|'.join(_SAME)})\b"
    found = re.search(known, text, re.IGNORECASE) or re.search(r"(\w+)", text)
    if found is None:
        return Action("")
    rest = re.sub(r"^\s+(?:on\s+)?(?:the\s+)?", "", text[found.end() :].split("\n")[0]).strip(" \"'.:")
    value, into, element = rest.partition(" into ")
    if not into:
        value, into, element = rest.partition(" from ")
    if into and _kind(found[1], value) in ("type", "select"):
        return Action(_kind(found[1], value), element.strip("\"'. "), value.strip("\"'"))
    return Action(_kind(found[1]), rest)


def _kind(word: str, value: str = "") -> str:
    word = word.lower()
    return "type" if word == "enter" and value else _SAME.get(word, word)
