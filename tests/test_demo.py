"""`comem demo`: what it prints, that it encodes nothing twice, and that it can be stopped."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.saved import save_roomy
from typer.testing import CliRunner

from comem_memory import ContinuousMemory, MemoryEncoder, opening
from comem_memory.cli import app as cli
from comem_memory.cli.demonstration import FOLDER, MODES, questions
from comem_memory.files import read_items
from comem_memory.testing import tiny_key

STOPPED = """
import signal, sys, time
from comem_memory import opening, progress
from comem_memory.cli import main
from comem_memory.encoder import MemoryEncoder
from comem_memory.testing import tiny_key
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
opening.default_key, progress.LINE_SECONDS = tiny_key, 0.01
def encode_batch(self, items):
    time.sleep(0.1)
    print("encoding", flush=True)
    time.sleep(60)
MemoryEncoder.encode_batch = encode_batch
main()
"""
"""The command with a tiny model, which waits while it encodes, to be stopped there."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    base, adapter = save_roomy(tmp_path_factory.mktemp("roomy"))
    return ["--model", str(base), "--adapter", str(adapter)]


def test_stopped_gone_on_and_run_again(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = [*tiny, "-n", "ada", "demo", "--directory", str(tmp_path / "demo")]
    command = [sys.executable, "-c", STOPPED, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert "encoding\n" in iter(running.stdout.readline, "")
        running.send_signal(signal.SIGINT)
        _, told = running.communicate()
    assert running.returncode == 130
    assert re.search(r"^encoding: 0/24 item in 00:0\d, \? left$", told, re.MULTILINE), told
    assert told.endswith("\nstopped: what is done is kept, and the same command goes on from there.\n")
    assert "Traceback" not in told

    encoded: list[int] = []
    real = MemoryEncoder.encode_batch
    monkeypatch.setattr(
        MemoryEncoder, "encode_batch", lambda self, batch: (encoded.append(len(batch)), real(self, batch))[1]
    )
    monkeypatch.setattr(opening, "default_key", tiny_key)
    first, second = (CliRunner().invoke(cli.app, arguments, catch_exceptions=False) for _ in range(2))
    assert (first.exit_code, second.exit_code, sum(encoded)) == (0, 0, 24)
    assert "24 private facts, 4 with a picture, are stored after" in first.stdout
    assert "encoded before and not again" in second.stdout
    assert "encoded before and not again" not in first.stdout
    for shown in (first.stdout, second.stdout):
        lines = shown.splitlines()
        answered = [line.split()[:2] for line in lines if line.split()[1:2] in (["yes"], ["no"])]
        assert [mode for mode, _ in answered] == [*MODES] * len(questions())
        right = [sum(mark == "yes" for mode, mark in answered if mode == asked) for asked in MODES]
        [summed_up] = [line for line in lines if line.startswith("Of 10 questions right: ")]
        assert [int(number) for number in re.findall(r"(\d+) with", summed_up)] == right
    assert all(one["question"] in first.stdout for one in questions())
    [hint] = re.findall(r'^  comem (.* ask ".*")$', first.stdout, re.MULTILINE)
    assert CliRunner().invoke(cli.app, [*shlex.split(hint), "--json"], catch_exceptions=False).exit_code == 0


def test_no_question_holds_its_answer_and_every_answer_is_stored():
    items = list(read_items(str(FOLDER / "items.jsonl")))
    assert len({item.id for item in items}) == len(items) == 24
    assert sum(item.image is not None for item in items) == 4
    for one in questions():
        assert one["answer"].lower() not in one["question"].lower()
        assert any(one["answer"].lower() in (item.text or "").lower() for item in items)
        assert "image" not in one or (FOLDER / one["image"]).is_file()


@pytest.mark.slow
def test_the_embedded_default_finds_what_is_asked_and_answers(tmp_path: Path):
    """Each question recalls the item that holds its answer, those with a photograph too."""
    with ContinuousMemory.from_pretrained(persist_directory=tmp_path) as memory:
        memory.add(list(read_items(str(FOLDER / "items.jsonl"))))
        for one in questions():
            image = FOLDER / one["image"] if "image" in one else None
            [hit] = memory.search(one["question"], image=image, k=1)
            assert one["answer"] in (hit.text or "")
        said = {mode: memory.answer(questions()[0]["question"], k=1, mode=mode).text for mode in MODES}
        assert "ginger tea" in said["text"] and "ginger tea" not in said["none"]
