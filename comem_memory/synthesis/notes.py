"""Short notes as people and agents write them, lists of keys and values, random strings: texts to learn copying from.

A note follows from seed, split and number alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comem_memory.synthesis.note_patterns import (
    CONTINUED,
    LIST_ANSWERS,
    LIST_FORMATS,
    LIST_QUESTIONS,
    MINE,
    NAMED,
    PATTERNS,
    PEOPLE,
    SUBJECTS,
    USER,
    Pattern,
    Shares,
    Subject,
)
from comem_memory.synthesis.note_values import KIND_OF, KINDS, NoteValues
from comem_memory.synthesis.splits import Split

STRINGS = ("word", "syllable", "digits", "code", "made")
"""Kinds of what random strings are made of."""
WAYS = (
    *[(True, ". ", ".")] * 3,
    *((True, "\n", ""), (True, ".\n", "."), (False, ". ", "."), (False, "\n", "")),
    *((False, "; ", ""), (False, ", ", ""), (False, " / ", "")),
)
"""Whether sentences begin with a capital, what is between them, and how the last one ends."""


@dataclass(frozen=True)
class NoteQuestion:
    """A question about a fact of a note.

    Args:
        question: As it is asked.
        answer: A sentence that holds the value.
        value: As it stands in the note.
        kind: Of the value: word, name, number or code.
    """

    question: str
    answer: str
    value: str
    kind: str


@dataclass(frozen=True)
class Note:
    """A text, and a question about each of its facts; a random string has none and is to be restated."""

    text: str
    questions: tuple[NoteQuestion, ...]


@dataclass(frozen=True)
class NoteMixture:
    """What notes are made of.

    Args:
        max_facts: A note states up to so many facts, each number as likely; a list has at least two, where it may, and
            a random string up to twice as many words.
        sentences: Weight of notes in sentences.
        lists: Weight of lists of keys and values.
        strings: Weight of random strings.
        words: Half of the made-up names are made of these instead of syllables.
    """

    max_facts: int = 4
    sentences: float = 0.6
    lists: float = 0.25
    strings: float = 0.15
    words: Sequence[str] = ()


def note(seed: int, split: Split, number: int, mixture: NoteMixture) -> Note:
    """Note `number` of a split."""
    return _Writer(random.Random(f"{seed}/{split}/{number}/note"), split, mixture).note()


class _Writer:
    def __init__(self, rng: random.Random, split: Split, mixture: NoteMixture) -> None:
        self.rng, self.split, self.mixture = rng, split, mixture
        self.values = NoteValues(rng, split, mixture.words)
        self.questions: list[NoteQuestion] = []
        self.attributes: dict[Subject, list[tuple[str, str]]] = {}
        self.said: set[tuple[str, str]] = set()

    def note(self) -> Note:
        weights = self.mixture.sentences, self.mixture.lists, self.mixture.strings
        [write] = self.rng.choices((self._sentences, self._list, self._string), weights)
        return Note(write(), tuple(self.questions))

    def _pick(self, patterns: Shares[str]) -> str:
        return self.rng.choice(patterns[self.split])

    def _apart(self, kind: str, *others: str) -> str:
        """A value that no question which names the others gives away."""
        while True:
            value = self.values.draw(kind)
            if not any(value in other or other in value for other in others if other):
                return value

    def _ask(self, question: str, answer: str, slots: Mapping[str, str], value: str, kind: str) -> None:
        self.questions.append(NoteQuestion(_begun(question, slots), _begun(answer, slots), value, KIND_OF[kind]))

    # -- sentences ----------------------------------------------------------------------------------------------

    def _sentences(self) -> str:
        facts = self.rng.randint(1, self.mixture.max_facts)
        patterns = list(PATTERNS[self.split])
        said = list[tuple[str, Mapping[str, str]]]()
        while (left := facts - len(self.questions)) > 0:
            fitting = [pattern for pattern in patterns if len(pattern.asked) <= left]
            if fitting and self.rng.random() < 0.5:
                pattern = self.rng.choice(fitting)
                patterns.remove(pattern)
                said.append(self._of_pattern(pattern))
            else:
                said += self._of_subject(self.rng.randint(1, left))
        capitals, between, end = self.rng.choice(WAYS)
        written = (_begun(*one) if capitals else one[0].format_map(one[1]) for one in said)
        return between.join(written) + end

    def _of_pattern(self, pattern: Pattern) -> tuple[str, Mapping[str, str]]:
        slots = dict[str, str]()
        for slot in re.findall(r"{(\w+)}", pattern.sentence):
            slots[slot] = self._apart(slot.rstrip("2"), *slots.values())
        for asked in pattern.asked:
            question, answer = self.rng.choice(asked.questions), self.rng.choice(asked.answers)
            self._ask(question, answer, slots, slots[asked.slot], asked.slot.rstrip("2"))
        return pattern.sentence, slots

    def _of_subject(self, facts: int) -> list[tuple[str, Mapping[str, str]]]:
        """Sentences about one subject, up to so many."""
        [subject] = self.rng.choices(SUBJECTS, (5, 2, 1, 1, 1))
        frame = self.rng.choice((NAMED, NAMED, MINE, USER)) if subject is PEOPLE else NAMED
        name = self.values.draw(self.rng.choice(subject.named)) if frame is NAMED else ""
        unsaid = [one for one in self._attributes(subject) if (name, one[0]) not in self.said]
        sentences = list[tuple[str, Mapping[str, str]]]()
        for label, kind in self.rng.sample(unsaid, min(facts, len(unsaid))):
            self.said.add((name, label))
            slots = {"n": name, "a": label, "v": self._apart(kind, name, label)}
            continued = sentences and self.rng.random() < 0.6
            sentences.append((self._pick(CONTINUED if continued else frame.notes), slots))
            self._ask(self._pick(frame.questions), f"{self._pick(frame.answers)}.", slots, slots["v"], kind)
        return sentences

    def _attributes(self, subject: Subject) -> list[tuple[str, str]]:
        """Four of its attributes, the same for all of its kind in this note, so that what tells them apart is whose."""
        if subject not in self.attributes:
            self.attributes[subject] = self.rng.sample(subject.attributes, 4)
        return self.attributes[subject]

    # -- lists and strings --------------------------------------------------------------------------------------

    def _list(self) -> str:
        form = self.rng.choice(LIST_FORMATS[self.split])
        spelled = self.rng.choice((str, str, str.capitalize, str.upper))
        most = self.mixture.max_facts
        pairs = dict[str, str]()
        count = self.rng.randint(min(2, most), most)
        while len(pairs) < count:
            label, kind = self._label()
            key = spelled(label if form.joint == " " else re.sub(r"\W+", form.joint, label))
            if key in pairs:
                continue
            pairs[key] = self._apart(kind, key)
            slots = {"k": key, "v": pairs[key]}
            self._ask(self._pick(LIST_QUESTIONS), self._pick(LIST_ANSWERS), slots, pairs[key], kind)
        written = form.between.join(form.pair.format(k=key, v=value) for key, value in pairs.items())
        return f"{form.before}{written}{form.after}"

    def _label(self) -> tuple[str, str]:
        """Of a key, and the kind of its value; half are random."""
        if self.rng.random() < 0.5:
            return self.rng.choice(self.rng.choice(SUBJECTS).attributes)
        kind = self.rng.choice(KINDS[self.rng.choice(tuple(KINDS))])
        return self.values.draw(self.rng.choice(("word", "words"))), kind

    def _string(self) -> str:
        kinds = self.rng.choice((*((kind,) for kind in STRINGS), STRINGS))
        between = self.rng.choice((" ", " ", " ", ", ", "-", " / ", "\n"))
        count = self.rng.randint(2, 2 * self.mixture.max_facts)
        return between.join(self.values.draw(self.rng.choice(kinds)) for _ in range(count))


def _begun(pattern: str, slots: Mapping[str, str]) -> str:
    """With a capital, but a value stays as it is."""
    text = pattern.format_map(slots)
    if pattern.startswith("{") and not (text.startswith("the ") and not pattern.startswith("{v}")):
        return text
    return text[0].upper() + text[1:]
