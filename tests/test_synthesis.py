"""Corpora: disjoint splits, groups that hold what is asked, synthesis that resumes, and training on the result."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from hashlib import sha256
from typing import Any

import pytest

pytest.importorskip("faker", reason="training needs the `train` extra")

from comem_memory.evaluation.metrics import contains, normalise
from comem_memory.evaluation.question_sets import LANGUAGES, MADE_UP, chosen
from comem_memory.training import phrases
from comem_memory.training.agent_topics import AGENT_TOPICS
from comem_memory.training.groups import ITEMS, TASKS, Group, Mixture, group
from comem_memory.training.languages import TRANSLATED
from comem_memory.training.scenes import SIDE, Scene
from comem_memory.training.splits import SHARED, SPLITS, Split, patterns_of
from comem_memory.training.topics import TOPICS
from comem_memory.training.worlds import samples

GROUPS = 40


@pytest.fixture(scope="module")
def groups() -> dict[Split, list[Group]]:
    return {split: [group(1, split, number, Mixture()) for number in range(GROUPS)] for split in SPLITS}


def overlap(by_split: dict[Split, set[Any]]) -> set[Any]:
    assert all(by_split.values())
    return set[Any]().union(*(one & other for one, other in itertools.combinations(by_split.values(), 2)))


# -- what is drawn -----------------------------------------------------------------------------------------------


def test_the_shipped_encoders_items_are_what_they_were():
    """The first version's items, whose hash was taken before it was divided into files."""
    digest = sha256()
    for seed in (1, 7):
        for sample in itertools.islice(samples(seed), 1000):
            asked = [[q.text, q.value, q.answer, q.names_item] for q in sample.questions]
            digest.update(json.dumps([sample.text, asked]).encode())
    assert digest.hexdigest()[:24] == "b35852e2fe87c47dbe64f4f3"


def test_names_and_values_are_disjoint(groups: dict[Split, list[Group]]):
    names = {split: {item.name for drawn in groups[split] for item in drawn.items} for split in SPLITS}
    assert not overlap(names)
    values = {
        split: {
            (fact.kind, fact.value)
            for drawn in groups[split]
            for item in drawn.items
            for fact in item.facts
            if fact.kind not in SHARED
        }
        for split in SPLITS
    }
    assert not overlap(values)
    numbers = {
        split: {re.sub(r"\D", "", value) for _, value in values[split] if re.search(r"\d", value)} for split in SPLITS
    }
    assert not overlap(numbers)
    shapes = {
        split: {
            str(shape)
            for drawn in groups[split]
            for item in drawn.items
            if isinstance(item.image, Scene)
            for shape in (item.image.first, item.image.second)
        }
        for split in SPLITS
    }
    assert not overlap(shapes)


def test_patterns_are_disjoint_and_enough():
    general = [value for name, value in vars(phrases).items() if name.isupper()]
    attributes = [attribute for topic in TOPICS + AGENT_TOPICS for attribute in topic.attributes]
    translated = [said for one in TRANSLATED for said in one.phrases.values()]
    tables = [*general, *(said for one in [*attributes, *translated] for said in (one.sentences, one.questions))]
    assert len(tables) > 250
    for patterns in tables:
        assert not overlap({split: {*patterns_of(patterns, split)} for split in SPLITS}), patterns
        assert len({*patterns}) == len(patterns) >= 4, patterns
    assert all("{v}" in said and "{n}" in said for one in [*attributes, *translated] for said in one.sentences)
    assert all("{n}" in asked for one in [*attributes, *translated] for asked in one.questions)


