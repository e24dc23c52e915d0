"""Trajectory files of CoMEM's authors, as the agents of WenyiWU0111/CoMEM-Agent write them.

`training_data_collector.py` has their form; what is left out follows `experience_memory.py` and
`data_preparation/help_functions.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comem_memory.content import decoded
from comem_memory.errors import InvalidItemError
from comem_memory.files.agent_messages import Tell
from comem_memory.files.encoded_pictures import from_data_url
from comem_memory.trajectory import Step, Trajectory

FEWEST_ROUNDS, MOST_ROUNDS = 3, 14
"""Files of fewer or more rounds are left out."""
LEFT_OUT = ("positive", "negative")
"""Folders beside `success`: parts of runs before and from their first mistake on."""


def read_comem_agent(run: Mapping[str, Any], file: Path, tell: Tell) -> Trajectory:
    """The trajectory of a file: of `dataset/domain/model/test/success/name.jsonl` its domain is `dataset_domain`.

    A step's action is the response as the agent gave it, which the authors' encoder reads. A round whose action and
    reasoning are those of the round before is left out.

    Args:
        run: The content of the file.
        file: Where it lies.
        tell: Is told what is left out of it.

    Raises:
        InvalidItemError: The file is left out: it has no task, too few or too many rounds, or did not succeed.
    """
    rounds, task = run["rounds"], str(run.get("task_description") or "").strip()
    count = run.get("total_rounds", len(rounds))
    if not FEWEST_ROUNDS <= count <= MOST_ROUNDS:
        raise InvalidItemError(f"it has {count} rounds, and {FEWEST_ROUNDS} to {MOST_ROUNDS} are read")
    if not task:
        raise InvalidItemError("its task_description is empty")
    if file.parent.name in LEFT_OUT:
        raise InvalidItemError(f"it is a part of a run that failed ({file.parent.name})")
    steps: list[Step] = []
    before: object = None
    left_out = 0
    for one in rounds:
        response = _response(one.get("response"))
        done = _done(response)
        if not response.strip() or done == before:
            left_out += 1
            continue
        before = done
        steps.append(Step(picture=_picture(one.get("messages") or (), tell), action=response))
    if left_out:
        tell(f"{left_out} rounds that repeat the one before or are empty")
    *_, dataset, domain, model, _, _, _ = ("",) * 6 + file.parts
    where = f"{dataset}_{domain}" if file.parent.name == "success" and dataset.strip("/") else None
    kept = {"model": model} if where else {}
    return Trajectory(task=task, steps=steps, domain=where, metadata=kept)


def _response(response: Any) -> str:
    """The text of a response: it may be alone in a list, and a message."""
    if isinstance(response, list):
        response = response[0] if response else ""
    if isinstance(response, Mapping):
        response = response.get("content")
    return str(response or "")


def _done(response: str) -> object:
    """Name and reasoning of the action in a response, by which it is told from the one before; else the response."""
    found = re.search(r"Action:\s*(\{.*\})|```json\s*([\s\S]*?)```", response)
    try:
        action = json.loads((found[1] or found[2]) if found else response)
        name = next((action[key] for key in ("name", "action", "action_type", "type") if key in action), None)
        arguments = action.get("arguments", action)
        if name is None:
            [(name, arguments)] = action.items()
        return str(name), str(arguments["reasoning"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return response


def _picture(messages: Any, tell: Tell) -> bytes | None:
    """The first picture of a round's messages."""
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if block.get("type") == "image_url":
                url = str(block["image_url"]["url"])
                try:
                    return from_data_url(url) if url.startswith("data:") else decoded(url)
                except ValueError as error:
                    tell(f"a picture ({error})")
                    return None
    return None
