"""Short notes to copy from: the same in every process, disjoint splits, every value in its text, every kind."""

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from itertools import chain
from statistics import median
from typing import Any

import pytest
from helpers.splits import overlap

pytest.importorskip("faker", reason="training needs the `train` extra")

from comem_memory.model import RESTATE_INSTRUCTION
from comem_memory.synthesis import countries, note_patterns
from comem_memory.synthesis.note_drafts import NoteDrafts
from comem_memory.synthesis.note_patterns import PATTERNS, SUBJECTS, Frame
from comem_memory.synthesis.note_values import KIND_OF, KINDS, NoteValues
from comem_memory.synthesis.notes import Note, NoteMixture, note
from comem_memory.synthesis.splits import SHARED, SPLITS, Split, split_of
from comem_memory.synthesis.words import listed
from comem_memory.training.draft_batches import DraftBatches

NOTES = 500
SENTENCES = NoteMixture(lists=0, strings=0)
LISTS = NoteMixture(max_facts=8, sentences=0, strings=0)
STRINGS = NoteMixture(max_facts=8, sentences=0, lists=0)
HARDEST = NoteMixture(max_facts=8)


def drawn(split: Split, mixture: NoteMixture, count: int = NOTES) -> list[Note]:
    return [note(1, split, number, mixture) for number in range(count)]


@pytest.fixture(scope="module")
def notes() -> dict[Split, list[Note]]:
    return {split: drawn(split, HARDEST) for split in SPLITS}


def said_of(split: Split) -> tuple[list[str], list[str], list[str]]:
    """Sentences of notes, questions and answers of a split."""
    frames = [frame for frame in vars(note_patterns).values() if isinstance(frame, Frame)]
    asked = [asked for pattern in PATTERNS[split] for asked in pattern.asked]
    sentences = [pattern.sentence for pattern in PATTERNS[split]]
    return (
        [*sentences, *note_patterns.CONTINUED[split], *chain.from_iterable(frame.notes[split] for frame in frames)],
        [
            *chain.from_iterable(one.questions for one in asked),
            *note_patterns.LIST_QUESTIONS[split],
            *chain.from_iterable(frame.questions[split] for frame in frames),
        ],
        [
            *chain.from_iterable(one.answers for one in asked),
            *note_patterns.LIST_ANSWERS[split],
            *chain.from_iterable(frame.answers[split] for frame in frames),
        ],
    )


