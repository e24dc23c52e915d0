"""Runs that browser-use saved: the JSON of `AgentHistoryList.save_to_file`, of its versions with and without paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from comem_memory.content import decoded
from comem_memory.errors import InvalidItemError
from comem_memory.files.agent_messages import Tell
from comem_memory.trajectory import SUCCESS, UNFINISHED, Step, Trajectory, action_text

_LABELS = ("aria-label", "placeholder", "title", "alt", "value", "name", "id")
"""Attributes that say what an element is, the clearest first."""


def read_browser_use(run: Mapping[str, Any], file: Path, tell: Tell) -> Trajectory:
    """The trajectory of a saved run.

    Early versions do not save the task: then it is taken from the `.txt` file of the same name. Where all pages are of
    one site, that is the domain. Actions name the element beside its number, which says nothing later.

    Args:
        run: The content of the file.
        file: Where it lies.
        tell: Is told what is left out of it.

    Raises:
        InvalidItemError: It does not say its task, or holds no step.
    """
    history = run["history"]
    steps: list[Step] = []
    silent = 0
    for one in history:
        output, state = one.get("model_output") or {}, one.get("state") or {}
        actions = "\n".join(_actions(output.get("action") or (), state.get("interacted_element") or ()))
        if not actions:
            silent += 1
            continue
        thought = output.get("next_goal") or (output.get("current_state") or {}).get("next_goal")
        steps.append(Step(picture=_screenshot(state, file, tell), action=actions, reasoning=thought or None))
    if silent:
        tell(f"{silent} steps without an action")
    if not steps:
        raise InvalidItemError("it holds no step")
    pages = (urlsplit((one.get("state") or {}).get("url") or "") for one in history)
    sites = {_site(page) for page in pages if page.scheme in ("http", "https")}
    started = (history[0].get("metadata") or {}).get("step_start_time")
    return Trajectory(
        task=_task(run, file),
        steps=steps,
        outcome=_outcome(history),
        domain=sites.pop() if len(sites) == 1 else None,
        said_at=None if started is None else datetime.fromtimestamp(started, UTC),
    )


def _site(page: SplitResult) -> str:
    """Host and port, without the user name and password that a URL may carry."""
    return page.netloc.rpartition("@")[2].lower()


def _task(run: Mapping[str, Any], file: Path) -> str:
    """
    Raises:
        InvalidItemError: It is said nowhere.
    """
    for one in run["history"]:
        if found := re.search(r"<user_request>\s*(.*?)\s*</user_request>", one.get("state_message") or "", re.DOTALL):
            return found[1]
    beside = file.with_suffix(".txt")
    if beside.is_file() and (task := beside.read_text(encoding="utf-8-sig").strip()):
        return task
    raise InvalidItemError(f"it does not say its task. Write it into {beside.name} beside it")


def _outcome(history: Sequence[Mapping[str, Any]]) -> str:
    results = history[-1].get("result") or [{}]
    if not results[-1].get("is_done"):
        return UNFINISHED
    return "failure" if results[-1].get("success") is False else SUCCESS


def _actions(actions: Sequence[Mapping[str, Any]], elements: Sequence[Any]) -> Iterator[str]:
    for at, action in enumerate(actions):
        element = _element(elements[at]) if at < len(elements) and elements[at] else ""
        for name, arguments in action.items():
            yield action_text(name, arguments or None) + element


def _element(element: Mapping[str, Any]) -> str:
    """What was acted on, as ` <button "Search">`."""
    attributes = element.get("attributes") or {}
    tag = str(element.get("node_name") or element.get("tag_name") or "element").lower()
    label = element.get("ax_name") or next((attributes[name] for name in _LABELS if attributes.get(name)), "")
    return f' <{tag} "{label}">' if label else f" <{tag}>"


def _screenshot(state: Mapping[str, Any], file: Path, tell: Tell) -> bytes | Path | None:
    """A step's screenshot; none of an empty tab."""
    if str(state.get("url") or "").startswith("about:"):
        return None
    if encoded := state.get("screenshot"):
        try:
            return decoded(encoded)
        except ValueError as error:
            tell(f"a screenshot ({error})")
            return None
    if not (named := state.get("screenshot_path")):
        return None
    path = file.parent / named
    if not path.is_file():
        tell(f"a screenshot ({named} is not there)")
        return None
    return path
