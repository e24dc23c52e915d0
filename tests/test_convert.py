"""The authors' checkpoints: the recorded one as real data, made sharded, rounded, damaged, and of an older training."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from helpers.parity import EXPECTED, FOLDER, knowledge, question
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.cli import app as cli
from comem_memory.convert import ConversionReport, FrozenWeights, convert_checkpoint, export_checkpoint
from comem_memory.convert.layout import AGENTS
from comem_memory.convert.lowrank import decompose
from comem_memory.convert.weights import INDEX_FILE, SINGLE_FILE, WeightFiles, write_shards
from comem_memory.encoder import MemoryEncoder
from comem_memory.errors import AdapterError, CheckpointError
from comem_memory.model import Backbone, auto_class
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key

WEIGHTS = load_file(FOLDER / SINGLE_FILE)
UPDATED = (FOLDER / "lora_updated_keys.txt").read_text().split()
CHANGED = [name for name in UPDATED if name.startswith("model.layers.")][:3]
Weights = dict[str, torch.Tensor]


def save_checkpoint(folder: Path, weights: Weights, *, shards: int = 1, **config: object) -> Path:
    """A folder as save_pretrained writes it, with the recorded config but for what is given."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(json.loads((FOLDER / "config.json").read_bytes()) | config))
    weight_map = {name: f"model-{i % shards + 1:05d}-of-{shards:05d}.safetensors" for i, name in enumerate(weights)}
    if shards == 1:
        save_file(weights, folder / SINGLE_FILE, metadata={"format": "pt"})
        return folder
    for file in set(weight_map.values()):
        save_file({n: w for n, w in weights.items() if weight_map[n] == file}, folder / file)
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded frozen model as the stock model that it is."""
    weights = {n.removeprefix("model_inf."): w for n, w in WEIGHTS.items() if n.startswith("model_inf.")}
    return save_checkpoint(tmp_path_factory.mktemp("base") / "base", weights)


def load(folder: Path, model: str | Path) -> MemoryEncoder:
    stock = AutoModelForImageTextToText.from_pretrained(model, attn_implementation="eager")
    return MemoryEncoder.from_pretrained(folder, Backbone(stock, None, name=str(model)))


@torch.no_grad()
def vectors(encoder: MemoryEncoder) -> torch.Tensor:
    """Of the three recorded items, (3, 8, 64)."""
    return encoder(encoder.backbone.batch([knowledge(i) for i in range(3)]))


def memories(folder: Path, model: str | Path) -> torch.Tensor:
    """Of the three recorded items, (3, 8, 64)."""
    return vectors(load(folder, model))


def furthest(found: torch.Tensor) -> float:
    """From the recorded memory vectors."""
    return float((found - torch.stack([EXPECTED[f"item{i}_memory"] for i in range(3)])).abs().max())


def convert(
    checkpoint: Path, base: Path, out: Path, frozen: FrozenWeights = "base", *, exact: bool = False
) -> ConversionReport:
    return convert_checkpoint(checkpoint, base=base, out=out, frozen=frozen, exact=exact, num_attention_heads=4)


# -- what comes out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 5])
def test_float32_gives_the_recorded_memory_vectors(base: Path, tmp_path: Path, shards: int):
    report = convert(save_checkpoint(tmp_path / "checkpoint", WEIGHTS, shards=shards), base, tmp_path / "adapter")
    difference = furthest(memories(tmp_path / "adapter", base))
    print(f"float32, {shards} shards: largest difference {difference:.1e}")
    assert difference < 1e-4
    assert (report.lora.r, report.lora.lora_alpha) == (4, 8)
    assert {matrix.name for matrix in report.matrices} == set(UPDATED)
    assert all(matrix.rank == 4 and matrix.gap is not None and matrix.gap > 1e3 for matrix in report.matrices)
    assert max(matrix.relative_error for matrix in report.matrices) < 1e-5
    assert not report.frozen_differences and not report.lost
    assert report.findings[1] == "model_inf is the base model, as it should be."
    assert ConversionReport.model_validate_json((tmp_path / "adapter" / "convert.json").read_bytes()) == report
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "checkpoint"], "the work folder is gone"
    config = json.loads((tmp_path / "adapter" / "config.json").read_text())
    assert config["recommended_mode"] == "memory", "as the authors answer"
    assert config["lora"]["r"] == 4
    assert config["qformer"]["num_attention_heads"] == 4
    assert config["base_model"] == str(base)


def merged(folder: Path, weights: Weights) -> MemoryEncoder:
    """The authors' encoder itself: its merged weights as a stock model, and the Q-Former."""
    stock = {n: w for n, w in weights.items() if not n.startswith(("model_inf.", "knowledge_processor."))}
    model = AutoModelForImageTextToText.from_pretrained(
        save_checkpoint(folder, stock), attn_implementation="eager", dtype=torch.float32
    )
    encoder = MemoryEncoder.create(Backbone(model, None, name="merged"), num_attention_heads=4)
    prefix = "knowledge_processor."
    qformer = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    qformer["query_tokens"] = qformer.pop("latents")
    encoder.qformer.load_state_dict(qformer)
    return encoder


def test_exact_gives_the_recorded_memory_vectors(base: Path, tmp_path: Path):
    report = convert(FOLDER, base, tmp_path / "exact", exact=True)
    difference = furthest(memories(tmp_path / "exact", base))
    print(f"exact, float32: largest difference {difference:.1e}")
    assert difference < 1e-4
    assert {matrix.name: matrix.rank for matrix in report.matrices} == {n: min(WEIGHTS[n].shape) for n in UPDATED}
    assert {matrix.relative_error for matrix in report.matrices} == {0.0}
    assert report.findings[0] == "Updates kept whole in 26 of 26 matrices."
    export_checkpoint(tmp_path / "exact", base=base, out=tmp_path / "checkpoint")
    back = WeightFiles(tmp_path / "checkpoint")
    for name, weight in WEIGHTS.items():
        torch.testing.assert_close(back.read(name), weight, atol=1e-7 if name in UPDATED else 0, rtol=0)


