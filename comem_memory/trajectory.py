"""What an agent did for a task: what it saw and did, step by step. In a memory it is one item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from comem_memory.content import picture_of
from comem_memory.errors import InvalidItemError, shortened
from comem_memory.types import MemoryItem, Metadata, zoned

SUCCESS = "success"
"""The outcome that goes without saying."""
UNFINISHED = "unfinished"
"""The outcome of a run that did not come to an end."""


class _Frozen(BaseModel):
    """Frozen; what it cannot be made of is an `InvalidItemError` that says what it takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    takes: ClassVar[str]

    if not TYPE_CHECKING:  # type checkers see the fields

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise _invalid(type(self), error) from error


def _invalid(kind: type[_Frozen], error: ValidationError) -> InvalidItemError:
    found = error.errors()[0]
    if isinstance(cause := found.get("ctx", {}).get("error"), InvalidItemError):
        return cause
    place = ".".join(map(str, found["loc"]))
    return InvalidItemError(f"{kind.__name__} cannot be made: {shortened(place)}: {found['msg']}. Pass {kind.takes}.")


class Step(_Frozen):
    """What an agent saw, and what it did then.

    Args:
        picture: The screen before the action: a path, encoded image bytes (PNG, JPEG, ...), or a `PIL.Image.Image`;
            `None` where the agent looked at nothing new.
        action: What it did, as `click(element="Search")`.
        reasoning: Why, if it said so.

    Raises:
        InvalidItemError: An action without text, or a picture that is none of these.
    """

    takes = "picture (a path, encoded image bytes or a PIL image), action and reasoning (texts)"

    picture: Any = Field(default=None, repr=False)
    action: str
    reasoning: str | None = None

    @field_validator("picture")
    @classmethod
    def _picture_kind(cls, picture: Any) -> Any:
        return None if picture is None else picture_of(picture)

    @field_validator("action")
    @classmethod
    def _says_something(cls, action: str) -> str:
        if not action.strip():
            raise InvalidItemError("Step.action is empty. Say what the agent did, or leave the step out.")
        return action

    @property
    def text(self) -> str:
        """The reasoning, and on a line of its own the action."""
        return "\n".join(part for part in (self.reasoning, self.action) if part)


class Trajectory(_Frozen):
    """What an agent did for a task, from which it can later read how such a task is done.

    Args:
        task: What was to be done, by which it is found.
        steps: What the agent saw and did, at least one step.
        outcome: How it ended; anything but `success` is told to whoever reads it.
        domain: The site or program, which stands before the task: similar tasks elsewhere are then less alike.
        metadata: As in `MemoryItem`, without `outcome` and `domain`: an item has these two there, for filters.
        id: As in `MemoryItem`.
        said_at: When it happened, with a timezone.

    Raises:
        InvalidItemError: No task, no step, metadata with `outcome` or `domain`, or a value of another type.

    Examples:
        >>> seen = Step(picture="results.png", action="click(element='Desk lamp, 20 EUR')")
        >>> memory.add(Trajectory(task="Buy a lamp", steps=[seen], domain="shop"))             # doctest: +SKIP
    """

    takes = "task (a text) and steps (a list of Step); outcome, domain, metadata, id and said_at as in MemoryItem"

    task: str
    steps: tuple[Step, ...]
    outcome: str = SUCCESS
    domain: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    id: str | None = None
    said_at: datetime | None = None

    @field_validator("task")
    @classmethod
    def _is_found_by_something(cls, task: str) -> str:
        if not task.strip():
            raise InvalidItemError("Trajectory.task is empty. Say what was to be done: the trajectory is found by it.")
        return task

    @field_validator("metadata")
    @classmethod
    def _says_nothing_twice(cls, metadata: Metadata) -> Metadata:
        for name in ("outcome", "domain"):
            if name in metadata:
                raise InvalidItemError(f"Trajectory.metadata has {name!r}. Pass Trajectory({name}=...) instead.")
        return metadata

    @field_validator("said_at", mode="before")
    @classmethod
    def _time(cls, said_at: Any) -> Any:
        return None if said_at is None else zoned(said_at)

    @field_validator("steps")
    @classmethod
    def _has_steps(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if not steps:
            raise InvalidItemError("Trajectory.steps is empty. Pass at least one Step.")
        return steps

    def item(self) -> MemoryItem:
        """The trajectory as what a memory keeps: found by domain, task and first picture; long ones are thinned.

        Raises:
            InvalidItemError: Metadata that cannot be stored.
        """
        content: list[Any] = []
        for step in self.steps:
            content += [step.text] if step.picture is None else [step.picture, step.text]
        if self.outcome != SUCCESS:
            content.append(f"Outcome: {self.outcome}")
        said = {"outcome": self.outcome} | ({} if self.domain is None else {"domain": self.domain})
        return MemoryItem(
            text=self.task if self.domain is None else f"{self.domain}: {self.task}",
            content=content,
            thin=True,
            id=self.id,
            metadata=self.metadata | said,
            said_at=self.said_at,
        )


def action_text(name: str, arguments: Any = None) -> str:
    """A call of a tool, or an action with its arguments, as a text.

    Args:
        name: What was done.
        arguments: By name; anything but a mapping stands alone.

    Examples:
        >>> action_text("type", {"element": "Search", "text": "lamp"})
        'type(element="Search", text="lamp")'
    """
    if isinstance(arguments, Mapping):
        return f"{name}({', '.join(f'{key}={_value(value)}' for key, value in arguments.items())})"
    return f"{name}({'' if arguments is None else _value(arguments)})"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
