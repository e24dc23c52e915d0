"""Training in several processes, as `accelerate launch` starts them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from comem_memory.cli.app import app
from comem_memory.errors import AdapterError
from comem_memory.testing import tiny_backbone
from comem_memory.training.recipe import TrainingRecipe
from comem_memory.training.train import train_encoder

OPTIONS = (
    *("--steps", "3", "--batches", "2", "--warm-start-steps", "2", "--prompt-steps", "2"),
    *("--max-facts", "1", "--no-pictures", "--gradient-checkpointing"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    backbone = tiny_backbone("qwen2")
    backbone.model.save_pretrained(folder)
    backbone.prompts.tokenizer.save_pretrained(folder)
    return folder


def test_two_processes_learn_what_one_does(model: Path, tmp_path: Path):
    """The same weights after the same steps: each of the two works through one of the two batches of a step."""
    train = ["--model", str(model), "train"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    plain = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launched = subprocess.run(
        [*launch, *plain, Path(sys.executable).with_name("comem"), *train, tmp_path / "two", *OPTIONS],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert launched.stdout.count("Saved to") == 1
    alone = CliRunner().invoke(app, [*train, str(tmp_path / "one"), *OPTIONS])
    assert alone.exit_code == 0, alone.output
    for file in ("adapter_model.safetensors", "qformer.safetensors", "reader_prompts.safetensors"):
        one, two = (load_file(tmp_path / name / "checkpoint-3" / file) for name in ("one", "two"))
        assert one.keys() == two.keys()
        for name, weight in one.items():
            torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=1e-4, msg=name)


def test_processes_that_cannot_share_a_step_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(AdapterError, match="2 processes cannot share 3 batches of a step. Pass --batches 2"):
        train_encoder(tiny_backbone("qwen2"), tmp_path / "adapter", TrainingRecipe(batches=3, pictures=False))
    assert not (tmp_path / "adapter").exists()