def test_exact_keeps_what_a_low_rank_leaves_out(base: Path, tmp_path: Path):
    """Of a bfloat16 checkpoint that is the rounding of the merged matrices, with which the authors' encoder runs."""
    weights = {name: w.bfloat16() for name, w in WEIGHTS.items()}
    checkpoint = save_checkpoint(tmp_path / "checkpoint", weights)
    frozen = save_checkpoint(
        tmp_path / "frozen", {n.removeprefix("model_inf."): w for n, w in weights.items() if n.startswith("model_inf.")}
    )
    expected = vectors(merged(tmp_path / "merged", weights))
    differences = {}
    for exact in (False, True):
        convert(checkpoint, frozen, tmp_path / f"exact-{exact}", exact=exact)
        stock = AutoModelForImageTextToText.from_pretrained(frozen, attn_implementation="eager", dtype=torch.float32)
        encoder = MemoryEncoder.from_pretrained(tmp_path / f"exact-{exact}", Backbone(stock, None, name="frozen"))
        differences[exact] = float((vectors(encoder) - expected).abs().max())
    print(f"bfloat16: largest difference low-rank {differences[False]:.1e}, exact {differences[True]:.1e}")
    assert differences[True] < 1e-4
    assert differences[True] < differences[False] / 100


def test_exact_holds_an_encoder_that_was_trained_without_a_lora(base: Path, tmp_path: Path):
    generator = torch.Generator().manual_seed(3)
    weights = WEIGHTS | {
        name: (WEIGHTS[name] + 0.02 * torch.randn(WEIGHTS[name].shape, generator=generator)).bfloat16()
        for name in UPDATED
    }
    checkpoint = save_checkpoint(tmp_path / "checkpoint", weights)
    with pytest.raises(CheckpointError, match=r"is not low-rank.*comem convert --exact"):
        convert(checkpoint, base, tmp_path / "low-rank")
    convert(checkpoint, base, tmp_path / "exact", exact=True)
    expected = vectors(merged(tmp_path / "merged", weights))
    difference = float((memories(tmp_path / "exact", base) - expected).abs().max())
    print(f"full-rank update: largest difference {difference:.1e}")
    assert difference < 1e-4
    assert furthest(expected) > 0.01, "it is another encoder"


def test_an_exact_adapters_scale_is_part_of_its_fingerprint(base: Path, tmp_path: Path):
    convert(FOLDER, base, tmp_path / "exact", exact=True)
    config = json.loads((tmp_path / "exact" / "config.json").read_text())
    config["lora"]["alpha_pattern"] = {name: alpha * 2 for name, alpha in config["lora"]["alpha_pattern"].items()}
    (tmp_path / "exact" / "config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="are not those that were saved"):
        load(tmp_path / "exact", base)


@pytest.mark.parametrize("frozen", get_args(FrozenWeights))
def test_bfloat16_gives_them_up_to_rounding(base: Path, tmp_path: Path, frozen: FrozenWeights):
    """The recorded update is large; rounding the checkpoint is all that is lost."""
    checkpoint = save_checkpoint(tmp_path / "checkpoint", {name: w.bfloat16() for name, w in WEIGHTS.items()})
    report = convert(checkpoint, base, tmp_path / "adapter", frozen)
    model = report.frozen_model
    difference = furthest(memories(tmp_path / "adapter", model))
    worst = max(matrix.rounding_error for matrix in report.matrices)
    print(f"bfloat16, {frozen}: largest difference {difference:.1e}, worst rounding error {worst:.2%}")
    assert report.lora.r == 4
    assert report.dtype == "bfloat16"
    assert difference < 0.1
    assert not report.frozen_differences, "model_inf is the base model, rounded"


@pytest.mark.parametrize("outliers", [False, True])
@pytest.mark.parametrize(
    ("rows", "columns", "size", "accuracy"),
    [(400, 600, 0.05, 1.1), (96, 32, 0.02, 1.1), (400, 600, 0.0015, 2), (64, 128, 0.0015, 2)],
)
def test_the_predicted_rounding_error(rows: int, columns: int, size: float, accuracy: float, outliers: bool):
    """It is right for updates above the rounding, and within a factor of two for those below; four with outliers."""
    accuracy = 4 if outliers else accuracy
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(rows, columns, generator=generator) * 0.03).bfloat16()
    if outliers:  # a few columns and single weights, as in trained language models
        weight[:, :3] *= 20
        weight[5, 7] = 8.0
    true = (
        torch.randn(rows, 8, generator=generator)
        * 0.6 ** torch.arange(8)
        @ torch.randn(8, columns, generator=generator)
    )
    true *= size * weight.float().norm() / true.norm()
    update, found = decompose((weight.float() + true).bfloat16(), weight, frozen_was_rounded=False)
    error = float((found.b[:, :8] @ found.a[:8] - true).norm() / true.norm())
    predicted = update.quality(8).rounding_error
    print(f"{rows} x {columns}, update {size:.2%}: error {error:.1%}, predicted {predicted:.1%}, rank {update.rank}")
    assert 1 / accuracy < predicted / error < accuracy
    assert update.rank <= 8, "no noise is taken for signal"
    exact, factors = decompose(weight.float() + true, weight, frozen_was_rounded=False)
    assert exact.rank == 8
    assert (factors.b[:, :8] @ factors.a[:8] - true).norm() < 1e-3 * true.norm()


