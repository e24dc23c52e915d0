"""Scores of short answers, question sets, the comparison of sources with a tiny model, and the report."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.saved import save_roomy
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.cli import app as cli
from comem_memory.cli import countries_demo
from comem_memory.cli.countries_demo import ASKED, KINDS, run
from comem_memory.errors import BenchmarkError, PromptTooLongError, QueryError
from comem_memory.evaluation import report, tables
from comem_memory.evaluation.benchmarks import BENCHMARKS, load
from comem_memory.evaluation.comparison import (
    SOURCES,
    Comparison,
    EvaluationQuestion,
    QuestionSet,
    _derangement,
    _others,
    _right,
    _score,
    compare,
)
from comem_memory.evaluation.first_token import first_token
from comem_memory.evaluation.peak_memory import peak_bytes
from comem_memory.evaluation.question_sets import NOTES, of_countries, of_flags, of_notes, of_worlds, question_set
from comem_memory.files import load_image
from comem_memory.memory import Mode
from comem_memory.metrics import contains, exact_match, interval, normalise, share_interval, token_f1
from comem_memory.model import TEXT_PROMPTS
from comem_memory.synthesis import countries, phrases
from comem_memory.synthesis.agent_topics import AGENT_TOPICS
from comem_memory.synthesis.countries import (
    FOLDER,
    CountryQuestion,
    find_by_flag,
    item,
    questions,
    rows,
    short_item,
)
from comem_memory.synthesis.groups import Mixture, group
from comem_memory.synthesis.topics import TOPICS
from comem_memory.testing import tiny_key


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Aruban florin.", "aruban florin"),
        ("+297", "+297"),
        ("Its code is +297.", "its code is +297"),
        (".aw", ".aw"),
        ('It ends with ".aw".', "it ends with .aw"),
        ("\u201cOranjestad\u201d", "oranjestad"),
        ("It\u2019s an  apple,\n a pear", "its apple pear"),
        ("1,800 square km", "1800 square km"),
        ("U.S. dollar", "u.s dollar"),
        ("São Tomé", "são tomé"),
        ("The...", "the"),  # nothing else is left
        ("\u201eBerlin\u201c \u2014 \u00abLima\u00bb", "berlin lima"),
        ("", ""),
    ],
)
def test_normalise(text: str, normal: str):
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("prediction", "answer", "exact", "contained"),
    [
        ("The Aruban florin.", "Aruban florin", True, True),
        ("Its money is the Aruban florin.", "Aruban florin", False, True),
        ("+297", "+297", True, True),
        ("The telephone code is +297.", "+297", False, True),
        ("The telephone code is 297.", "+297", False, False),
        ("+2975", "+297", False, False),
        (".aw", ".aw", True, True),
        ("Addresses end with .aw.", ".aw", False, True),
        ("Addresses end with .awe", ".aw", False, False),
        ("180 square km", "180", False, True),
        ('{"area":180}', "180", False, True),
        ("co(mem)", "comem", True, True),
        ("The area is 180.", "180", False, True),
        ("1800 square km", "180", False, False),
        ("1,800 square km", "180", False, False),
        ("Papiamento and Dutch", "Dutch", False, True),
        ("Dutchmen", "Dutch", False, False),
        ("", "Dutch", False, False),
        ("The blood type is A.", "B", False, False),
        ("A", "A", True, True),
        ("\u7b54\u6848\u662f\u5317\u4eac\u3002", "\u5317\u4eac", False, True),  # no spaces between words
        ("\u7b54\u6848\u662f\u5357\u4eac\u3002", "\u5317\u4eac", False, False),
    ],
)
def test_scores(prediction: str, answer: str, exact: bool, contained: bool):
    assert exact_match(prediction, answer) == exact
    assert contains(prediction, answer) == contained


def test_token_f1():
    assert token_f1("The money is the Aruban florin.", "Aruban florin") == pytest.approx(2 * 2 / (4 + 2))
    assert token_f1("florin", "Aruban florin") == pytest.approx(2 / 3)
    assert token_f1("dollar", "Aruban florin") == token_f1("", "x") == 0


def test_intervals_hold_the_mean_and_shrink_with_more_values():
    low, high = interval([0.0, 1.0] * 50)
    assert 0.35 < low < 0.45 and 0.55 < high < 0.65  # normal approximation: 0.402 to 0.598
    longer = interval([0.0, 1.0] * 500)
    assert longer[1] - longer[0] < (high - low) / 2
    assert interval([1.0, 1.0]) == (1, 1)
    assert share_interval([True, False] * 50) == (low, high)
    assert share_interval([False] * 33) == pytest.approx((0, 1 - 0.025 ** (1 / 33)))


def test_the_countries_are_whole():
    every = rows()
    assert len(every) == len({row["code"] for row in every}) > 200
    for row in every:
        country = item(row)
        assert country.text is not None
        load_image(country.image)
        load_image(FOLDER / row["flag_waving"])
        asked = list(questions(row))
        assert len(asked) >= 2
        assert all(contains(country.text, question.answer) for question in asked), country.text


def test_a_country_and_its_questions():
    [aruba] = [row for row in rows() if row["code"] == "AW"]
    assert item(aruba).metadata == {"name": "Aruba", "region": "Americas"}
    assert CountryQuestion("AW", "capital", "Which city is the capital of Aruba?", "Oranjestad") in list(
        questions(aruba)
    )


def test_shuffled_memory_is_never_ones_own(memory: ContinuousMemory):
    codes = [row["code"] for row in rows()]
    others = _derangement(codes)
    assert sorted(others) == sorted(others.values()) == sorted(codes)
    assert all(code != other for code, other in others.items())
    view = memory.namespace("three")
    ids = view.add([MemoryItem(text=f"The {thing}.") for thing in ("door is blue", "key is brass", "lamp is green")])
    asked = [EvaluationQuestion("Which colour?", ("blue",), "colour", (ids[0],))]
    questions = QuestionSet("three", [MemoryItem(text="The door is blue.")], asked)
    assert tuple(compare(view, questions).scores) == ("none", "text", "memory", "memory and text")  # there is no other
    circle = dict(zip(ids, [*ids[1:], ids[0]], strict=True))
    distinct = {id: id for id in ids}
    assert _others(ids[:1], circle, distinct) == [ids[1]]
    assert _others(ids[1:], circle, distinct) == [ids[0], ids[0]]
    assert _others([ids[2], ids[0]], circle, distinct) == [ids[1], ids[1]]
    assert _others(ids[:1], circle, distinct | {ids[1]: ids[0]}) == [ids[2]]  # the one between has the same text
    assert _others(ids[:1], circle, dict.fromkeys(ids, "door")) is None
    assert _others(ids[:1], circle, dict.fromkeys(ids, "")) == [ids[1]]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    folders = save_roomy(tmp_path_factory.mktemp("roomy"))
    with ContinuousMemory.from_pretrained(*folders, key=tiny_key()) as memory:
        yield memory


@pytest.fixture
def few_countries(monkeypatch: pytest.MonkeyPatch) -> list[countries.Row]:
    """A tenth of the countries, where it does not matter how many there are."""
    every = rows()
    assert all(list(questions(row)) for row in every) and countries.proper_words()  # kept, and of all
    few = [row for number, row in enumerate(every) if number % 10 == 0 or row["name"] == "Iceland"]
    for module in (countries, countries_demo):
        monkeypatch.setattr(module, "rows", lambda folder=FOLDER: few)
    return few


@pytest.mark.usefixtures("few_countries")
def test_the_comparison_asks_every_source_the_same(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, int, Any]] = []
    real = ContinuousMemory.prompt

    def prompt(self: ContinuousMemory, question: str, picture: Any, hits: Any, mode: Any) -> Any:
        asked.append((question, len(hits), mode))
        return real(self, question, picture, hits, mode)

    monkeypatch.setattr(ContinuousMemory, "prompt", prompt)
    monkeypatch.setattr(memory, "text_prompts", dict.fromkeys(memory.text_prompts, TEXT_PROMPTS["plain"]))
    comparison = compare(memory, of_countries(limit=5), batch_size=3)
    assert comparison.n == 5
    assert comparison.recall == 1
    assert tuple(comparison.scores) == SOURCES
    by_source = [[question for question, *_ in asked[n * 5 : n * 5 + 5]] for n in range(len(SOURCES))]
    assert all(questions == by_source[0] for questions in by_source)
    assert [mode for *_, mode in asked[::5]] == ["none", "text", "text", "memory", "memory", "both", "both"]
    tokens = {source: score.prompt_tokens for source, score in comparison.scores.items()}
    assert tokens["memory"] == tokens["shuffled memory"] == tokens["none"] + 8
    assert tokens["memory and text"] == tokens["shuffled memory and text"] == tokens["text without picture"] + 8
    assert tokens["text without picture"] < tokens["text"]
    for score in comparison.scores.values():
        assert 0 <= score.exact_match <= score.contains <= 1
        assert score.interval[0] <= score.contains <= score.interval[1]
        assert len(score.said) == 5
    assert comparison.scores["none"].above_none == (0, 0)
    said = {source: tuple(score.said) for source, score in comparison.scores.items()}
    assert len(set(said.values())) == len(SOURCES)
    again = json.loads(json.dumps(comparison.as_dict()))
    assert again["scores"]["memory"]["said"] == list(said["memory"])
    with (console := Console(width=200)).capture() as shown:
        console.print(tables.scores(comparison).as_rich())
        console.print(tables.kinds(comparison).as_rich())
    assert all(word in shown.get() for word in (*SOURCES, *comparison.kinds, "5 questions"))


@pytest.mark.usefixtures("few_countries")
def test_the_comparison_is_what_the_memory_answers(memory: ContinuousMemory):
    """Source by source the same answers as from `ContinuousMemory.answer`, which searches."""
    view = memory.namespace("answers")
    comparison = compare(view, of_countries(limit=6), k=2, sources=("text", "memory"))
    assert list(comparison.scores) == ["none", "text", "memory", "shuffled memory"]
    modes: tuple[Mode, ...] = ("none", "text", "memory")
    for mode in modes:
        for asked, said in zip(comparison.asked, comparison.scores[mode].said, strict=True):
            assert view.answer(asked.text, k=2, mode=mode).text == said
    found = [asked.item_ids[0] in {hit.id for hit in view.search(asked.text, k=2)} for asked in comparison.asked]
    assert comparison.recall == sum(found) / 6
    near = compare(view, of_countries(limit=6), k=2, margin=0.0, sources=("text",))
    view.margin = 0.0
    assert [view.answer(asked.text, k=2, mode="text").text for asked in near.asked] == near.scores["text"].said
    assert near.scores["text"].prompt_tokens < comparison.scores["text"].prompt_tokens


def test_what_a_comparison_refuses(memory: ContinuousMemory):
    lost = QuestionSet("lost", [], [EvaluationQuestion("Who?", ("Ada",), "people")])
    with pytest.raises(QueryError, match="Pass k to search"):
        compare(memory, lost)
    with pytest.raises(QueryError, match="has no questions"):
        compare(memory, QuestionSet("empty", [], []))
    with pytest.raises(QueryError, match="leave out the margin"):
        compare(memory, of_countries(limit=1), margin=0.05)
    with pytest.raises(QueryError, match="no source 'images'"):
        compare(memory, of_countries(limit=1), sources=("images",))


@pytest.mark.usefixtures("few_countries")
def test_what_does_not_fit_into_the_window_is_not_asked(memory: ContinuousMemory):
    item, *_ = of_countries(limit=1).items
    long = item.model_copy(update={"id": "long", "text": item.text * 20, "image": None})
    questions = QuestionSet("long", [long], [EvaluationQuestion("What is its capital?", ("?",), "capital", ("long",))])
    assert compare(memory, questions, sources=("memory",)).n == 1
    with pytest.raises(PromptTooLongError, match="window is"):
        compare(memory, questions, sources=("text",))


def test_a_right_answer_holds_nothing_wrong():
    one = EvaluationQuestion("Is it blue?", ("yes",), "yes or no", wrong=("no",))
    assert _right([one] * 3, ["Yes, it is.", "Yes, or no.", "No."]) == [True, False, False]
    asked = of_worlds("yes-no", limit=8).asked
    assert all(not set(one.answers) & set(one.wrong) for one in asked) and any(one.wrong for one in asked)


def test_other_wordings_of_a_right_answer_are_no_other_answer():
    asked = {(q.code, q.kind): q for row in rows() for q in questions(row)}
    assert {"US dollar", "US dollars"} < set(asked["US", "currency"].also)
    assert {"yen", "yens"} < set(asked["JP", "currency"].also)
    every = [one for question in asked.values() for one in question.also]
    assert not {"dollar", "dollars", "peso", "South Africa"} & set(every)
    assert not any(contains(q.text, one) for q in asked.values() for one in (q.answer, *q.also))


def test_any_of_several_answers_is_right_and_scores_are_of_the_best(memory: ContinuousMemory):
    view = memory.namespace("several")
    items = [MemoryItem(id=id, text=f"{id} is here.") for id in ("a", "b")]
    [bare] = (
        compare(view, QuestionSet("x", items, [EvaluationQuestion("Who?", ("?",), "people", ("a", "b"))]))
        .scores["none"]
        .said
    )
    [word, *_] = [word for word in normalise(bare).split() if word] or [""]
    assert word
    asked = [EvaluationQuestion("Who?", ("nobody at all", word), "people", ("a", "b"))]
    comparison = compare(view, QuestionSet("x", items, asked), sources=("memory",))
    assert comparison.scores["none"].contains == 1
    assert comparison.scores["none"].token_f1 == token_f1(bare, word)
    assert comparison.scores["memory"].prompt_tokens == comparison.scores["none"].prompt_tokens + 16
    assert "text without picture" not in compare(view, QuestionSet("x", items, asked)).scores


@pytest.mark.usefixtures("few_countries")
def test_what_the_first_token_costs(memory: ContinuousMemory):
    questions = of_countries(limit=3)
    memory.add(questions.items)
    cost = first_token(memory, questions.asked)
    for k in (1, 3, 10):
        memory_tokens = cost.prompt_tokens["memory"][k]
        assert memory_tokens == pytest.approx(cost.prompt_tokens["none"][k] + 8 * k)
        assert memory_tokens < cost.prompt_tokens["text"][k]
    assert all(seconds > 0 for by_k in cost.seconds.values() for seconds in by_k.values())
    known = {peak is not None for by_k in cost.peak_bytes.values() for peak in by_k.values()}
    assert known == {sys.platform == "linux" or torch.cuda.is_available()}
    assert "1.00 : 1" in tables.costs(cost).as_markdown()


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="resident memory, read from /proc")
def test_the_peak_of_a_computation_is_what_it_held_at_most():
    megabytes = 2**20 // torch.float32.itemsize
    held = torch.ones(300 * megabytes)

    def run(size: int) -> None:
        torch.ones(size * megabytes).sum()

    peaks = [peak_bytes(partial(run, size)) for size in (200, 50, 200)]
    assert [round((peak or 0) / 2**20 / 50) for peak in peaks] == [4, 1, 4]
    assert held.sum() == 300 * megabytes  # was there before, and does not count


def test_a_grid_is_markdown():
    grid = tables.Grid("What it shows", ["a", "b"], [["1", "2"]])
    assert grid.as_markdown() == "What it shows\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"


# -- question sets -----------------------------------------------------------------------------------------------


def test_flags_are_asked_without_the_country():
    by_name, by_flag = of_countries(limit=40), of_flags(limit=40)
    names = {row["code"]: row["name"] for row in rows()}
    for named, shown in zip(by_name.asked, by_flag.asked, strict=True):
        assert (named.answers, named.kind, named.item_ids) == (shown.answers, shown.kind, shown.item_ids)
        assert names[named.item_ids[0]] in named.text and names[named.item_ids[0]] not in shown.text
        assert "the country with this flag" in shown.text
        assert load_image(shown.image).size != (0, 0)


def test_worlds_are_unseen_and_hold_their_answers():
    worlds = of_worlds(limit=60)
    assert worlds == of_worlds(limit=60)
    texts = {item.id: str(item.text) for item in worlds.items}
    assert len(texts) == len(worlds.asked) == 60
    assert all(one.answers[0].lower() in texts[one.item_ids[0]].lower() for one in worlds.asked)
    kinds = {one.kind: one.answers[0] for one in worlds.asked}
    assert kinds.keys() == {"numbers", "names", "words"}
    assert any(letter.isdigit() for letter in kinds["numbers"])
    trained = {item.text for number in range(50) for item in group(1, "train", number, Mixture()).items}
    assert not trained & set(texts.values())


def test_a_benchmark_is_compared_and_scored_by_its_own_rule(memory: ContinuousMemory, tmp_path: Path):
    paragraph = {
        "context": "The blue door opens with the brass key. " * 30,
        "qas": [
            {"id": "q1", "question": "What opens the blue door?", "answers": [{"text": "the brass key"}]},
            {"id": "q2", "question": "Who?", "answers": []},
        ],
    }
    file = {"data": [{"title": "Doors", "paragraphs": [paragraph]}]}
    (tmp_path / "dev-v2.0.json").write_text(json.dumps(file))
    questions = question_set("squad", folder=tmp_path, split="dev-v2.0")
    comparison = compare(memory.namespace("squad"), questions, sources=("memory",))
    assert [one.id for one in comparison.asked] == ["q1"]  # the other has no answer
    assert set(comparison.published) == {"none", "memory"}
    assert comparison.rescored() == comparison
    for source, score in comparison.scores.items():
        assert comparison.published[source]["f1"] == pytest.approx(
            BENCHMARKS["squad"].score(list(load("squad", tmp_path, "dev-v2.0"))[:1], {"q1": score.said[0]})["f1"]
        )
    assert "f1" in tables.published(comparison).header


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "trivia",
            {},
            "There are no questions 'trivia'. There are: countries, flags, notes, notes-development, worlds",
        ),
        ("squad", {}, "Pass folder and split of squad"),
        ("worlds", {"num_facts": 1}, "Only notes of countries have a number of facts"),
        ("notes", {"num_facts": 1}, "Only notes of countries have a number of facts"),
        ("ok-vqa", {"folder": Path(), "split": "val2014"}, "lacks|no such|publishes no knowledge|should hold"),
    ],
)
def test_question_sets_that_cannot_be_made(name: str, settings: dict[str, Any], message: str):
    with pytest.raises(BenchmarkError, match=message):
        question_set(name, **settings)


# -- the report --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_countries")
def test_the_report_resumes_and_says_what_made_it(
    memory: ContinuousMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report, "KS", (1, 10))
    monkeypatch.setattr(report, "FACTS", (1, 2))
    monkeypatch.setattr(report, "TIMED", 2)
    monkeypatch.setattr("comem_memory.evaluation.comparison.MAX_NEW_TOKENS", 4)
    real, compared = report.compare, list[str]()

    def stops(view: ContinuousMemory, questions: QuestionSet, **settings: Any) -> Any:
        if len(compared) == 3:
            raise KeyboardInterrupt
        compared.append(view.name)
        return real(view, questions, **settings)

    monkeypatch.setattr(report, "compare", stops)
    with pytest.raises(KeyboardInterrupt):
        report.write_report(memory, tmp_path, limit=3)
    assert not (tmp_path / report.PAGE).exists()
    kept = {path.name: path.read_bytes() for path in (tmp_path / "answers").glob("*.json")}
    assert len(kept) == 3

    monkeypatch.setattr(report, "compare", real)
    page = report.write_report(memory, tmp_path, limit=3).read_text()
    assert all((tmp_path / "answers" / name).read_bytes() == content for name, content in kept.items())
    assert memory.encoder.fingerprint.digest in page
    assert "--limit 3" in page
    for heading in ("Countries", "Flags", "Unseen worlds", "Made-up items", "Facts in an item", "Bytes"):
        assert f"## {heading}" in page
    assert "## Notes found by search" in page
    assert "## Cost" in page
    found = {
        name: json.loads((tmp_path / "answers" / f"{name}.json").read_text())["result"] for name in ("notes", "cost")
    }
    scores = {source: score["contains"] for source, score in found["notes"]["scores"].items()}
    above = scores["memory and text"] - scores["text"]
    reached = "yes" if above >= 0.1 else "no"
    assert (
        f"| countries, 1 fact: memory and text 10 points above text | {above * 100:+.1f} points | {reached} |" in page
    )
    tokens = found["cost"]["prompt_tokens"]
    assert f"10 times the tokens | {tokens['text']['10'] / tokens['memory']['10']:.1f} times |" in page
    for kind in ("agents", "numbers", "names", "yes-no", "not-in-memory", "scenes", "spanish", "italian"):
        assert f"| {kind} |" in page
    for precision in ("fp32", "bf16", "int8", "int4"):
        assert memory.namespace(f"countries, 1 fact, {precision}").count() == 3
        assert precision in page
    with Image.open(tmp_path / report.PLOTS) as plots:
        assert len(np.unique(np.asarray(plots.convert("L")))) > 20

    other = tmp_path / "answers" / "notes.json"
    other.write_text(other.read_text().replace(memory.encoder.fingerprint.digest, "0" * 16))
    report.write_report(memory, tmp_path, limit=3)
    assert json.loads(other.read_text())["encoder"] == memory.encoder.fingerprint.digest


def test_short_items_hold_what_is_asked_and_so_many_facts():
    whole = {row["code"]: item(row).text or "" for row in rows()}
    for row in rows()[::20]:
        for question in questions(row):
            for num_facts in (1, 2, 4, 99):
                note = short_item(row, question.kind, num_facts)
                assert note.image is None
                assert contains(str(note.text), question.answer)
            assert str(note.text) == whole[row["code"]]


def test_all_notes_are_searched_among():
    asked = question_set("countries", num_facts=1, searched=True, limit=4)
    assert asked.asked == of_countries(num_facts=1, limit=4).asked
    items = list(asked.items)
    assert len(items) == len({item.id for item in items}) == sum(len(list(questions(row))) for row in rows())
    assert {one.item_ids[0] for one in asked.asked} <= {item.id for item in items}


@pytest.mark.parametrize(("name", "of_each"), [("notes", 10), ("notes-development", 6)])
def test_only_its_own_note_answers_a_question_about_notes(name: str, of_each: int):
    notes = question_set(name)
    texts = {str(item.id): str(item.text) for item in notes.items}
    assert set(Counter(one.kind for one in notes.asked).values()) == {of_each}
    assert len(texts) == len({one.text for one in notes.asked}) == len(notes.asked) == 10 * of_each
    assert all(5 <= len(text.split()) <= 25 for text in texts.values())
    for one in notes.asked:
        [own] = one.item_ids
        assert contains(texts[own], one.answers[0])
        for answer in one.answers:
            assert not contains(one.text, answer)
            assert not any(contains(text, answer) for id, text in texts.items() if id != own), answer
        assert (one.kind == "correction") == bool(one.wrong)
        for wrong in one.wrong:
            assert not contains(one.text, wrong)
            assert not any(contains(answer, wrong) or contains(wrong, answer) for answer in one.answers)
            assert not any(contains(text, wrong) for id, text in texts.items() if id != own), wrong
    answers = [normalise(answer) for one in notes.asked for answer in one.answers]
    assert len(set(answers)) == len(answers)


def test_notes_to_choose_with_share_nothing_with_those_to_report():
    to_report, to_choose = (of_notes(name) for name in NOTES)
    assert not {item.id for item in to_report.items} & {item.id for item in to_choose.items}
    assert not {item.text for item in to_report.items} & {item.text for item in to_choose.items}
    assert not {one.text for one in to_report.asked} & {one.text for one in to_choose.asked}
    answers = [{normalise(answer) for one in notes.asked for answer in one.answers} for notes in (to_report, to_choose)]
    assert not answers[0] & answers[1]


def test_notes_are_no_sentences_or_questions_that_encoders_are_trained_on():
    """A pattern's name and value may be anything; {n} is {v} alone says nothing of its own."""
    attributes = [attribute for topic in (*TOPICS, *AGENT_TOPICS) for attribute in topic.attributes]
    patterns = {
        pattern.replace("{a}", attribute.label).strip("?.")
        for attribute in attributes
        for pattern in (*attribute.sentences, *attribute.questions, *phrases.STATEMENTS, *phrases.QUESTIONS)
    }
    telling = [pattern for pattern in patterns if len(re.sub(r"\{\w\}('s)?", "", pattern).split()) > 1]
    made = re.compile("|".join(re.sub(r"\\\{\w\\\}", ".+", re.escape(pattern)) for pattern in telling), re.IGNORECASE)
    assert made.fullmatch("where does My aunt live")
    assert made.fullmatch("The cat has a birthday on May 2")
    for notes in map(of_notes, NOTES):
        for told in (*notes.items, *notes.asked):
            assert not made.fullmatch(str(told.text).strip("?.")), told.text


