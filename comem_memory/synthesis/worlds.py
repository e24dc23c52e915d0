"""Made-up worlds: items of a few facts each, with questions, to train a memory encoder on.

Nothing here is true of a real country; real entities are for tests. Everything follows from the seed, and the shipped
encoder's items follow from this file, `domains.py`, `values.py` and `words.py` as they are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from comem_memory.synthesis.domains import DOMAINS, OPENINGS, QUESTIONS, STATEMENTS, WHAT, Attribute
from comem_memory.synthesis.values import Values


@dataclass(frozen=True)
class Question:
    text: str
    value: str
    """What is asked for."""
    answer: str
    """A sentence that says it, as the frozen model itself would answer."""
    names_item: bool = True
    """Whether the question says which item it is about, so that it can be asked among several."""


@dataclass(frozen=True)
class Sample:
    """One item and what can be asked about it."""

    text: str
    questions: list[Question] = field(default_factory=list)


NUM_FACTS = (1, 2, 3, 4, 5, 6, 7, 8, 8, 8)


def samples(seed: int, words: Sequence[str] = (), num_facts: Sequence[int] = NUM_FACTS) -> Iterator[Sample]:
    """An endless stream of items, the same for the same seed.

    Args:
        seed: of everything that is drawn.
        words: half of the made-up names are made of these instead of syllables.
        num_facts: an item has one of these numbers of facts, each as likely as it is frequent here.
    """
    world = _World(random.Random(seed), words, num_facts)
    while True:
        yield world.sample()


class _World:
    def __init__(self, rng: random.Random, words: Sequence[str], num_facts: Sequence[int]) -> None:
        self.rng, self.num_facts = rng, num_facts
        self.values = Values(rng, words)

    def sample(self) -> Sample:
        rng = self.rng
        domain = rng.choice((*DOMAINS, *DOMAINS[:1] * 6, *DOMAINS[1:2] * 2))  # half are places, a quarter people
        name = self.values.draw(domain.name)
        noun = rng.choice(domain.nouns)
        pronoun, possessive = domain.pronoun, domain.possessive
        if pronoun == "she" and rng.random() < 0.5:
            pronoun, possessive = "he", "his"
        self.values.name = name
        opening, place = rng.choice(OPENINGS), self.values.draw(domain.where.kind)
        chosen = rng.sample(domain.attributes, rng.choice(self.num_facts))
        sentences = [polished(opening.format(n=name, k=noun, x=place))] if opening else []
        questions = []
        for position, attribute in enumerate(chosen):
            value = self.values.draw(attribute.kind)
            named = rng.random() < 0.5 or (position == 0 and not opening)
            pattern = rng.choice(attribute.sentences if rng.random() < 0.55 else STATEMENTS)
            if not opening and position == 0 and "{n}" not in pattern:
                pattern = "the {a} of {n} is {v}"
            sentence = pattern.format(
                n=name if named else pronoun,
                s=f"{name}'s" if named else possessive,
                p=possessive,
                a=attribute.label,
                v=value,
            )
            sentences.append(polished(sentence))
            general = rng.random() >= 0.55
            questions.append(self._ask(attribute, name, value, general=general))
        rng.shuffle(questions)
        if "{k}" in opening and rng.random() < 0.2:
            questions.insert(rng.randint(0, len(questions)), self._ask(WHAT, name, noun))
        if "{x}" in opening:
            questions.insert(rng.choice((0, len(questions))), self._ask(domain.where, name, place))
        separator = "\n" if rng.random() < 0.08 else " "
        return Sample(separator.join(sentences), questions)

    def _ask(self, attribute: Attribute, name: str, value: str, *, general: bool = False) -> Question:
        """A question in the attribute's own words or, if general, in words that fit any."""
        asked = self.rng.choice(QUESTIONS if general else attribute.questions)
        names_item = "{n}" in asked
        said = [*(["the {a} of {n} is {v}"] if general else []), *(s for s in attribute.sentences if "{n}" in s)]
        answer = self.rng.choice(said or ["the {a} of {n} is {v}"]) if names_item else "the {a} is {v}"
        answer = answer.format(n=name, a=attribute.label, v=value)
        return Question(asked.format(n=name, a=attribute.label), value, polished(answer), names_item)


def polished(sentence: str) -> str:
    sentence = re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", sentence)
    return sentence[0].upper() + sentence[1:] + "."
