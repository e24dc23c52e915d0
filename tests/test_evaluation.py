"""Scores of short answers, the countries and their questions, and the comparison with a tiny model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from saved import save_roomy

from comem_memory import ContinuousMemory
from comem_memory.demo import ASKED, run
from comem_memory.evaluation.countries import (
    FOLDER,
    SOURCES,
    CountryQuestion,
    _derangement,
    compare,
    find_by_flag,
    item,
    questions,
    rows,
    short_item,
)
from comem_memory.evaluation.metrics import contains, exact_match, interval, normalise, token_f1
from comem_memory.images import load_image
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
        ("The...", ""),
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
        ("The area is 180.", "180", False, True),
        ("1800 square km", "180", False, False),
        ("1,800 square km", "180", False, False),
        ("Papiamento and Dutch", "Dutch", False, True),
        ("Dutchmen", "Dutch", False, False),
        ("", "Dutch", False, False),
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


def test_the_countries_are_whole():
    countries = rows()
    assert len(countries) == len({row["code"] for row in countries}) > 200
    for row in countries:
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


def test_shuffled_memory_is_never_ones_own():
    codes = [row["code"] for row in rows()]
    others = _derangement(codes)
    assert sorted(others) == sorted(others.values()) == sorted(codes)
    assert all(code != other for code, other in others.items())


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    folders = save_roomy(tmp_path_factory.mktemp("roomy"))
    with ContinuousMemory.from_pretrained(*folders, key=tiny_key()) as memory:
        yield memory


def test_the_comparison_asks_every_source_the_same(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, int, Any]] = []
    real = ContinuousMemory.prompt

    def prompt(self: ContinuousMemory, question: str, picture: Any, hits: Any, mode: Any) -> Any:
        asked.append((question, len(hits), mode))
        return real(self, question, picture, hits, mode)

    monkeypatch.setattr(ContinuousMemory, "prompt", prompt)
    report = compare(memory, limit=5, batch_size=3, timed=2)
    assert report.n == 5
    assert tuple(report.scores) == SOURCES
    compared = asked[: 5 * len(SOURCES)]
    by_source = [[question for question, *_ in compared[n * 5 : n * 5 + 5]] for n in range(len(SOURCES))]
    assert all(questions == by_source[0] for questions in by_source)
    assert [what[1:] for what in compared[::5]] == [
        (0, "none"),
        (1, "text"),
        (1, "text"),
        (1, "memory"),
        (1, "memory"),
        (1, "text"),
        (1, "text"),
    ]
    for score in report.scores.values():
        assert 0 <= score.exact_match <= score.contains <= 1
        assert score.interval[0] <= score.contains <= score.interval[1]
    assert report.scores["none"].above_none == (0, 0)
    tokens = report.prompt_tokens
    for k in (1, 3, 10):
        assert tokens["memory"][k] == tokens["none"][k] + 8 * k < tokens["text"][k]
    assert all(seconds > 0 for by_k in report.seconds_to_first_token.values() for seconds in by_k.values())
    assert json.loads(json.dumps(report.as_dict()))["scores"]["memory"]["contains"] == report.scores["memory"].contains
    with (console := Console(width=200)).capture() as shown:
        console.print(report.as_table())
        console.print(report.as_kinds_table())
    assert all(
        word in shown.get() for word in (*SOURCES, *report.scores["none"].by_kind, "k=1", "k=10", "n = 5 questions")
    )


def test_short_items_hold_what_is_asked_and_so_many_facts():
    whole = {row["code"]: item(row).text or "" for row in rows()}
    for row in rows()[::20]:
        for question in questions(row):
            for num_facts in (1, 2, 4, 99):
                note = short_item(row, question.kind, num_facts)
                assert note.image is None
                assert contains(str(note.text), question.answer)
            assert str(note.text) == whole[row["code"]]


def test_the_comparison_of_short_items(memory: ContinuousMemory):
    view = memory.namespace("short")
    report = compare(view, num_facts=2, limit=6, batch_size=4, timed=1)
    assert report.n == 6
    assert view.count() == 6
    assert report.prompt_tokens["memory"][3] == report.prompt_tokens["none"][3] + 24


def test_flags_are_looked_up_in_the_memory(memory: ContinuousMemory, tmp_path: Path):
    memory.add([item(row) for row in rows()])
    recall = find_by_flag(memory)
    assert list(recall) == [1, 5, 10]
    assert 0.1 < recall[1] <= recall[5] <= recall[10] <= 1


def test_the_demo_runs_with_any_memory(memory: ContinuousMemory, capsys: Any):
    run(memory.namespace("demo"), Console(width=200))
    shown = capsys.readouterr().out
    assert "parameters are trained" in shown
    assert f"{len(rows())} countries, each (8, 64) vectors" in shown
    assert "recall@1" in shown
    assert all(question.split()[0] in shown for question, _ in ASKED)
    assert shown.count("memory") >= len(ASKED)