def test_notes_are_the_same_in_every_process_and_order():
    numbers = range(40)
    script = (
        "from comem_memory.synthesis.notes import *\n"
        f"print([note(1, 'test', n, NoteMixture(max_facts=8)) for n in reversed(range({len(numbers)}))])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True)
    assert said.stdout.strip() == str([note(1, "test", n, HARDEST) for n in numbers][::-1])
    assert note(1, "train", 0, HARDEST) != note(2, "train", 0, HARDEST)
    assert len({note(1, "train", n, HARDEST).text for n in range(NOTES)}) > 0.97 * NOTES


def test_every_value_stands_in_its_text_and_its_answer(notes: dict[Split, list[Note]]):
    for one in chain.from_iterable(notes.values()):
        assert "{v" not in one.text and one.text == one.text.strip()
        for asked in one.questions:
            assert asked.value in one.text, one
            assert asked.value in asked.answer, one
            assert not re.search(r"{\w+}", asked.question + asked.answer), one
            assert asked.question[-1] in "?." and asked.answer[-1] == ".", one


def test_patterns_are_many_and_disjoint():
    said = {split: said_of(split) for split in SPLITS}
    assert not overlap({split: {*chain.from_iterable(said[split])} for split in SPLITS})
    assert not overlap({split: {*note_patterns.LIST_FORMATS[split]} for split in SPLITS})
    sentences = [sentence for split in SPLITS for sentence in said[split][0]]
    assert len({*sentences}) == len(sentences) > 150
    assert len(said["train"][0]) > 100
    assert min(len(said[split][0]) for split in SPLITS) > 25
    for split in SPLITS:
        for pattern in PATTERNS[split]:
            slots = {*re.findall(r"{(\w+)}", pattern.sentence)}
            assert len(pattern.sentence.split()) >= 4, pattern
            for asked in pattern.asked:
                assert asked.slot in slots and asked.slot.rstrip("2") in KIND_OF, pattern
                assert 2 <= len({*asked.questions}) == len(asked.questions) <= 4, pattern
                assert 2 <= len({*asked.answers}) == len(asked.answers) <= 3, pattern
                for question in asked.questions:
                    assert {*re.findall(r"{(\w+)}", question)} <= slots - {asked.slot}, pattern
                for answer in asked.answers:
                    assert asked.slot in re.findall(r"{(\w+)}", answer) and {*re.findall(r"{(\w+)}", answer)} <= slots
    assert not re.search(r"\d", re.sub(r"{\w+}", "", " ".join(chain.from_iterable(chain.from_iterable(said.values())))))


def test_names_and_values_are_disjoint(notes: dict[Split, list[Note]]):
    common = {word for kind in SHARED for word in listed(kind)}
    values = {split: {asked.value for one in notes[split] for asked in one.questions} - common for split in SPLITS}
    drawers = {split: NoteValues(random.Random(0), split) for split in SPLITS}
    named = {kind for subject in SUBJECTS for kind in subject.named}
    for split in SPLITS:
        values[split] |= {drawers[split].draw(kind) for kind in {*KIND_OF, *named, "syllable"} for _ in range(50)}
        values[split] -= common
    assert not overlap(values)
    assert not overlap({split: {re.sub(r"\D", "", value) for value in values[split]} - {""} for split in SPLITS})


def test_questions_name_what_they_ask_about(notes: dict[Split, list[Note]]):
    for one in chain.from_iterable(notes.values()):
        asked = [question.question for question in one.questions]
        assert len({*asked}) == len(asked), one
        assert not any(question.value in question.question for question in one.questions), one
    for split in SPLITS:
        frame_questions = [frame.questions[split] for frame in (note_patterns.NAMED, note_patterns.USER)]
        assert all("{a}" in question for question in chain(*frame_questions, note_patterns.MINE.questions[split]))
        assert all("{n}" in question for question in note_patterns.NAMED.questions[split])
        for one in drawn(split, LISTS, 200):
            for asked in one.questions:
                forms = (re.escape(one).replace(r"\{k\}", "(.+)") for one in note_patterns.LIST_QUESTIONS[split])
                keys = [found[1] for form in forms if (found := re.fullmatch(form, asked.question))]
                assert any(key in one.text for key in keys), one


def test_every_fact_of_a_note_is_asked():
    for most in (1, 2, 4, 8):
        counts = Counter(len(one.questions) for one in drawn("train", NoteMixture(most, strings=0)))
        assert counts.keys() == {*range(1, most + 1)}
        assert min(counts.values()) > 0.4 * NOTES / most
    pairs = Counter(len(one.questions) for one in drawn("train", LISTS))
    assert pairs.keys() == {*range(2, 9)}
    units = [len(re.split(r", | / |[ \n-]", one.text)) for one in drawn("train", STRINGS)]
    assert min(units) == 2 and 16 in units
    assert not any(one.questions for one in drawn("train", STRINGS))


def test_notes_are_as_long_as_people_write_them():
    words = sorted(len(one.text.split()) for one in drawn("train", SENTENCES))
    assert 4 <= words[0] <= 6
    assert 14 <= median(words) <= 25
    assert 40 <= words[-1] <= 60
    hardest = max(len(one.text.split()) for one in drawn("train", HARDEST))
    assert 60 < hardest <= 120


def test_all_kinds_occur(notes: dict[Split, list[Note]]):
    for split in SPLITS:
        kinds = Counter(asked.kind for one in notes[split] for asked in one.questions)
        assert kinds.keys() == KINDS.keys()
        assert min(kinds.values()) > 0.1 * kinds.total()
        shapes = Counter(bool(one.questions) for one in notes[split])
        assert 0.1 < shapes[False] / NOTES < 0.2
    for mixture, questions in ((STRINGS, False), (LISTS, True), (SENTENCES, True)):
        assert all(bool(one.questions) == questions for one in drawn("train", mixture, 100))
    for value, kind in ((q.value, q.kind) for one in chain.from_iterable(notes.values()) for q in one.questions):
        assert kind != "number" or re.search(r"\d", value)
        assert kind not in ("word", "name") or not re.search(r"\d", value)


def test_nothing_is_about_a_real_country(notes: dict[Split, list[Note]]):
    words = {word for split in SPLITS for one in notes[split] for word in re.findall(r"\w+", one.text)}
    said = " ".join(one.text for split in SPLITS for one in notes[split])
    for row in countries.rows():
        names = {row["name"], row["capital"], *row["languages"], *(row["demonym"] or "").split(", ")} - {None, ""}
        for name in names:
            assert name not in words, name
            assert " " not in name or name not in said, name


@pytest.mark.parametrize("split", SPLITS)
def test_a_thousand_notes_take_no_two_seconds(split: Split):
    note(0, split, 0, HARDEST)
    began = time.process_time()
    drawn(split, NoteMixture(), 1000)
    assert time.process_time() - began < 2


def test_the_words_of_a_model_may_be_names():
    words = ("Zebulon", "Quixote", "Brambledown")
    assert {split_of(word) for word in words} == {"train"}
    texts = " ".join(one.text for one in drawn("train", NoteMixture(words=words), 100))
    assert all(word in texts for word in words)


# -- batches -----------------------------------------------------------------------------------------------------


def batches_of(number: int, **others: Any) -> DraftBatches:
    return DraftBatches(NoteDrafts(1, NoteMixture()), "train", seed=1, num_batches=number, **others)


def test_a_batch_encodes_a_note_once_and_asks_all_its_questions():
    for index, batch in enumerate(batches_of(20, max_memories=1, restated_share=0.0)):
        expected = [note(1, "train", number, NoteMixture()) for number in range(index * 8, index * 8 + 8)]
        texts = [item.text for item in batch["items"]]
        assert sorted(texts) == sorted(one.text for one in expected)
        asked = [(one.question, one.answer, *(texts[i] for i in one.items)) for one in batch["asked"]]
        assert asked == [(q.question, q.answer, one.text) for one in expected for q in one.questions]
        restated = [(one.question, one.answer, *(texts[i] for i in one.items)) for one in batch["restated"]]
        assert restated == [(RESTATE_INSTRUCTION, one.text, one.text) for one in expected if not one.questions]


def test_a_question_sees_its_note_among_others():
    batches, counts = batches_of(20, max_memories=5), Counter[int]()
    for index, batch in enumerate(batches):
        drafts = [one for one in batches.drafts.of_group("train", index) or [] if one.kind != "restate"]
        for asked, draft in zip(batch["asked"], drafts, strict=True):
            texts = [batch["items"][i].text for i in asked.items]
            assert texts[-1] == draft.items[draft.gold[0]].text, "its own stands next to the question"
            assert len(set(texts)) == len(texts)
            counts[len(texts)] += 1
    assert set(counts) == {1, 2, 3, 4, 5} and counts[1] > 20


def test_drafts_of_notes_know_what_is_wrong():
    drafts = [draft for number in range(60) for draft in NoteDrafts(1, HARDEST).of_group("test", number)]
    for draft in drafts:
        assert draft.answered_by(draft.answer), draft
        assert not any(draft.answered_by(f"{draft.answer} {wrong}") for wrong in draft.wrong), draft
    assert {draft.kind for draft in drafts} == {*KINDS, "restate"}
    assert sum(bool(draft.wrong) for draft in drafts) > 0.5 * len(drafts)
