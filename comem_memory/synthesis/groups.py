"""Made-up items, several at a time, and questions: facts, yes or no, which of them, pictures, what is not there.

Items are made-up things of `topics` and `agent_topics`, some written in another language (`languages`), some with a
picture: a scene (`scenes`) or an emoji. A group follows from seed, split and number alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from comem_memory.files import load_image
from comem_memory.synthesis import phrases
from comem_memory.synthesis.agent_topics import AGENT_TOPICS
from comem_memory.synthesis.emoji import Picture
from comem_memory.synthesis.languages import LANGUAGES, TRANSLATED, Phrases
from comem_memory.synthesis.scenes import Scene, scene
from comem_memory.synthesis.splits import Split, patterns_of
from comem_memory.synthesis.topics import TOPICS, Attribute, Topic
from comem_memory.synthesis.values import Values

ITEMS = 10
"""Of a group, unless its mixture says otherwise; the most that a question sees."""
TASKS = 3
"""Questions about each item, unless its mixture says otherwise."""
REFUSALS = (
    "not know",
    "don't know",
    "not remember",
    "don't remember",
    "not in my memory",
    "no memory",
    "not something I remember",
    "does not say",
    "doesn't say",
    "not mentioned",
    "not provided",
    "not specified",
    "not stated",
    "no information",
    "unknown",
)
"""Who says one of these says that the answer is not there."""


@dataclass(frozen=True)
class Fact:
    label: str
    kind: str
    """The kind of value; only values of one kind can be taken for each other."""
    value: str


@dataclass(frozen=True)
class GroupItem:
    """A text, a picture, or both.

    Args:
        text: Empty where there is only the picture.
        image: A scene or an emoji.
        name: The thing that the item is about.
        facts: What the text states.
        language: Language of the text.
        topic: What kind of thing it is about.
    """

    text: str
    image: Scene | Picture | None
    name: str
    facts: tuple[Fact, ...]
    language: str
    topic: str

    def picture(self) -> Image.Image | None:
        if isinstance(self.image, Picture):
            return load_image(self.image.path)
        return self.image.draw() if self.image else None


@dataclass(frozen=True)
class Task:
    """A question about an item of a group.

    Args:
        question: As it is asked.
        answer: The known right answer, a short sentence.
        right: Whatever contains one of these, and none of what is `wrong`, is right too.
        about: Position of its item in the group.
        kind: Fact, yes or no, which, picture, text and picture, not in memory.
        language: Language of question and answer.
        value_kind: Kind of the value asked for, if the items' texts state it; "name" for the name of an item.
        wrong: See `right`.
        names_item: The question says which item it is about, so that it can be asked among several.
    """

    question: str
    answer: str
    right: tuple[str, ...]
    about: int
    kind: str
    language: str = "english"
    value_kind: str | None = None
    wrong: tuple[str, ...] = ()
    names_item: bool = True


@dataclass(frozen=True)
class Group:
    items: list[GroupItem]
    tasks: list[Task]


@dataclass(frozen=True)
class Mixture:
    """What groups are made of.

    Args:
        topics: Topics of items that are written in English alone.
        agents: Share of the English items that are of `agent_topics` instead of `topics`.
        languages: Languages of the other items, and of the questions about them.
        translated: Share of items in other languages.
        emoji: Pictures that items may have besides scenes.
        pictured: Share of items with a picture.
        without_text: Share of the items with a picture that have no text.
        words: Half of the made-up names are made of these instead of syllables.
        max_facts: An item states up to so many facts, each number as likely; by default all that its topic has.
        items: Items of a group, at least 2.
        questions: Most questions about an item.
    """

    topics: tuple[Topic, ...] = TOPICS
    agents: float = 0.4
    languages: tuple[str, ...] = LANGUAGES
    translated: float = 0.25
    emoji: Sequence[Picture] = ()
    pictured: float = 0.25
    without_text: float = 0.15
    words: Sequence[str] = ()
    max_facts: int | None = None
    items: int = ITEMS
    questions: int = TASKS


def group(seed: int, split: Split, number: int, mixture: Mixture) -> Group:
    """Group `number` of a split: items of different names, and questions about each."""
    return _Writer(random.Random(f"{seed}/{split}/{number}"), split, mixture).group()


@dataclass(frozen=True)
class _Told:
    fact: Fact
    phrases: dict[str, Phrases]
    """By language."""


@dataclass(frozen=True)
class _Thing:
    item: GroupItem
    told: list[_Told]
    untold: list[Attribute]
    """What its text could say, and does not."""


class _Writer:
    def __init__(self, rng: random.Random, split: Split, mixture: Mixture) -> None:
        self.rng, self.split, self.mixture = rng, split, mixture
        self.values = Values(rng, split, mixture.words)

    def group(self) -> Group:
        things: dict[str, _Thing] = {}
        while len(things) < self.mixture.items:
            translated = self.rng.random() < self.mixture.translated
            thing = self._pictured(self._translated() if translated else self._english())
            things.setdefault(thing.item.name.casefold(), thing)
        ordered = list(things.values())
        tasks = [task for position in range(len(ordered)) for task in self._tasks(ordered, position)]
        return Group([thing.item for thing in ordered], tasks)

    def _pick(self, patterns: Sequence[str]) -> str:
        return self.rng.choice(patterns_of(patterns, self.split))

    def _most(self, attributes: Sequence[object]) -> int:
        """Facts of an item that could have all of these."""
        return min(len(attributes), self.mixture.max_facts or len(attributes))

    # -- items --------------------------------------------------------------------------------------------------

    def _english(self) -> _Thing:
        rng = self.rng
        topic = rng.choice(AGENT_TOPICS if rng.random() < self.mixture.agents else self.mixture.topics)
        name = self.values.draw(topic.named)
        subject, possessive = rng.choice(topic.pronouns)
        chosen = rng.sample(topic.attributes, rng.randint(1, self._most(topic.attributes)))
        opening = len(chosen) == 1 or rng.random() < 0.7
        said = [_polished(self._pick(phrases.OPENINGS).format(n=name, k=rng.choice(topic.nouns)))] if opening else []
        told = []
        for attribute in chosen:
            fact = Fact(attribute.label, attribute.kind, self.values.draw(attribute.kind))
            told.append(_Told(fact, {"english": Phrases(attribute.sentences, attribute.questions)}))
            pattern = self._pick(attribute.sentences if rng.random() < 0.75 else phrases.STATEMENTS)
            named = not said or rng.random() < 0.4
            whose = f"{name}'s" if named else possessive
            said.append(
                _polished(
                    pattern.format(n=name if named else subject, s=whose, p=possessive, a=attribute.label, v=fact.value)
                )
            )
        text = ("\n" if rng.random() < 0.08 else " ").join(said)
        untold = [attribute for attribute in topic.attributes if attribute not in chosen]
        item = GroupItem(text, None, name, tuple(one.fact for one in told), "english", topic.name)
        return _Thing(item, told, untold)

    def _translated(self) -> _Thing:
        rng = self.rng
        language = rng.choice(self.mixture.languages)
        named = rng.choice(sorted({one.named for one in TRANSLATED}))
        name = self.values.draw(named)
        known = [one for one in TRANSLATED if one.named == named]
        most = self._most(known)
        chosen = rng.sample(known, rng.randint(min(2, most), most))
        told = [_Told(Fact(one.label, one.kind, self.values.draw(one.kind)), one.phrases) for one in chosen]
        text = " ".join(
            _sentence(self._pick(one.phrases[language].sentences).format(n=name, v=one.fact.value)) for one in told
        )
        item = GroupItem(text, None, name, tuple(one.fact for one in told), language, named)
        return _Thing(item, told, [])

    def _pictured(self, thing: _Thing) -> _Thing:
        rng = self.rng
        if rng.random() >= self.mixture.pictured:
            return thing
        emoji = self.mixture.emoji
        image = rng.choice(emoji) if emoji and rng.random() < 0.5 else scene(rng, self.split)
        if rng.random() < self.mixture.without_text:
            return _Thing(replace(thing.item, text="", image=image, facts=()), [], [])
        return replace(thing, item=replace(thing.item, image=image))

    # -- questions ----------------------------------------------------------------------------------------------

    def _tasks(self, things: list[_Thing], position: int) -> list[Task]:
        """Of different questions; first one about the picture alone, then one that needs text and picture."""
        item = things[position].item
        tasks: dict[str, Task] = {}
        for attempt in range(4 * self.mixture.questions):
            if item.image is not None and (attempt < 2 or not item.text):
                name = item.name if attempt and item.text else ""
                task: Task | None = self._of_picture(item.image, position, name)
            else:
                [ask] = self.rng.choices((self._fact, self._yes_or_no, self._which, self._not_there), (66, 12, 10, 12))
                task = ask(things, position)
            if task is not None:
                tasks.setdefault(task.question, task)
            if len(tasks) == self.mixture.questions:
                break
        return list(tasks.values())

    def _fact(self, things: list[_Thing], position: int) -> Task | None:
        thing = things[position]
        told = self.rng.choice(thing.told)
        language = self._language(told, thing.item.language)
        said = told.phrases[language]
        general = language == "english" and self.rng.random() < 0.25
        question = self._pick(phrases.QUESTIONS if general else said.questions)
        return Task(
            _capital(question.format(n=thing.item.name, a=told.fact.label)),
            self._statement(told, thing.item.name, language),
            (told.fact.value,),
            position,
            "fact",
            language,
            told.fact.kind,
        )

    def _language(self, told: _Told, own: str) -> str:
        """The item's own language half of the time."""
        if own in told.phrases and self.rng.random() < 0.5:
            return own
        return self.rng.choice([language for language in told.phrases if language in (*self.mixture.languages, own)])

    def _statement(self, told: _Told, name: str, language: str = "english") -> str:
        said = self._pick(told.phrases[language].sentences).format(n=name, v=told.fact.value)
        return _polished(said) if language == "english" else _sentence(said)

    def _yes_or_no(self, things: list[_Thing], position: int) -> Task | None:
        thing = things[position]
        told = self.rng.choice(thing.told)
        value, right, wrong = told.fact.value, "Yes", "No"
        if self.rng.random() < 0.5:
            value, right, wrong = self.values.draw(told.fact.kind), "No", "Yes"
            if value == told.fact.value:
                return None
        asked, true = (
            self._pick(told.phrases["english"].sentences).format(n=thing.item.name, v=one)
            for one in (value, told.fact.value)
        )
        question, answer = self._pick(phrases.YES_OR_NO).format(s=asked), _polished(f"{right}, {true}")
        return Task(question, answer, (right,), position, "yes or no", wrong=(wrong,))

    def _which(self, things: list[_Thing], position: int) -> Task | None:
        thing = things[position]
        told = self.rng.choice(thing.told)
        same = [fact for other in things for fact in other.item.facts if fact.value == told.fact.value]
        if len(same) > 1:
            return None
        question = self._pick(phrases.WHICH).format(a=told.fact.label, v=told.fact.value)
        answer = self._statement(told, thing.item.name)
        return Task(question, answer, (thing.item.name,), position, "which", value_kind="name")

    def _not_there(self, things: list[_Thing], position: int) -> Task | None:
        thing = things[position]
        if not thing.untold:
            return None
        question = self._pick(self.rng.choice(thing.untold).questions).format(n=thing.item.name)
        return Task(_capital(question), f"{self._pick(phrases.UNKNOWN)}.", REFUSALS, position, "not in memory")

    def _of_picture(self, image: Scene | Picture, position: int, name: str) -> Task:
        of, kind = (f" of {name}", "text and picture") if name else ("", "picture")
        if isinstance(image, Picture):
            question = self._pick(phrases.SEEN).format(of=of)
            answer = self._pick(phrases.SEEN_ANSWERS).format(v=image.name)
            return Task(question, f"{answer}.", (image.name,), position, kind, names_item=bool(name))
        ask, value, others = self.rng.choice(image.asked())
        question = self._pick(phrases.SCENES).format(of=of, ask=ask)
        answer = _polished(self._pick(phrases.SCENE_ANSWERS).format(v=value, ask=ask))
        return Task(question, answer, (value,), position, kind, wrong=others, names_item=bool(name))


def _sentence(said: str) -> str:
    return f"{_capital(said)}."


def _polished(sentence: str) -> str:
    return _sentence(re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", sentence))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