def test_an_update_that_bfloat16_cannot_carry_is_named(base: Path, tmp_path: Path):
    name = "model.layers.0.mlp.up_proj.weight"
    small = dict(WEIGHTS)
    frozen = WEIGHTS[f"model_inf.{name}"]
    delta = WEIGHTS[name] - frozen
    small[name] = frozen + delta * (0.0015 * frozen.norm() / delta.norm())
    checkpoint = save_checkpoint(tmp_path / "checkpoint", {n: w.bfloat16() for n, w in small.items()})
    report = convert(checkpoint, base, tmp_path / "adapter")
    [matrix] = [matrix for matrix in report.matrices if matrix.is_too_small]
    assert matrix.name == name
    assert "1 updates are too small for bfloat16 to carry" in report.findings[1]


# -- a frozen model that is not the base ---------------------------------------------------------------------


def load_weights(folder: Path) -> Weights:
    files = WeightFiles(folder)
    return {name: files.read(name) for name in files.tensors}


def assert_what_answers(folder: Path, checkpoint: Weights) -> None:
    """Layers and norm of `model_inf`, all else the encoder's, as stored."""
    for name, weight in load_weights(folder).items():
        inner = name.startswith(("model.layers.", "model.norm."))
        held = checkpoint[f"model_inf.{name}" if inner else name]
        assert weight.dtype == held.dtype and torch.equal(weight, held), name


@pytest.fixture
def two_loras(tmp_path: Path) -> Path:
    """As the authors' training leaves it: `model_inf` has an update of its own."""
    generator = torch.Generator().manual_seed(1)
    weights = dict(WEIGHTS)
    for name in CHANGED:
        rows, columns = weights[name].shape
        update = torch.randn(rows, 2, generator=generator) @ torch.randn(2, columns, generator=generator)
        weights[f"model_inf.{name}"] = weights[f"model_inf.{name}"] + 0.01 * update
    return save_checkpoint(tmp_path / "two-loras", weights, shards=2)


def test_a_changed_frozen_model_is_reported(base: Path, two_loras: Path, tmp_path: Path):
    report = convert(two_loras, base, tmp_path / "adapter")
    assert {d.name for d in report.frozen_differences} == {f"model_inf.{name}" for name in CHANGED}
    assert "--frozen from-checkpoint" in " ".join(report.findings)
    assert furthest(memories(tmp_path / "adapter", base)) < 1e-4, "vectors come from the encoder's weights alone"


def test_the_checkpoints_own_frozen_model(base: Path, two_loras: Path, tmp_path: Path):
    (base / "preprocessor_config.json").write_text("{}")
    report = convert(two_loras, base, tmp_path / "adapter", "from-checkpoint")
    frozen = tmp_path / "adapter" / "frozen"
    assert report.frozen_model == str(frozen)
    assert report.lora.r == 6, "the encoder's update less the frozen model's"
    assert furthest(memories(tmp_path / "adapter", frozen)) < 1e-4
    assert_what_answers(frozen, load_weights(two_loras))
    assert (frozen / "preprocessor_config.json").exists()
    with pytest.raises(AdapterError, match="other weights"):
        load(tmp_path / "adapter", base)


@pytest.mark.parametrize("frozen", get_args(FrozenWeights))
def test_shards_of_two_dtypes(tmp_path: Path, frozen: FrozenWeights):
    """The encoder merged in float16 beside a `model_inf` in bfloat16, as the agents' checkpoints hold them."""
    stock = {n.removeprefix("model_inf."): w.bfloat16() for n, w in WEIGHTS.items() if n.startswith("model_inf.")}
    updates = {name: WEIGHTS[name] - WEIGHTS[f"model_inf.{name}"] for name in UPDATED}
    encoder = {name: (weight.float() + updates.get(name, 0)).half() for name, weight in stock.items()}
    qformer = {name: w.half() for name, w in WEIGHTS.items() if name.startswith("knowledge_processor.")}
    weights = {f"model_inf.{name}": w for name, w in stock.items()} | encoder | qformer
    checkpoint = save_checkpoint(tmp_path / "checkpoint", weights, shards=3)
    dtypes = {frozenset(w.dtype for w in load_file(file).values()) for file in checkpoint.glob("*.safetensors")}
    assert dtypes == {frozenset([torch.float16, torch.bfloat16])}, "in every shard"
    report = convert(checkpoint, save_checkpoint(tmp_path / "base", stock), tmp_path / "adapter", frozen)
    assert not report.frozen_differences and not report.lost
    lora = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    found = {n: 2 * lora[n.replace("_A.", "_B.")] @ lora[n] for n in lora if "_A." in n}
    assert len(found) == len(UPDATED)
    for name, update in updates.items():
        module = name.removesuffix(".weight").replace("model.", "model.language_model.", 1)
        module = module.replace("visual.", "model.visual.", 1)
        own = update if frozen != "from-checkpoint" or name.startswith("model.layers.") else torch.zeros_like(update)
        made = found[f"base_model.model.{module}.lora_A.weight"]
        assert (made - own).norm() < 3e-3 * update.norm(), "up to float16's rounding; bfloat16's is 8 times that"
    made_qformer = load_file(tmp_path / "adapter" / "qformer.safetensors")
    assert torch.equal(made_qformer["query_tokens"], qformer["knowledge_processor.latents"])
    if frozen != "base":
        own_model = "frozen" if frozen == "from-checkpoint" else "answering"
        assert_what_answers(tmp_path / "adapter" / own_model, weights)


@pytest.mark.parametrize("frozen", get_args(FrozenWeights))
@torch.no_grad()
def test_a_question_with_a_picture_is_answered_as_recorded(base: Path, tmp_path: Path, frozen: FrozenWeights):
    """By the checkpoint's own model: the authors' code looks at the picture with the encoder's tower."""
    report = convert(FOLDER, base, tmp_path / "adapter", frozen)
    own = report.answering_model or report.frozen_model
    stock = AutoModelForImageTextToText.from_pretrained(own, attn_implementation="eager", dtype=torch.float32)
    backbone = Backbone(stock, None, name=own)
    memory = memories(tmp_path / "adapter", report.frozen_model).flip(0).flatten(0, 1)
    logits = backbone.logits(backbone.batch([question()], [memory]))
    difference = float((logits - EXPECTED["prefill_logits"]).abs().max())
    print(f"{frozen}: largest difference of a logit {difference:.1e}")
    assert (difference < 1e-4) == (frozen != "base")


