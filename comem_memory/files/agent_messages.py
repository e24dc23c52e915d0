"""Messages of an agent with tools, LangChain's or OpenAI's, as a trajectory; LangChain is not imported for it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files.encoded_pictures import KINDS, carried, is_picture, named_in
from comem_memory.trajectory import SUCCESS, UNFINISHED, Step, Trajectory, action_text

Tell = Callable[[str], None]
"""Is told what is left out of a trajectory, and why."""

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "function": "tool"}
"""LangChain's names of them."""
_PICTURES = (*KINDS, "computer_screenshot")


def trajectory_of(messages: Sequence[Any]) -> Trajectory | None:
    """What an agent did, as its messages tell; `None` if it called no tool and saw no picture.

    The task is what the user said first. Each of the agent's messages is a step: its tool calls, or else its answer,
    with its text as the reasoning, and the last picture before it, of a tool's result or of the user. What the user
    said later stands in the reasoning too. Texts of tools' results and thoughts are left out, as are calls of tools
    that failed or were refused (LangChain's `status="error"`). A run that ends without an answer is `unfinished`.

    Pictures are read from base64 and data: URLs; no other URL is fetched and no file opened. Pictures and calls that
    are left out are told in a warning.

    Args:
        messages: LangChain's messages; or as dictionaries, as `messages_to_dict`, `dumpd` or OpenAI's API have them.

    Raises:
        InvalidItemError: Something is no message, or the user said nothing.
    """
    told: list[str] = []
    trajectory = read_messages(messages, told.append)
    if told:
        warnings.warn(f"Of an agent's messages is left out: {'; '.join(told)}.", stacklevel=2)
    return trajectory


def read_messages(messages: Sequence[Any], tell: Tell) -> Trajectory | None:
    """As `trajectory_of`, which tells what is left out by `tell`."""
    task, said = "", list[str]()
    steps: list[Step] = []
    picture, unseen, failed, acted, answered = None, 0, 0, False, False
    turns = [_fields(message) for message in messages]
    for at, fields in enumerate(turns):
        role, text = fields["role"], _text(fields["content"])
        if role == "assistant":
            asked = fields["tool_calls"] or ()
            lost = _failed(turns[at + 1 :]) if asked else set()
            done = [call for call in asked if call.get("id") not in lost]
            failed += len(asked) - len(done)
            calls = "\n".join(action_text(name, arguments) for name, arguments in _calls(done))
            reasoning = "\n".join([*said, text] if calls and text else said)
            answered = not asked and bool(text)
            if calls or (text and not asked):
                steps.append(Step(picture=picture, action=calls or text, reasoning=reasoning or None))
                acted |= bool(calls) or picture is not None
                picture, said = None, []
            continue
        if role == "user" and text:
            answered = False
            said += [f"User: {text}"] if task else []
            task = task or text
        for shown in _pictures(fields["content"], tell):
            unseen += picture is not None
            picture = shown
    if unseen:
        tell(f"{unseen} pictures that another one followed before the agent acted")
    if failed:
        tell(f"{failed} calls of tools that failed or were refused")
    if not acted:
        return None
    return Trajectory(task=task, steps=steps, outcome=SUCCESS if answered else UNFINISHED)


def _fields(message: Any) -> dict[str, Any]:
    """Role, content, and tool calls or the result of one, of a message.

    Raises:
        InvalidItemError: It is none.
    """
    names = ("role", "type", "content", "tool_calls", "tool_call_id", "status", "additional_kwargs")
    if isinstance(message, Mapping):
        found = next((message[name] for name in ("data", "kwargs") if isinstance(message.get(name), Mapping)), message)
        values = {name: found.get(name) for name in names}
    else:
        values = {name: getattr(message, name, None) for name in names}
    role = values["role"] or values["type"]
    if not isinstance(role, str) or not isinstance(values["content"], str | Sequence | None):
        raise InvalidItemError(
            f"{shortened(repr(message))} is no message. Pass LangChain's messages, or dictionaries as messages_to_dict "
            "makes them."
        )
    role = _ROLES.get(role, role)
    if (values["additional_kwargs"] or {}).get("lc_source") == "summarization":
        role = "system"  # the user did not say it
    return values | {"role": role}


def _blocks(content: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    for block in content or ():
        yield {"type": "text", "text": block} if isinstance(block, str) else block


def _text(content: Any) -> str:
    kinds = ("text", "text-plain", "input_text", "output_text")
    texts = (str(block.get("text") or "") for block in _blocks(content) if block.get("type") in kinds)
    return "\n".join(text.strip() for text in texts if text.strip())


def _failed(after: Sequence[Mapping[str, Any]]) -> set[Any]:
    """Ids of the calls that ended in an error, by the messages after the one that called."""
    results = takewhile(lambda fields: fields["role"] != "assistant", after)
    return {fields["tool_call_id"] for fields in results if fields["status"] == "error"} - {None}


def _calls(calls: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for call in calls:
        called = call.get("function") or call  # OpenAI's form, or LangChain's
        arguments = called.get("args", called.get("arguments"))
        if isinstance(arguments, str):
            with suppress(ValueError):  # cut off: it stands as it is
                arguments = json.loads(arguments)
        yield str(called.get("name")), arguments


def _pictures(content: Any, tell: Tell) -> Iterator[bytes]:
    for block in _blocks(content):
        if is_picture(block, _PICTURES):
            try:
                yield _picture(block)
            except ValueError as error:
                tell(f"a picture ({error})")


def _picture(block: Mapping[str, Any]) -> bytes:
    """
    Raises:
        ValueError: It is not there as base64, or that is damaged.
    """
    named = named_in(block)
    url = str(named.get("url") or "")
    if (found := carried(named, url)) is not None:
        return found
    raise ValueError(f"{shortened(url)} is not fetched" if url else "its bytes are not there")
