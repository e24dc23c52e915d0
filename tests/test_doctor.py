"""What `comem doctor` counts is what the model then takes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from comem_memory import MemoryEncoder, opening
from comem_memory.cli import app as cli
from comem_memory.cli.plan import CONTEXT, Device, devices, make_plan, tables
from comem_memory.errors import ModelError
from comem_memory.model import Backbone
from comem_memory.testing import tiny_backbone, tiny_key


@pytest.fixture(scope="module")
def folder(family: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of a model, without its weights."""
    folder = tmp_path_factory.mktemp(str(family))
    tiny_backbone(family).model.config.save_pretrained(folder)
    return folder


def test_parameters_and_adapter_are_those_of_the_model(family: Any, folder: Path):
    plan = make_plan(str(folder), items=1, key_dimension=8)
    backbone = tiny_backbone(family)
    assert plan.parameters == sum(weight.numel() for weight in backbone.model.parameters())
    assert plan.weights["bf16"] == 2 * plan.parameters < plan.weights["fp32"]
    assert plan.weights["4-bit"] < plan.weights["8-bit"] < plan.weights["bf16"]
    assert plan.trained == MemoryEncoder.create(backbone, num_attention_heads=4).num_parameters().trainable
    assert plan.hidden_size == backbone.hidden_size


def test_the_cache_is_that_of_the_model(backbone: Backbone, folder: Path):
    plan = make_plan(str(folder), items=1, key_dimension=8)
    tokens = torch.arange(10, 20)[None]  # fewer than any sliding window
    with torch.no_grad():
        cache = backbone.model(input_ids=tokens, use_cache=True).past_key_values
    halves = sum(2 * (layer.keys.numel() + layer.values.numel()) for layer in cache.layers)
    assert plan.cache == halves // 10 * CONTEXT
    assert plan.cache_of_item == halves * 8 // 10


@pytest.mark.parametrize("family", ["llama", "qwen2_5_vl"])
def test_what_training_on_an_item_keeps_is_what_autograd_saves(family: Any, tmp_path: Path):
    backbone = tiny_backbone(family)
    backbone.model.config.save_pretrained(tmp_path)
    backbone.model.to(torch.bfloat16)
    encoder = MemoryEncoder.create(backbone, num_attention_heads=4, max_length=2048)
    encoder.gradient_checkpointing_enable()
    encoder.train()
    own = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}

    def saved(tokens: int) -> int:
        seen: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = storage
            return tensor

        ids = torch.full((1, tokens), 20)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu"):
            encoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        return sum(storage.nbytes() for storage in seen.values())

    text = backbone.model.config.get_text_config()
    a_layer_again = 2 * (28 * text.hidden_size + 8 * text.intermediate_size)
    plan = make_plan(str(tmp_path), items=1, key_dimension=8)
    of_pictures = 4 * 2 * 2 * 32 if family == "qwen2_5_vl" else 0  # 4 patches, 2 layers of 32 numbers of 2 bytes
    kept = plan.learning[512] / 512 - a_layer_again - of_pictures
    assert kept == pytest.approx((saved(768) - saved(256)) / 512, rel=0.03)
    assert plan.learning[15_000] > plan.reading[15_000] > plan.reading[6000]


def test_the_store_grows_with_its_items(tmp_path: Path):
    tiny_backbone("llama").model.config.save_pretrained(tmp_path)
    one, many = (make_plan(str(tmp_path), items=n, key_dimension=100) for n in (1, 10_000_000))
    assert many.index == 10_000_000 * one.index > 10_000_000 * 400
    assert all(many.disk[p] == 10_000_000 * one.disk[p] for p in one.disk)
    assert one.disk["int4"] < one.disk["int8"] < one.disk["bf16"] < one.disk["fp32"]


def test_the_machine_is_named_and_the_tables_can_be_read(folder: Path):
    *_, cpu = devices()
    assert cpu.name == "cpu"
    assert 0 < cpu.free <= cpu.total
    plan = make_plan(str(folder), items=1000, key_dimension=8, name="tiny")
    with (console := Console(width=160)).capture() as shown:
        for table in tables(plan, devices()):
            console.print(table)
    assert all(word in shown.get() for word in ("tiny", "4-bit", "int8", "1,000 items", "yes"))


def test_what_fits_now_and_what_did_if_the_device_were_free(tmp_path: Path):
    tiny_backbone("llama").model.config.save_pretrained(tmp_path)
    plan = make_plan(str(tmp_path), items=1, key_dimension=8)
    answer, train = plan.needed("fp32"), plan.needed("fp32") + plan.training - plan.adapter
    some = (answer + train) * 5 // 8  # less a fifth, half way between them
    device = Device("gpu", 2 * train, some)
    assert (device.fits(answer), device.fits(train)) == ("yes", "if freed")
    assert Device("small", some, some).fits(train) == "no"
    with (console := Console(width=200)).capture() as shown:
        console.print(tables(plan, [device])[0])
    assert "yes / if freed" in shown.get()


def test_a_model_that_is_not_there():
    with pytest.raises(ModelError, match="cannot be loaded"):
        make_plan("nowhere/at-all", items=1, key_dimension=8)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening, "default_key", tiny_key)
    tiny_backbone("qwen2_5_vl").model.config.save_pretrained(tmp_path)
    done = CliRunner().invoke(cli.app, ["--model", str(tmp_path), "doctor", "--items", "5", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["items"] == 5