def test_a_checkpoint_of_the_agents_reads_trajectories(base: Path, tmp_path: Path):
    plain = convert(FOLDER, base, tmp_path / "knowledge")
    convert_checkpoint(FOLDER, base=base, out=tmp_path / "trajectory", layout="trajectory", num_attention_heads=4)
    told = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("knowledge", "trajectory")]
    settings = [(one["layout"], one["order"], one["recommended_mode"], one["max_length"]) for one in told]
    window = load(tmp_path / "trajectory", base).backbone.max_length
    assert settings[0][:3] == ("knowledge", "best_last", "memory")
    assert settings[1] == ("trajectory", "best_first", "both", min(16384, window))
    assert furthest(memories(tmp_path / "trajectory", plain.frozen_model)) < 1e-4, "the weights are the same"
    with pytest.raises(ValueError, match="layout is 'steps'. Pass one of knowledge, trajectory, or None"):
        convert_checkpoint(FOLDER, base=base, out=tmp_path / "other", layout="steps")  # type: ignore[arg-type]


@torch.no_grad()
def test_an_encoder_of_another_base_than_the_model_that_answers(base: Path, tmp_path: Path):
    """As UI-TARS with a Qwen2.5-VL inside: every tensor differs, and only the encoder's base makes its update small."""
    generator = torch.Generator().manual_seed(5)
    other = {
        n.removeprefix("model_inf."): w + 0.3 * w.std().nan_to_num(1) * torch.randn(w.shape, generator=generator)
        for n, w in WEIGHTS.items()
        if n.startswith("model_inf.")
    }
    updates = {name: WEIGHTS[name] - WEIGHTS[f"model_inf.{name}"] for name in UPDATED}
    weights = WEIGHTS | {name: weight + updates.get(name, 0) for name, weight in other.items()}
    checkpoint = save_checkpoint(tmp_path / "checkpoint", weights, shards=2)
    others = save_checkpoint(tmp_path / "other", other)
    for wrong, frozen in ((base, "base"), (others, "from-checkpoint")):
        with pytest.raises(
            CheckpointError, match=r"is not low-rank.* would leave out \d+% of its norm.*--frozen apart"
        ) as refused:
            convert(checkpoint, wrong, tmp_path / "wrong", frozen)  # type: ignore[arg-type]
        print(refused.value)
        shutil.rmtree(tmp_path / "wrong.converting")
    report = convert(checkpoint, others, tmp_path / "adapter", "apart")
    assert report.lora.r == 4 and not report.lost
    assert report.frozen_model == str(others)
    assert report.answering_model == str(tmp_path / "adapter" / "answering")
    assert f"It answers, from {report.answering_model}, and the base model only encodes." in report.findings[1]

    expected = vectors(merged(tmp_path / "merged", weights))
    difference = float((memories(tmp_path / "adapter", others) - expected).abs().max())
    print(f"another base: largest difference {difference:.1e}")
    assert difference < 1e-4

    def stock(folder: Path) -> Any:
        return AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)

    outer, inner = stock(tmp_path / "merged"), stock(base)
    given: dict[str, Any] = {}
    outer.model.language_model.register_forward_pre_hook(lambda _, __, kwargs: given.update(kwargs), with_kwargs=True)
    outer(**knowledge(0))
    logits = outer.lm_head(inner.model.language_model(**given).last_hidden_state)  # as the authors' `forward`
    torch.testing.assert_close(stock(tmp_path / "adapter" / "answering")(**knowledge(0)).logits, logits)

    export_checkpoint(tmp_path / "adapter", base=others, out=tmp_path / "back")
    for name, weight in load_weights(tmp_path / "back").items():
        unused = name.startswith("model_inf.") and not name.startswith(
            ("model_inf.model.layers", "model_inf.model.norm")
        )
        expected = weights[name.removeprefix("model_inf.")] if unused else weights[name]
        torch.testing.assert_close(
            weight, expected, atol=1e-6 if name.removeprefix("model_inf.") in UPDATED else 0, rtol=0
        )


def test_what_no_lora_carries_is_reported(base: Path, tmp_path: Path):
    changed = WEIGHTS | {"model.norm.weight": WEIGHTS["model.norm.weight"] * 1.1}
    report = convert(save_checkpoint(tmp_path / "checkpoint", changed), base, tmp_path / "adapter")
    assert [d.name for d in report.lost] == ["model.norm.weight"]
    assert report.lost[0].relative_difference == pytest.approx(0.1, rel=1e-3)
    assert "1 tensors of the encoder outside the LoRA" in report.findings[-1]


# -- what is refused -----------------------------------------------------------------------------------------


def without(*names: str) -> Weights:
    return {name: weight for name, weight in WEIGHTS.items() if name not in names}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (without("model.norm.weight"), "lacks 1 tensors, first 'model.norm.weight'.*complete checkpoint"),
        (without("knowledge_processor.latents"), "no Q-Former.*dual model"),
        (without("knowledge_processor.proj_in.bias"), "lacks 1 tensors, first 'knowledge_processor.proj_in.bias'"),
        (without(*(n for n in WEIGHTS if n.startswith("model_inf."))), "lacks 57 tensors, first 'model_inf.lm_head"),
        (
            without("lm_head.weight") | {"model.lm_head.weight": WEIGHTS["lm_head.weight"]},
            "lacks 1 tensors, first 'lm_head.weight'",
        ),
        (WEIGHTS | {"model.extra": torch.zeros(1)}, "unexpected 1 tensors, first 'model.extra'"),
        (WEIGHTS | {"model.norm.weight": torch.zeros(32)}, "wrong shape for 1 tensors, first 'model.norm.weight'"),
        (WEIGHTS | {"model.norm.weight": torch.zeros(64, dtype=torch.int8)}, "holds I8 tensors"),
    ],
)
def test_other_tensors(base: Path, tmp_path: Path, weights: Weights, message: str):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", weights)
    with pytest.raises(CheckpointError, match=message):
        convert(checkpoint, base, tmp_path / "adapter")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"], "before any work"


