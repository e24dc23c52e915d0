"""What a memory is made of is found by name: the embedded default like any other model."""

from hashlib import sha256
from pathlib import Path

import pytest
from helpers.saved import save_tiny

from comem_memory import mini
from comem_memory.mini.assembly import ASSEMBLY, PROJECTOR
from comem_memory.opening import find_model, load_backbone, open_key
from comem_memory.testing import tiny_backbone


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the embedded default is kept, with a tiny model in its place."""
    monkeypatch.setenv("COMEM_CACHE", str(tmp_path / "cache"))
    base, _ = save_tiny(tmp_path)
    folder = tmp_path / "cache" / f"mini-{ASSEMBLY}-{sha256(PROJECTOR.read_bytes()).hexdigest()[:8]}"
    folder.parent.mkdir()
    return base.rename(folder)


@pytest.mark.parametrize("model", [None, mini.NAME])
def test_the_embedded_default_has_its_own_name_wherever_it_lies(embedded: Path, model: str | None):
    assert find_model(model) == (mini.NAME, str(embedded))
    backbone = load_backbone(model)
    assert backbone.name == mini.NAME
    assert backbone.fingerprint() == tiny_backbone().fingerprint()


def test_any_other_model_is_called_what_it_was_asked_for(embedded: Path):
    assert find_model("Qwen/Qwen2.5-VL-7B-Instruct") == ("Qwen/Qwen2.5-VL-7B-Instruct",) * 2
    backbone = load_backbone(str(embedded), max_pixels=1000)
    assert backbone.name == str(embedded)
    assert backbone.prompts.max_pixels == 1000


@pytest.mark.parametrize(("name", "measured"), [("multilingual-e5-small", 0.16), ("all-MiniLM-L6-v2", None)])
def test_a_key_has_the_least_similarity_that_was_measured_of_it(name: str, measured: float | None):
    assert open_key(name).min_similarity == measured
