"""Scripted conversations of users with an agent over several sessions, and whether what was told is recalled."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from comem_memory.evaluation.tables import Grid

SCRIPT = Path(__file__).parent.parent / "data" / "conversations.json"
"""Sentences about topics in four languages, of their own: nothing that decides what is kept was fitted on them."""
LANGUAGES = ("english", "german", "spanish", "chinese")
ROUNDS = 4
"""Times that every topic is asked about before anything is corrected: in other words each time, and then as first."""
_WORDS = (0, 1, 2, 0, 3)
"""Which of a topic's questions is asked in each round, so that the first and the fourth differ in nothing but what was
said between them."""

Kind = Literal["told", "again", "corrected", "contradicted", "statement", "small talk", "request", "forget", "question"]
About = Literal["told", "corrected", "contradicted", "forgotten", "time", "never said"]

TELLING: tuple[Kind, ...] = ("told", "again", "corrected", "contradicted")


@dataclass(frozen=True)
class Turn:
    """What a user says once.

    Args:
        user: Who says it.
        session: In which conversation.
        kind: What it is.
        text: The words.
        value: What is told, or asked for: a name or number that stands in no other topic and for no other user; or what
            is to be forgotten, in words.
        about: Of a question, what happened to the value before.
        round: Of a question, how often its topic was asked about, this time included.
        outdated: Of a question, values that were told before and do not hold any more.
        identifier: Of a question, whether the value is a number or code.
    """

    user: str
    session: str
    kind: Kind
    text: str
    value: str = ""
    about: About | None = None
    round: int = 0
    outdated: tuple[str, ...] = ()
    identifier: bool = False


def conversation(language: str, seed: int = 0, *, script: Path = SCRIPT) -> list[Turn]:
    """Two users, whose sessions alternate, 100 turns each of which 30 state something.

    Each user tells nine of twelve topics, says three of them again, asks about all twelve in four sessions, then
    corrects three, contradicts one without saying so, has one forgotten, and asks once more.

    Args:
        language: One of those of the script.
        seed: Which conversation.
        script: Sentences about topics, of the form of `SCRIPT`; of more topics, more are asked about and never told.
    """
    rng = random.Random(f"{language}/{seed}")
    sentences = _sentences(script)
    values = {topic: iter(rng.sample(known, len(known))) for topic, known in sentences["values"].items()}
    sessions = [
        list(_sessions(f"{language}-{seed}-{name}", sentences, language, rng, values)) for name in ("ada", "bob")
    ]
    return [turn for both in zip(*sessions, strict=True) for turns in both for turn in turns]


def _sessions(
    user: str, sentences: dict[str, Any], language: str, rng: random.Random, values: dict[str, Iterator[str]]
) -> Iterator[list[Turn]]:
    spoken = sentences["languages"][language]
    topics: dict[str, Any] = spoken["topics"]
    changing = rng.sample(sentences["changing"], 4)
    others = rng.sample([topic for topic in topics if topic not in changing], len(topics) - 4)
    forgotten, plain, unsaid = others[0], others[1:5], others[5:]
    told = {topic: next(values[topic]) for topic in (*changing, forgotten, *plain)}
    statements, small_talk, requests = (
        iter(rng.sample(spoken[kind], len(spoken[kind]))) for kind in ("statements", "small_talk", "requests")
    )
    number = 0

    def say(kind: Kind, text: str, value: str = "", **more: Any) -> Turn:
        return Turn(user, f"{user}-{number}", kind, text.format(v=value), value, **more)

    def besides(**counts: int) -> list[Turn]:
        rest = {"statement": statements, "small talk": small_talk, "request": requests}
        return [
            say(kind, next(rest[kind]))  # type: ignore[arg-type]
            for name, count in counts.items()
            for kind in [name.replace("_", " ")]
            for _ in range(count)
        ]

    def ask(topic: str, round: int, about: About, text: str | None = None, outdated: tuple[str, ...] = ()) -> Turn:
        identifier = topic in sentences["identifiers"]
        text = text or topics[topic]["asks"][(order[topic] + _WORDS[round - 1]) % len(topics[topic]["asks"])]
        settings = {"about": about, "round": round, "outdated": outdated, "identifier": identifier}
        return say("question", text, told.get(topic, ""), **settings)

    def mixed(turns: list[Turn]) -> list[Turn]:
        rng.shuffle(turns)
        return turns

    order = {topic: rng.randrange(5) for topic in topics}
    yield mixed([*(say("told", topics[t]["tell"], told[t]) for t in told), *besides(statement=7, small_talk=5)])
    number += 1
    again = [say("again", topics[topic]["again"], told[topic]) for topic in plain[:3]]
    yield mixed([*again, *besides(statement=7, small_talk=3, request=2)])
    for round in range(1, ROUNDS + 1):
        number += 1
        yield mixed([ask(t, round, "told") for t in told] + [ask(t, round, "never said") for t in unsaid])
    number += 1
    before = {topic: told[topic] for topic in changing}
    told |= {topic: next(values[topic]) for topic in changing}
    changes = [say("corrected", topics[topic]["correct"], told[topic]) for topic in changing[:3]]
    changes += [say("contradicted", topics[changing[3]]["tell"], told[changing[3]])]
    changes += [say("forget", topics[forgotten]["forget"], topics[forgotten]["about"])]
    yield mixed([*changes, *besides(small_talk=2)])
    number += 1
    last = [ask(topic, ROUNDS + 1, "corrected", outdated=(before[topic],)) for topic in changing[:3]]
    last += [ask(changing[3], ROUNDS + 1, "contradicted", outdated=(before[changing[3]],))]
    last += [ask(forgotten, ROUNDS + 1, "forgotten", outdated=(told[forgotten],))]
    last += [ask(topic, ROUNDS + 1, "time", topics[topic]["time"]) for topic in plain]
    yield mixed(last)


@cache
def _sentences(script: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(script.read_text(encoding="utf-8"))
    return content


# -- agents and what they recall --------------------------------------------------------------------------------


class Agent(Protocol):
    """What takes part in scripted conversations; it answers every turn, and always that it is not sure."""

    name: str

    def say(self, turn: Turn) -> list[str]:
        """Takes a turn, and returns the texts that its model was given for it, best first."""

    def kept(self, user: str) -> list[str]:
        """The texts of all that it keeps of a user."""


@dataclass(frozen=True)
class Recalled:
    """A turn, and what was recalled for it, best first."""

    turn: Turn
    texts: list[str]
    answer: str | None = None

    @property
    def right(self) -> bool:
        """What was asked for stands in the first text."""
        return bool(self.texts) and contains(self.texts[0], self.turn.value)

    @property
    def outdated(self) -> bool:
        """A value that does not hold any more stands in one of the texts."""
        return any(contains(text, value) for text in self.texts for value in self.turn.outdated)


def contains(text: str, value: str) -> bool:
    """Whether a value stands in a text as a whole; letters of scripts without spaces may touch it."""
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", text) is not None


@dataclass(frozen=True)
class Result:
    """How an agent did.

    Args:
        name: The agent's.
        shares: By measure, how many of how many.
        kept: Items kept for each 100 turns of a user.
        by_language: `shares` of each language.
    """

    name: str
    shares: dict[str, tuple[int, int]]
    kept: float
    by_language: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)


Test = tuple[Callable[[Recalled], bool], Callable[[Recalled], bool]]
"""Which turns count, and whether one of them is right."""


def _asked(about: About, round: int | None = None) -> Callable[[Recalled], bool]:
    return lambda one: one.turn.about == about and round in (None, one.turn.round)


MEASURES: dict[str, Test] = {
    "told: first, when asked for the first time": (_asked("told", 1), lambda one: one.right),
    "told: first, after each was asked three times": (_asked("told", ROUNDS), lambda one: one.right),
    "of these, numbers and codes": (
        lambda one: one.turn.identifier and _asked("told", ROUNDS)(one),
        lambda one: one.right,
    ),
    "told: first, when asked what was said last week": (_asked("time"), lambda one: one.right),
    "corrected: the new value first, the old one not recalled": (
        _asked("corrected"),
        lambda one: one.right and not one.outdated,
    ),
    "contradicted: the new value first, the old one not recalled": (
        _asked("contradicted"),
        lambda one: one.right and not one.outdated,
    ),
    "forgotten: not recalled": (_asked("forgotten"), lambda one: not one.outdated),
    "never said: nothing recalled": (_asked("never said"), lambda one: not one.texts),
    "told: answered": (
        lambda one: one.answer is not None and _asked("told", ROUNDS)(one),
        lambda one: contains(str(one.answer), one.turn.value),
    ),
}
AGAIN, APART = "said again: one item", "turns without another user's values"


def run(
    agent: Agent,
    *,
    languages: Sequence[str] = LANGUAGES,
    seeds: Sequence[int] = (0,),
    script: Path = SCRIPT,
    answer: Callable[[Turn], str] | None = None,
) -> Result:
    """Has an agent take part in conversations, and measures what it recalls.

    Args:
        agent: The agent, which starts without memories of these users.
        languages: Which of `LANGUAGES`.
        seeds: A conversation of each language for each.
        script: What they are made of, as `conversation` takes it.
        answer: Answers a question; asked where every topic was asked about three times before.
    """
    by_language, kept, users = dict[str, dict[str, tuple[int, int]]](), 0, 0
    for language in languages:
        shares = dict[str, list[bool]]()
        for seed in seeds:
            recalled = []
            turns = conversation(language, seed, script=script)
            for turn in turns:
                texts = agent.say(turn)
                wanted = answer is not None and turn.about == "told" and turn.round == ROUNDS
                recalled.append(Recalled(turn, texts, answer(turn) if wanted and answer is not None else None))
            for name, (counts, right) in MEASURES.items():
                shares.setdefault(name, []).extend(right(one) for one in recalled if counts(one))
            stored = {user: agent.kept(user) for user in {turn.user for turn in turns}}
            again = [turn for turn in turns if turn.kind == "again"]
            forgotten = {turn.outdated[0] for turn in turns if turn.about == "forgotten"}
            shares.setdefault(AGAIN, []).extend(
                sum(contains(text, turn.value) for text in stored[turn.user]) == 1
                for turn in again
                if turn.value not in forgotten
            )
            shares.setdefault(APART, []).extend(_apart(recalled))
            kept, users = kept + sum(map(len, stored.values())), users + len(stored)
        by_language[language] = {name: (sum(all), len(all)) for name, all in shares.items() if all}
    total = {
        name: (sum(one[name][0] for one in by_language.values()), sum(one[name][1] for one in by_language.values()))
        for name in next(iter(by_language.values()))
    }
    return Result(agent.name, total, kept / users, by_language)


def _apart(recalled: Sequence[Recalled]) -> Iterator[bool]:
    """For each question, whether no value that only another user told was recalled."""
    told = {(one.turn.user, one.turn.value) for one in recalled if one.turn.kind in TELLING}
    for one in recalled:
        if one.turn.kind == "question":
            theirs = [value for user, value in told if user != one.turn.user]
            yield not any(contains(text, value) for text in one.texts for value in theirs)


def table(results: Sequence[Result]) -> Grid:
    """A column for each agent."""
    names = [name for name in (*MEASURES, AGAIN, APART) if any(name in one.shares for one in results)]
    rows = [[name, *(_share(one.shares.get(name)) for one in results)] for name in names]
    rows += [["items kept for 100 turns, 30 of which state something", *(f"{one.kept:.0f}" for one in results)]]
    return Grid("What is recalled in scripted conversations", ["", *(one.name for one in results)], rows)


def _share(counts: tuple[int, int] | None) -> str:
    return "" if counts is None else f"{counts[0] / counts[1]:.0%} ({counts[0]} of {counts[1]})"