def test_selected_notes_are_always_the_same_and_searched_among_all():
    alone, searched = of_notes(limit=7), question_set("notes", searched=True, limit=7)
    assert alone.asked == searched.asked == of_notes(limit=7).asked == of_notes().asked[:7]
    assert len({one.kind for one in alone.asked}) > 2
    assert [item.id for item in alone.items] == [id for one in alone.asked for id in one.item_ids]
    assert len(list(searched.items)) == 100
    assert (alone.name, searched.name) == ("notes", "notes, all notes")


def test_the_command_lists_the_notes():
    shown = CliRunner().invoke(cli.app, ["evaluate", "--help"], env={"COLUMNS": "200"}).stdout
    assert f"private notes: {', '.join(NOTES)};" in " ".join(re.findall(r"[^\s│]+", shown))


def test_answers_are_told_by_their_length():
    said = {"none": ["no", "no", "no", "no"], "memory": ["It is red.", "no", "a b c d e", "or blue"]}
    right = (("red", "deep dark red"), ("a b",), ("a b c d e",), ("blue",))
    asked = [EvaluationQuestion(f"q{n}", answers, "colour") for n, answers in enumerate(right)]
    scores = {source: _score(asked, answers, said["none"], 1.0) for source, answers in said.items()}
    table = tables.lengths(Comparison("colours", asked, None, None, scores, {}), lambda answer: len(answer.split()))
    assert table.header == ["with", "1 token (2)", "2 tokens (1)", "4 or more (1)"]
    assert table.rows == [["none", "0%", "0%", "0%"], ["memory", "100%", "0%", "100%"]]


def test_notes_are_items_of_their_own(memory: ContinuousMemory):
    view = memory.namespace("short")
    comparison = compare(view, of_countries(num_facts=2, limit=6), sources=("memory",))
    assert comparison.name == "countries, 2 facts"
    assert view.count() == comparison.n == 6


def test_flags_are_looked_up_in_the_memory(memory: ContinuousMemory, tmp_path: Path):
    memory.add([item(row) for row in rows()])
    recall = find_by_flag(memory)
    assert list(recall) == [1, 5, 10]
    assert 0.1 < recall[1] <= recall[5] <= recall[10] <= 1


def test_the_demo_of_countries_runs_with_any_memory(
    memory: ContinuousMemory, few_countries: list[countries.Row], capsys: Any
):
    run(memory.namespace("demo"), Console(width=200))
    shown = capsys.readouterr().out
    assert "parameters are trained" in shown
    assert f"notes about {len(few_countries)} countries, one with its flag each" in shown
    assert "each as (8, 64) vectors" in shown
    assert memory.namespace("demo").count(where={"name": "Iceland"}) == len(KINDS)
    assert "recall@1" in shown
    assert all(question.split()[0] in shown for question, _, _ in ASKED)
    assert shown.count("memory") >= len(ASKED)