def cut_short(folder: Path) -> None:
    file = folder / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def relabelled(folder: Path) -> None:
    index = json.loads((folder / INDEX_FILE).read_text())
    index["weight_map"]["model.other"] = index["weight_map"].pop("model.norm.weight")
    (folder / INDEX_FILE).write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "model-00002-of-00002.safetensors is damaged or cut short"),
        (lambda folder: (folder / "model-00001-of-00002.safetensors").unlink(), "lacks model-00001-of-00002"),
        (relabelled, "disagree on 2 tensors, first 'model.norm.weight'"),
        (lambda folder: (folder / INDEX_FILE).write_text("{}"), "no index of safetensors"),
        (lambda folder: (folder / INDEX_FILE).unlink(), "holds neither model.safetensors nor.*pickled"),
    ],
)
def test_damaged_files(base: Path, tmp_path: Path, damage: Callable[[Path], None], message: str):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", WEIGHTS, shards=2)
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        convert(checkpoint, base, tmp_path / "adapter")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"], "before any work"


def test_the_wrong_models_and_folders(base: Path, tmp_path: Path):
    out = tmp_path / "adapter"
    with pytest.raises(CheckpointError, match="'no/such' is neither a file nor a folder, and the hub"):
        convert_checkpoint("no/such", base=base, out=out)
    with pytest.raises(CheckpointError, match="'no/such' is neither"):
        convert_checkpoint(FOLDER, base="no/such", out=out)
    with pytest.raises(ValueError, match="frozen is 'published'. Pass one of base, from-checkpoint, apart, or None"):
        convert(FOLDER, base, out, "published")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="64 is not a multiple of 5 heads"):
        convert_checkpoint(FOLDER, base=base, out=out, num_attention_heads=5)
    with pytest.raises(CheckpointError, match="exists already"):
        convert(FOLDER, base, tmp_path)
    tiny_backbone("llava").model.save_pretrained(tmp_path / "llava")
    with pytest.raises(
        CheckpointError, match="is a llava, but the authors' checkpoints are of qwen2, qwen2_vl, qwen2_5_vl"
    ):
        convert(FOLDER, tmp_path / "llava", out)
    blind = {n: w for n, w in WEIGHTS.items() if not n.startswith("model_inf.visual.")}
    with pytest.raises(CheckpointError, match=r"lacks \d+ tensors, first 'model_inf.visual.*visual.\* if it sees"):
        convert(save_checkpoint(tmp_path / "blind", blind), base, out)
    other = {n.removeprefix("model_inf."): w for n, w in WEIGHTS.items() if n.startswith("model_inf.")}
    generator = torch.Generator().manual_seed(2)
    other = {n: torch.randn(w.shape, generator=generator) * w.std() if w.ndim == 2 else w for n, w in other.items()}
    with pytest.raises(CheckpointError, match="is not low-rank.*Pass the base model that the checkpoint"):
        convert(FOLDER, save_checkpoint(tmp_path / "other", other), out)
    assert not out.exists()


# -- resuming ------------------------------------------------------------------------------------------------


def test_a_killed_run_is_resumed(base: Path, tmp_path: Path):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", WEIGHTS, shards=3)
    out, work = tmp_path / "adapter", tmp_path / "adapter.converting"
    command = [sys.executable, "-c", "from comem_memory.cli.app import main; main()", "convert", str(checkpoint)]
    options = ["--base", str(base), "--out", str(out), "--heads", "4"]
    with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(work.glob("tensors/*.json"))) < 5:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    done = {file.name: file.stat().st_mtime_ns for file in work.glob("tensors/*.json")}
    assert 5 <= len(done) < 57, "killed while it worked"
    assert not out.exists()
    with pytest.raises(CheckpointError, match="holds work with another --frozen. Delete it"):
        convert(checkpoint, base, out, "from-checkpoint")
    assert {file.name: file.stat().st_mtime_ns for file in work.glob("tensors/*.json")} == done

    report = convert(checkpoint, base, out)
    assert report.resumed == len(done)
    assert not work.exists()
    unbroken = convert(checkpoint, base, tmp_path / "unbroken")
    assert unbroken.model_copy(update={"resumed": len(done)}) == report
    fingerprints = [(folder / "fingerprint.json").read_text() for folder in (out, tmp_path / "unbroken")]
    assert fingerprints[0] == fingerprints[1]


# -- and back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2", "qwen2_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_there_and_back(tmp_path: Path, family: str, dtype: torch.dtype):
    """Merged matrices are float32, so what returns is the adapter up to float32 rounding, on a bfloat16 base too."""
    backbone = tiny_backbone(family)  # type: ignore[arg-type]
    backbone.model.to(dtype).save_pretrained(tmp_path / "base")
    backbone.name = str(tmp_path / "base")
    encoder = tiny_encoder(backbone)
    encoder.save_pretrained(tmp_path / "adapter")
    export_checkpoint(tmp_path / "adapter", base=tmp_path / "base", out=tmp_path / "checkpoint")
    assert json.loads((tmp_path / "checkpoint" / "config.json").read_text())["architectures"][0].endswith("_new")
    report = convert(tmp_path / "checkpoint", tmp_path / "base", tmp_path / "back")
    assert report.lora == encoder.encoder_config.lora
    assert not report.frozen_differences and not report.lost
    assert not [matrix for matrix in report.matrices if matrix.is_too_small]

    def products(folder: Path) -> list[torch.Tensor]:
        lora = load_file(folder / "adapter_model.safetensors")
        return [lora[n.replace("_A.", "_B.")].double() @ lora[n].double() for n in sorted(lora) if "_A." in n]

    errors = [
        float((a - b).norm() / b.norm())
        for a, b in zip(products(tmp_path / "back"), products(tmp_path / "adapter"), strict=True)
    ]
    print(f"{family}, {dtype}: worst relative difference of an update {max(errors):.1e}")
    assert max(errors) < 1e-4
    assert_equal_qformers(tmp_path / "back", tmp_path / "adapter")
    if dtype == torch.float32:
        stock = auto_class(backbone.model.config).from_pretrained(tmp_path / "base")
        again = MemoryEncoder.from_pretrained(
            tmp_path / "back", Backbone(stock, backbone.prompts.processor, name=str(tmp_path / "base"))
        )
        items = [encoder.inputs("The blue door opens with the brass key.")]
        difference = (again.encode(items) - encoder.encode(items)).abs().max()
        print(f"{family}: largest difference of a memory vector {difference:.1e}")
        assert difference < 1e-4