def test_items_hold_what_is_asked(groups: dict[Split, list[Group]]):
    kinds = Counter[str]()
    for drawn in itertools.chain.from_iterable(groups.values()):
        assert len({item.name.casefold() for item in drawn.items}) == len(drawn.items) == ITEMS
        for task in drawn.tasks:
            kinds[task.kind] += 1
            item = drawn.items[task.about]
            assert "{" not in item.text + task.question + task.answer
            assert any(contains(task.answer, right) for right in task.right), task
            assert not any(contains(task.answer, wrong) for wrong in task.wrong), task
            match task.kind:
                case "fact":
                    assert contains(item.text, task.right[0]), (item, task)
                    assert item.name.casefold() in task.question.casefold(), (item, task)
                case "which":
                    told = {fact.value for fact in item.facts if contains(task.question, fact.value)}
                    others = [o for o in drawn.items if o is not item and {f.value for f in o.facts} & told]
                    assert told and not others, task
                case "not in memory":
                    assert item.name.casefold() in task.question.casefold()
                    assert not any(contains(task.answer, fact.value) for fact in item.facts if len(fact.value) > 2)
                case "picture" | "text and picture":
                    assert item.image is not None
                    assert (
                        (item.name.casefold() in task.question.casefold())
                        == task.names_item
                        == (task.kind != "picture")
                    )
                case kind:
                    assert kind == "yes or no"
                    assert task.answer.startswith(task.right)
    assert kinds.keys() == {"fact", "which", "yes or no", "not in memory", "picture", "text and picture"}
    assert min(kinds.values()) > 100
    per_item = Counter(
        (number, split, task.about)
        for split in SPLITS
        for number, drawn in enumerate(groups[split])
        for task in drawn.tasks
    )
    assert max(per_item.values()) == TASKS
    assert Counter(per_item.values())[TASKS] > 0.95 * len(per_item)


def test_items_are_asked_about_in_their_own_and_in_other_languages(groups: dict[Split, list[Group]]):
    asked = defaultdict[str, Counter[str]](Counter)
    for drawn in itertools.chain.from_iterable(groups.values()):
        for task in drawn.tasks:
            asked[drawn.items[task.about].language][task.language] += 1
    for language in LANGUAGES:
        assert asked[language][language] > 20
        assert sum(asked[language].values()) - asked[language][language] > 20


def test_lengths_are_those_of_notes_and_paragraphs(groups: dict[Split, list[Group]]):
    texts = [item.text for drawn in groups["train"] for item in drawn.items if item.text]
    words = sorted(len(text.split()) for text in texts)
    assert 5 <= words[0] <= 10
    assert 60 <= words[-1] <= 100  # about 1.6 tokens a word in the embedded model


def test_a_scene_shows_what_it_says(groups: dict[Split, list[Group]]):
    scenes = [i.image for drawn in groups["train"] for i in drawn.items if isinstance(i.image, Scene)]
    one = next(s for s in scenes if s.relation == "left of" and {s.first.colour, s.second.colour} == {"red", "blue"})
    picture = one.draw()
    assert picture.size == (SIDE, SIDE)
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    for shape, half in ((one.first, (0, 0, SIDE // 2, SIDE)), (one.second, (SIDE // 2, 0, SIDE, SIDE))):
        shown = {colour for _, colour in picture.crop(half).getcolors() or []}
        assert shown == {(255, 255, 255), colours[shape.colour]}
    assert (f"is left of the {one.second}", str(one.first), ()) in one.asked()


def test_a_group_is_the_same_in_every_process():
    drawn = "[group(1, 'train', n, Mixture()) for n in range(8)]"
    script = f"from comem_memory.training.groups import *; print({drawn})"
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True)
    assert said.stdout.strip() == str([group(1, "train", n, Mixture()) for n in range(8)])
    assert group(1, "train", 0, Mixture()) != group(2, "train", 0, Mixture())


# -- what is evaluated -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE_UP)
def test_question_sets_are_of_the_test_split(name: str, groups: dict[Split, list[Group]]):
    questions = chosen(name, limit=20)
    assert questions == chosen(name, limit=20) or name == "scenes"  # pictures are compared by identity
    items = {item.id: item for item in questions.items}
    assert len(questions.asked) == 20
    trained = {normalise(item.name) for split in SPLITS[:2] for drawn in groups[split] for item in drawn.items}
    for one in questions.asked:
        text = items[one.item_ids[-1]].text or ""
        said = f" {normalise(text)} "
        assert not [name for name in trained if f" {name} " in said]
        if name not in ("yes-no", "not-in-memory", "scenes"):
            assert contains(text, one.answers[0])
        assert (items[one.item_ids[-1]].image is not None) == (name == "scenes")
    assert len(questions.asked[0].item_ids) == (3 if name == "which" else 1)
    if name in LANGUAGES:
        assert {one.kind for one in questions.asked} == {name, "english"}
