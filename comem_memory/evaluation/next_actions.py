"""What an agent should do next: questions about the steps of trajectories, answered with one in memory.

Each question tells a task and the steps so far, shows the screen, and asks for the next action. In memory is the
trajectory that it is about (`own`), which says whether vectors carry what was done; or only a similar one (`similar`),
the fairer question, since an agent does not get the same task again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from comem_memory.errors import BenchmarkError
from comem_memory.evaluation.actions import Action, Match, match, read_action
from comem_memory.evaluation.comparison import EvaluationQuestion, QuestionSet
from comem_memory.metrics import normalise, token_f1
from comem_memory.trajectory import Trajectory
from comem_memory.types import MemoryItem

Pair = tuple[Trajectory, Trajectory]
"""A trajectory that is asked about, and the one that is in memory then."""


def own(trajectories: Iterable[Trajectory]) -> list[Pair]:
    """Each is asked about with itself in memory."""
    return [(one, one) for one in trajectories]


def similar(trajectories: Iterable[Trajectory]) -> list[Pair]:
    """Each is asked about with the one in memory whose task has most words in common with it, of the same domain.

    None that is asked about is in memory, nor one with the very same task. What has no word in common with another is
    left out.

    Raises:
        BenchmarkError: No two tasks are similar.
    """
    given = list(trajectories)
    asked, kept, pairs = set[int](), set[int](), list[Pair]()
    for number, one in enumerate(given):
        if number in kept:
            continue
        likeness = {
            place: token_f1(other.task, one.task)
            for place, other in enumerate(given)
            if place not in asked and other.domain == one.domain and normalise(other.task) != normalise(one.task)
        }
        best = max(likeness, key=likeness.__getitem__, default=None)
        if best is not None and likeness[best] > 0:
            asked.add(number)
            kept.add(best)
            pairs.append((one, given[best]))
    if not pairs:
        raise BenchmarkError("No two trajectories of one domain have similar tasks. Pass more of them.")
    return pairs


def next_actions(name: str, pairs: Sequence[Pair], *, searched: bool = False, limit: int | None = None) -> QuestionSet:
    """A question for each step whose element can be named; its kind is the kind of the action.

    A trajectory that is in memory for several pairs is one item.

    Args:
        name: Of the question set.
        pairs: As `own` or `similar` gives them, or others.
        searched: All that are in memory are items, to be searched among; else those of the selected questions.
        limit: A random selection of so many questions, always the same.

    Raises:
        BenchmarkError: No step names what it is done on.
    """
    items, asked = dict[str, MemoryItem](), list[EvaluationQuestion]()
    right = right_actions(pairs)
    kept = list[Trajectory]()
    for number, (one, remembered) in enumerate(pairs):
        if remembered not in kept:
            kept.append(remembered)
        item = remembered.item()
        item_id = item.id or f"{name}-{kept.index(remembered)}"
        items[item_id] = item.model_copy(update={"id": item_id})
        done = [read_action(step.action) for step in one.steps]
        for place, (step, action) in enumerate(zip(one.steps, done, strict=True)):
            if (id := f"{number}/{place}") in right:
                text = question(one, done[:place])
                asked.append(EvaluationQuestion(text, (action.element,), action.kind, (item_id,), step.picture, id=id))
    if not asked:
        raise BenchmarkError("No step of the trajectories names what it is done on. Pass others.")
    random.Random(0).shuffle(asked)
    asked = asked[:limit]
    needed = items if searched else {id for one in asked for id in one.item_ids}

    def score(said: Mapping[str, str]) -> dict[str, float]:
        return means([match(answer, right[id]) for id, answer in said.items()])

    return QuestionSet(name, [item for id, item in items.items() if id in needed], asked, score)


def right_actions(pairs: Sequence[Pair]) -> dict[str, Action]:
    """What is right, by the ids of the questions of `next_actions`."""
    steps = ((f"{n}/{place}", step) for n, (one, _) in enumerate(pairs) for place, step in enumerate(one.steps))
    read = ((id, read_action(step.action)) for id, step in steps)
    return {id: action for id, action in read if normalise(action.element)}


def question(trajectory: Trajectory, done: Sequence[Action]) -> str:
    """What is asked after some steps."""
    where = f" on {trajectory.domain}" if trajectory.domain else ""
    steps = "".join(f"\n{number}. {action}" for number, action in enumerate(done, 1)) or " none"
    return f"Task{where}: {trajectory.task}\nSteps so far:{steps}\nWhat is the next action?"


def means(matches: Sequence[Match]) -> dict[str, float]:
    """The measures of Mind2Web, as shares."""
    return {
        "element accuracy": fmean(one.element for one in matches),
        "operation F1": fmean(one.operation_f1 for one in matches),
        "step success": fmean(one.step for one in matches),
    }
