"""The authors' checkpoints: the recorded one as real data, made sharded, rounded, damaged, and of an older training."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from parity import EXPECTED, FOLDER, knowledge
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from comem_memory import cli
from comem_memory.backbone import Backbone
from comem_memory.config import FrozenWeights
from comem_memory.convert import ConversionReport, convert_checkpoint, export_checkpoint
from comem_memory.convert.lowrank import decompose
from comem_memory.convert.weights import INDEX_FILE, SINGLE_FILE, WeightFiles
from comem_memory.encoder import MemoryEncoder
from comem_memory.errors import AdapterError, CheckpointError
from comem_memory.testing import tiny_backbone, tiny_encoder

WEIGHTS = load_file(FOLDER / SINGLE_FILE)
UPDATED = (FOLDER / "lora_updated_keys.txt").read_text().split()
Weights = dict[str, torch.Tensor]


def save_checkpoint(folder: Path, weights: Weights, *, shards: int = 1) -> Path:
    """A folder as save_pretrained writes it, with the recorded config."""
    folder.mkdir()
    (folder / "config.json").write_bytes((FOLDER / "config.json").read_bytes())
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


def memories(folder: Path, model: str | Path) -> torch.Tensor:
    """Of the three recorded items, (3, 8, 64)."""
    encoder = load(folder, model)
    with torch.no_grad():
        return encoder(encoder.backbone.batch([knowledge(i) for i in range(3)]))


def furthest(found: torch.Tensor) -> float:
    """From the recorded memory vectors."""
    return float((found - torch.stack([EXPECTED[f"item{i}_memory"] for i in range(3)])).abs().max())


def convert(checkpoint: Path, base: Path, out: Path, frozen: FrozenWeights = FrozenWeights.BASE) -> ConversionReport:
    return convert_checkpoint(checkpoint, base=base, out=out, frozen=frozen, num_attention_heads=4)


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


@pytest.mark.parametrize("frozen", FrozenWeights)
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


@pytest.fixture
def two_loras(tmp_path: Path) -> Path:
    """As the authors' training leaves it: `model_inf` has an update of its own."""
    generator = torch.Generator().manual_seed(1)
    weights = dict(WEIGHTS)
    for name in UPDATED[:3]:
        rows, columns = weights[name].shape
        update = torch.randn(rows, 2, generator=generator) @ torch.randn(2, columns, generator=generator)
        weights[f"model_inf.{name}"] = weights[f"model_inf.{name}"] + 0.01 * update
    return save_checkpoint(tmp_path / "two-loras", weights, shards=2)


def test_a_changed_frozen_model_is_reported(base: Path, two_loras: Path, tmp_path: Path):
    report = convert(two_loras, base, tmp_path / "adapter")
    assert {d.name for d in report.frozen_differences} == {f"model_inf.{name}" for name in UPDATED[:3]}
    assert "--frozen from-checkpoint" in " ".join(report.findings)
    assert furthest(memories(tmp_path / "adapter", base)) < 1e-4, "vectors come from the encoder's weights alone"


def test_the_checkpoints_own_frozen_model(base: Path, two_loras: Path, tmp_path: Path):
    (base / "preprocessor_config.json").write_text("{}")
    report = convert(two_loras, base, tmp_path / "adapter", FrozenWeights.CHECKPOINT)
    frozen = tmp_path / "adapter" / "frozen"
    assert report.frozen_model == str(frozen)
    assert report.lora.r == 6, "the encoder's update less the frozen model's"
    assert furthest(memories(tmp_path / "adapter", frozen)) < 1e-4
    stored, checkpoint = WeightFiles(frozen), WeightFiles(two_loras)
    assert all(torch.equal(stored.read(name), checkpoint.read(f"model_inf.{name}")) for name in stored.tensors)
    assert (frozen / "preprocessor_config.json").exists()
    with pytest.raises(AdapterError, match="other weights"):
        load(tmp_path / "adapter", base)


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
    with pytest.raises(CheckpointError, match="64 is not a multiple of 5 heads"):
        convert_checkpoint(FOLDER, base=base, out=out, num_attention_heads=5)
    with pytest.raises(CheckpointError, match="exists already"):
        convert(FOLDER, base, tmp_path)
    tiny_backbone("llava").model.save_pretrained(tmp_path / "llava")
    with pytest.raises(CheckpointError, match="is a llava, but the authors' checkpoints are of qwen2_vl or qwen2_5_vl"):
        convert(FOLDER, tmp_path / "llava", out)
    other = {n.removeprefix("model_inf."): w for n, w in WEIGHTS.items() if n.startswith("model_inf.")}
    generator = torch.Generator().manual_seed(2)
    other = {n: torch.randn(w.shape, generator=generator) * w.std() if w.ndim == 2 else w for n, w in other.items()}
    with pytest.raises(CheckpointError, match="is not low-rank.*Pass the base model that the checkpoint"):
        convert(FOLDER, save_checkpoint(tmp_path / "other", other), out)


# -- resuming ------------------------------------------------------------------------------------------------


def test_a_killed_run_is_resumed(base: Path, tmp_path: Path):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", WEIGHTS, shards=3)
    out, work = tmp_path / "adapter", tmp_path / "adapter.converting"
    command = [sys.executable, "-c", "from comem_memory.cli import main; main()", "convert", str(checkpoint)]
    options = ["--base", str(base), "--out", str(out), "--heads", "4"]
    with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(work.glob("tensors/*.json"))) < 5:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    done = {file.name: file.stat().st_mtime_ns for file in work.glob("tensors/*.json")}
    assert 5 <= len(done) < 57, "killed while it worked"
    assert not out.exists()
    with pytest.raises(CheckpointError, match="interrupted conversion of other files or with another --frozen"):
        convert(checkpoint, base, out, FrozenWeights.CHECKPOINT)
    assert {file.name: file.stat().st_mtime_ns for file in work.glob("tensors/*.json")} == done

    report = convert(checkpoint, base, out)
    assert report.resumed == len(done)
    assert not work.exists()
    unbroken = convert(checkpoint, base, tmp_path / "unbroken")
    assert unbroken.model_copy(update={"resumed": len(done)}) == report
    fingerprints = [(folder / "fingerprint.json").read_text() for folder in (out, tmp_path / "unbroken")]
    assert fingerprints[0] == fingerprints[1]


# -- and back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
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
        stock = AutoModelForImageTextToText.from_pretrained(tmp_path / "base")
        again = MemoryEncoder.from_pretrained(
            tmp_path / "back", Backbone(stock, backbone.processor, name=str(tmp_path / "base"))
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


def test_an_adapter_of_another_model_is_not_exported(base: Path, tmp_path: Path):
    backbone = tiny_backbone("qwen2_5_vl")
    tiny_encoder(backbone).save_pretrained(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="belongs to tiny-qwen2_5_vl-0 .* Pass the former"):
        export_checkpoint(tmp_path / "adapter", base=base, out=tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


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
    comem("export-authors", tmp_path / "adapter", "--base", base, "--out", tmp_path / "back")
    single = FOLDER / SINGLE_FILE
    report = json.loads(
        comem("convert", single, "--base", base, "--out", tmp_path / "b", "--heads", 4, "--json").splitlines()[-1]
    )
    assert report["lora"]["r"] == 4
    assert (tmp_path / "b" / "convert.json").exists() and (tmp_path / "back" / INDEX_FILE).exists()