def assert_equal_qformers(folder: Path, other: Path) -> None:
    ours, theirs = (load_file(f / "qformer.safetensors") for f in (folder, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_recorded_checkpoint_there_and_back(base: Path, tmp_path: Path):
    convert(FOLDER, base, tmp_path / "adapter")
    export_checkpoint(tmp_path / "adapter", base=base, out=tmp_path / "checkpoint")
    back = WeightFiles(tmp_path / "checkpoint")
    assert back.tensors.keys() == WEIGHTS.keys(), "the authors' names, every one"
    for name, weight in WEIGHTS.items():
        torch.testing.assert_close(back.read(name), weight, atol=1e-6 if name in UPDATED else 0, rtol=0)


def test_reader_prompts_are_left_out_of_an_export_which_says_so(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    convert(FOLDER, base, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "config.json").read_text())
    (tmp_path / "adapter" / "config.json").write_text(json.dumps(config | {"num_reader_tokens": 2}))
    prompts = {name: torch.ones(2, config["qformer"]["hidden_size"]) for name in ("reader_prompt", "restate_prompt")}
    save_file(prompts, tmp_path / "adapter" / "reader_prompts.safetensors")
    export_checkpoint(tmp_path / "adapter", base=base, out=tmp_path / "checkpoint")
    assert "exported without its reader prompts" in caplog.text
    assert WeightFiles(tmp_path / "checkpoint").tensors.keys() == WEIGHTS.keys()


def test_an_adapter_of_another_model_is_not_exported(base: Path, tmp_path: Path):
    backbone = tiny_backbone("qwen2_5_vl")
    tiny_encoder(backbone).save_pretrained(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="belongs to tiny-qwen2_5_vl-0 .* Pass the former"):
        export_checkpoint(tmp_path / "adapter", base=base, out=tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("frozen", get_args(FrozenWeights))
def test_a_tied_head_is_in_no_file(tmp_path: Path, frozen: FrozenWeights):
    """As transformers leaves it out of base and checkpoint when the head is the embedding matrix."""
    weights = {name: w for name, w in WEIGHTS.items() if "lm_head" not in name}
    stock = {n.removeprefix("model_inf."): w for n, w in weights.items() if n.startswith("model_inf.")}
    base = save_checkpoint(tmp_path / "base", stock, tie_word_embeddings=True)
    checkpoint = save_checkpoint(tmp_path / "checkpoint", weights, tie_word_embeddings=True)
    report = convert(checkpoint, base, tmp_path / "adapter", frozen)
    assert not report.frozen_differences and not report.lost
    model = load(tmp_path / "adapter", report.frozen_model)
    assert furthest(vectors(model)) < 1e-4
    head, embeddings = (m.weight for m in (model.backbone.model.lm_head, model.backbone.model.get_input_embeddings()))
    assert head is embeddings
    assert torch.equal(embeddings, WEIGHTS["model_inf.model.embed_tokens.weight"])
    export_checkpoint(tmp_path / "adapter", base=report.frozen_model, out=tmp_path / "back")
    back = WeightFiles(tmp_path / "back")
    assert back.tensors.keys() == weights.keys()
    for name, weight in weights.items():
        if frozen != "base" and name.startswith("model_inf.visual."):
            weight = weights[name.removeprefix("model_inf.")]  # the tower that the authors' code sees with
        torch.testing.assert_close(back.read(name), weight, atol=1e-6 if name in UPDATED else 0, rtol=0)


def test_tensors_are_made_one_shard_at_a_time(tmp_path: Path):
    sizes = {"a": 10, "b": 90, "c": 20, "d": 10}
    finished: dict[str, int] = {}

    def make(name: str) -> torch.Tensor:
        finished[name] = len(list(tmp_path.glob("*.safetensors")))
        return torch.full((sizes[name],), float(sizes[name]))

    shapes = {name: torch.empty(size, device="meta") for name, size in sizes.items()}
    write_shards(tmp_path, shapes, make, shard_bytes=2 * 4 * 40, description="writing")
    assert finished == {"b": 0, "a": 1, "c": 1, "d": 1}, "b is larger than a shard and has its own"
    files = WeightFiles(tmp_path)
    assert [file.name for file in files.files] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert all(torch.equal(files.read(name), torch.full((size,), float(size))) for name, size in sizes.items())


def test_an_interrupted_export_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stock = {n.removeprefix("model_inf."): w for n, w in WEIGHTS.items() if n.startswith("model_inf.")}
    base = save_checkpoint(tmp_path / "base", stock, shards=6)
    convert(FOLDER, base, tmp_path / "adapter")
    out, work = tmp_path / "checkpoint", tmp_path / "checkpoint.exporting"
    written = []

    def until_the_disk_is_full(tensors: Weights, file: Path, **kwargs: object) -> None:
        if len(written) == 3:
            file.write_bytes(b"cut short")
            raise OSError("No space left on device")
        save_file(tensors, file, **kwargs)  # type: ignore[arg-type]
        written.append(file)

    with monkeypatch.context() as patch:
        patch.setattr("comem_memory.files.tensors.save_file", until_the_disk_is_full)
        with pytest.raises(OSError, match="No space left"):
            export_checkpoint(tmp_path / "adapter", base=base, out=out)
    assert not out.exists()
    done = {file.name: file.stat().st_mtime_ns for file in work.glob("checkpoint/*.safetensors")}
    assert len(done) == 3

    convert(FOLDER, base, tmp_path / "other", exact=True)
    with pytest.raises(CheckpointError, match="holds work on other files. Delete it"):
        export_checkpoint(tmp_path / "other", base=base, out=out)
    export_checkpoint(tmp_path / "adapter", base=base, out=out)
    assert not work.exists()
    files = {file.name: file.stat().st_mtime_ns for file in out.glob("*.safetensors")}
    assert done.items() <= files.items(), "finished shards are not written again"
    largest = max(file.stat().st_size for file in base.glob("*.safetensors"))
    assert all((out / name).stat().st_size < 1.1 * largest for name in files), "no larger than the base's"
    back = WeightFiles(out)
    assert back.tensors.keys() == WEIGHTS.keys()
    for name, weight in WEIGHTS.items():
        torch.testing.assert_close(back.read(name), weight, atol=1e-6 if name in UPDATED else 0, rtol=0)


# -- as an adapter -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, torch.Tensor]:
    """A base model with its processor, a checkpoint of the authors' 16 heads, and the vectors of `DOOR`."""
    folder = tmp_path_factory.mktemp("tiny")
    backbone = tiny_backbone("qwen2_5_vl")
    backbone.model.save_pretrained(folder / "base")
    backbone.prompts.processor.save_pretrained(folder / "base")
    backbone.name = str(folder / "base")
    encoder = MemoryEncoder.create(backbone, max_length=512)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    encoder.save_pretrained(folder / "adapter")
    export_checkpoint(folder / "adapter", base=folder / "base", out=folder / "checkpoint")
    return folder / "base", folder / "checkpoint", encoder.encode([encoder.inputs(DOOR)])[0]


COMMIT = "0123456789abcdef" * 2 + "01234567"
DOOR = "The blue door opens with the brass key."


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMEM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def converted(cache: Path) -> list[Path]:
    return sorted(file.parent for file in cache.glob("*/convert.json"))


def remember(*arguments: object, **options: object) -> tuple[torch.Tensor, str]:
    """The vectors of `DOOR` in a memory opened like this, and its base model."""
    with ContinuousMemory.from_pretrained(*arguments, key=tiny_key(), precision="fp32", **options) as memory:  # type: ignore[arg-type]
        memory.add(MemoryItem(text=DOOR))
        [hit] = memory.search("door", k=1)
        return hit.memory_embeddings, memory.encoder.backbone.name


def renamed(checkpoint: Path, folder: Path, **config: object) -> Path:
    """A copy of the checkpoint that tells something else."""
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | config))
    return folder


def test_a_checkpoint_is_an_adapter(tiny: tuple[Path, Path, torch.Tensor], cache: Path, tmp_path: Path):
    base, checkpoint, expected = tiny
    with pytest.raises(CheckpointError, match=r"does not tell which base model.*from_pretrained\(MODEL, adapter="):
        remember(str(checkpoint))
    found, answering = remember(str(base), checkpoint)
    assert (found - expected).abs().max() < 1e-4
    assert answering == str(base)
    [folder] = converted(cache)
    made = folder.stat().st_mtime_ns
    again, _ = remember(str(base), str(checkpoint))
    assert torch.equal(again, found)
    assert converted(cache) == [folder] and folder.stat().st_mtime_ns == made, "converted once"

    telling = renamed(checkpoint, tmp_path / "telling", _name_or_path=str(base))
    assert torch.equal(remember(str(telling))[0], found)
    assert len(converted(cache)) == 2
    elsewhere = renamed(checkpoint, tmp_path / "elsewhere", _name_or_path="/data/authors/base")
    with pytest.raises(CheckpointError, match="does not tell which base model"):
        remember(str(elsewhere))


def test_a_changed_checkpoint_is_converted_again(tiny: tuple[Path, Path, torch.Tensor], cache: Path, tmp_path: Path):
    base, checkpoint, expected = tiny
    checkpoint = renamed(checkpoint, tmp_path / "checkpoint")
    remember(str(base), checkpoint)
    [file] = [file for file in checkpoint.glob("*.safetensors") if "knowledge_processor.latents" in load_file(file)]
    weights = load_file(file)
    weights["knowledge_processor.latents"] += 0.5
    save_file(weights, file)
    found, _ = remember(str(base), checkpoint)
    assert (found - expected).abs().max() > 1e-3
    assert len(converted(cache)) == 2


def test_a_checkpoint_answers_with_its_own_frozen_model(
    tiny: tuple[Path, Path, torch.Tensor], cache: Path, tmp_path: Path
):
    base, checkpoint, expected = tiny
    checkpoint = renamed(checkpoint, tmp_path / "checkpoint")
    name = "model_inf.model.layers.1.mlp.up_proj.weight"
    [file] = [file for file in checkpoint.glob("*.safetensors") if name in load_file(file)]
    weights = load_file(file)
    weights[name][0] += 0.1
    save_file(weights, file)
    found, answering = remember(str(base), checkpoint)
    [folder] = converted(cache)
    assert answering == str(folder / "frozen")
    assert torch.equal(WeightFiles(folder / "frozen").read(name.removeprefix("model_inf.")), weights[name])
    assert (found - expected).abs().max() < 1e-4, "the encoder is the same"


def test_a_checkpoint_of_two_base_models_answers_with_a_second_model(
    tiny: tuple[Path, Path, torch.Tensor], cache: Path, tmp_path: Path
):
    base, checkpoint, expected = tiny
    weights = load_weights(checkpoint)
    tiny_backbone("qwen2_5_vl", seed=1).model.save_pretrained(tmp_path / "inner")
    weights |= {f"model_inf.{name}": weight for name, weight in load_weights(tmp_path / "inner").items()}
    (tmp_path / "two").mkdir()
    shutil.copyfile(checkpoint / "config.json", tmp_path / "two" / "config.json")
    save_file(weights, tmp_path / "two" / SINGLE_FILE)
    found, encoding = remember(str(base), tmp_path / "two")
    assert (found - expected).abs().max() < 1e-4
    assert encoding == str(base)
    [folder] = converted(cache)
    assert_what_answers(folder / "answering", weights)
    with ContinuousMemory.from_pretrained(adapter=folder, key=tiny_key()) as memory:
        assert memory.backbone.name == str(folder / "answering")
        assert memory.encoder.backbone.name == str(base)
        memory.add(MemoryItem(text=DOOR))
        assert memory.answer("What opens it?", max_new_tokens=2).hits
    with ContinuousMemory.from_pretrained(adapter=folder, answering_model=str(base), key=tiny_key()) as memory:
        assert memory.backbone.name == str(base), "unless told otherwise"


def test_an_interrupted_conversion_is_no_adapter(
    tiny: tuple[Path, Path, torch.Tensor], cache: Path, monkeypatch: pytest.MonkeyPatch
):
    base, checkpoint, expected = tiny

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("comem_memory.convert.released.write_adapter", interrupted)
        with pytest.raises(KeyboardInterrupt):
            remember(str(base), checkpoint)
    assert converted(cache) == []
    found, _ = remember(str(base), checkpoint)
    assert (found - expected).abs().max() < 1e-4
    [folder] = converted(cache)
    assert ConversionReport.model_validate_json((folder / "convert.json").read_bytes()).resumed > 50
    assert [path for path in cache.iterdir() if path.is_dir()] == [folder]


def test_a_checkpoint_on_the_hub(
    tiny: tuple[Path, Path, torch.Tensor], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Offline, out of the hub's own cache."""
    base, checkpoint, expected = tiny
    name = "WenyiWU0111/continuous-memory-qwen2.5-800"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(AdapterError, match=f"No adapter was given for {name}.*the hub does not give it.*while online"):
        remember(name)
    with pytest.raises(CheckpointError, match=f"'{name}' is neither a file nor a folder, and the hub does not give it"):
        remember(str(base), name)
    repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "snapshots").mkdir(parents=True)
    renamed(checkpoint, repository / "snapshots" / COMMIT, _name_or_path=str(base))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    found, answering = remember(name)
    assert (found - expected).abs().max() < 1e-4
    assert answering == str(base)
    [folder] = converted(cache)
    assert folder.name.startswith("continuous-memory-qwen2.5-800-")
    for weights in (repository / "snapshots" / COMMIT).glob("*.safetensors"):
        weights.unlink()
    assert torch.equal(remember(name)[0], found), "the checkpoint's weights are needed once"


def test_the_agents_checkpoints_are_known_by_name(
    tiny: tuple[Path, Path, torch.Tensor], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    base, checkpoint, _ = tiny
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    [(name, told)] = [(name, told) for name, told in AGENTS.items() if "uitars" in name]
    for repository, folder in ((name, checkpoint), (told, base)):
        at = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        shutil.copytree(folder, at / "snapshots" / COMMIT)
        (at / "refs").mkdir()
        (at / "refs" / "main").write_text(COMMIT)
    with ContinuousMemory.from_pretrained(name, key=tiny_key()) as memory:
        config = memory.encoder.encoder_config
        assert (config.base_model, config.layout, config.order) == (told, "trajectory", "best_first")
        assert memory.mode == "both"


def test_the_authors_class_tells_the_base_model(tmp_path: Path):
    config = {"architectures": ["Qwen2_5_VLForConditionalGeneration_new"], "hidden_size": 3584}
    (tmp_path / "config.json").write_text(json.dumps(config | {"_name_or_path": "output/checkpoint-800"}))
    with pytest.raises(
        CheckpointError, match="'Qwen/Qwen2.5-VL-7B-Instruct' is neither a file nor a folder, and the hub"
    ):
        ContinuousMemory.from_pretrained(str(tmp_path))


# -- the commands --------------------------------------------------------------------------------------------


def test_the_commands(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli.console, "_width", 200)

    def comem(*arguments: object) -> str:
        result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    shown = comem("convert", FOLDER, "--base", base, "--out", tmp_path / "adapter", "--heads", 4)
    assert "LoRA of rank 4 recovered in 26 of 26 matrices" in shown
    assert f"--model {base} --adapter {tmp_path / 'adapter'}" in shown
    assert len(shown.splitlines()) < 30, "the worst matrices, not all"
    refused = CliRunner().invoke(cli.app, ["convert", str(FOLDER), "--base", "b", "--out", "o", "--frozen", "other"])
    assert refused.exit_code == 2
    assert "'base'" in refused.output and "'from-checkpoint'" in refused.output
    comem("export-authors", tmp_path / "adapter", "--base", base, "--out", tmp_path / "back")
    single = FOLDER / SINGLE_FILE
    report = json.loads(
        comem("convert", single, "--base", base, "--out", tmp_path / "b", "--heads", 4, "--json").splitlines()[-1]
    )
    assert report["lora"]["r"] == 4 and not report["exact"]
    shown = comem("convert", FOLDER, "--base", base, "--out", tmp_path / "exact", "--heads", 4, "--exact")
    assert "Updates kept whole in 26 of 26 matrices." in shown
    assert (tmp_path / "b" / "convert.json").exists() and (tmp_path / "back" / INDEX_FILE).exists()
