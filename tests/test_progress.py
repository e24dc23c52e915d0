"""How far long work is told: on a terminal, in a log, or not at all."""

import logging
import re
import sys
import time
from typing import Any

import pytest
from tqdm.auto import tqdm

from comem_memory import progress
from comem_memory.progress import progress_bar, tracked, working


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.05)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, is_one: bool = True) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_one, raising=False)


def work(seconds: float) -> list[int]:
    done = []
    for number in tracked(range(3), "counting", unit="number"):
        time.sleep(seconds)
        done.append(number)
    return done


def test_a_log_has_lines_even_while_one_step_takes_long(caplog: pytest.LogCaptureFixture, capsys: Any):
    caplog.set_level(logging.INFO)
    assert work(0.12) == [0, 1, 2]
    assert any(message.startswith("counting: 0/3 number in 00:00") for message in caplog.messages)
    assert caplog.messages[-1].startswith("counting: 3/3 number in 00:00")
    assert len(caplog.messages) >= 5
    assert capsys.readouterr().err.count("\r") == 0


def test_bars_of_other_libraries_are_lines_too(caplog: pytest.LogCaptureFixture, capsys: Any):
    caplog.set_level(logging.INFO)
    with progress.lines_of_other_bars():
        for seconds in (0, 0.03):
            for _ in tqdm(range(3), desc="Loading weights"):
                for _ in tqdm(range(2), leave=False):
                    time.sleep(seconds)
    list(tqdm(range(3), desc="On its own"))
    assert any(message.startswith("Loading weights:  33%| 1/3 it in 00:00") for message in caplog.messages)
    assert caplog.messages[-1].startswith("Loading weights: 100%| 3/3 it in 00:00")
    assert all(re.fullmatch(r"[ -~]+", message) for message in caplog.messages), "nothing moves a cursor"
    assert "Loading" not in capsys.readouterr().err


def test_a_library_is_silent_unless_its_users_logging_shows_it(caplog: pytest.LogCaptureFixture, capsys: Any):
    caplog.set_level(logging.WARNING)
    work(0.1)
    assert caplog.messages == []
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(capsys: Any, monkeypatch: pytest.MonkeyPatch):
    on_a_terminal(monkeypatch)
    work(0.1)
    shown = capsys.readouterr().err
    assert "counting: 100%" in shown
    assert shown.endswith("\n")


def test_short_work_shows_nothing(capsys: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    on_a_terminal(monkeypatch)
    work(0)
    on_a_terminal(monkeypatch, False)
    caplog.set_level(logging.INFO)
    work(0)
    assert capsys.readouterr().err == ""
    assert caplog.messages == []


def test_it_can_be_silenced(capsys: Any, monkeypatch: pytest.MonkeyPatch):
    on_a_terminal(monkeypatch)
    with progress_bar("counting", False):
        time.sleep(0.1)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    work(0.1)
    assert capsys.readouterr().err == ""


def test_work_that_tells_nothing_is_told_by_its_time(capsys: Any, monkeypatch: pytest.MonkeyPatch):
    on_a_terminal(monkeypatch)
    with working("putting it together"):
        time.sleep(0.12)
    assert "putting it together: 00:00" in capsys.readouterr().err


def test_work_that_fails_ends_its_bar(capsys: Any, monkeypatch: pytest.MonkeyPatch):
    on_a_terminal(monkeypatch)

    def stopped() -> None:
        with progress_bar("counting", total=3):
            time.sleep(0.12)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    before = capsys.readouterr().err
    time.sleep(0.12)
    assert before.endswith("\n")
    assert capsys.readouterr().err == ""
