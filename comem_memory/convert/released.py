"""Conversion of a released checkpoint of the authors into an adapter folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import torch

from comem_memory.config import Layout, LoraSettings, QFormerConfig, Settings
from comem_memory.convert.layout import (
    AGENTS,
    FROZEN,
    HEAD,
    BaseModel,
    answering,
    check_checkpoint,
    qformer_config,
    read_qformer,
)
from comem_memory.convert.lowrank import MAX_RANK, Update, decompose
from comem_memory.convert.report import ConversionReport, FrozenWeights, MatrixReport, TensorDifference
from comem_memory.convert.weights import WeightFiles, local_path, relative_difference, write_shards
from comem_memory.encoder import ANSWERING_FOLDER, AdapterWeights, Weights, load_weights_file, write_adapter
from comem_memory.errors import CheckpointError
from comem_memory.files import atomic_write, open_work, refuse_existing
from comem_memory.files.tensors import write_tensors
from comem_memory.model import torch_defaults
from comem_memory.progress import tracked

FROZEN_FOLDER, REPORT_FILE = "frozen", "convert.json"
LORA_SCALE = 2
"""`lora_alpha` over `r` in the authors' training (32 / 16)."""


class TensorFindings(Settings):
    """What was found out about one tensor of the encoder and the tensor of the same name in `model_inf`."""

    frozen_difference: float
    """Relative difference of the tensor in `model_inf` to that of the base model."""
    update: Update | None = None
    """The update of the tensor, if it is a matrix that gets a LoRA."""
    lost: float = 0.0
    """If it gets none: relative difference of the encoder's tensor to that of the frozen model."""


@torch_defaults()
def convert_checkpoint(
    checkpoint: str | Path,
    *,
    base: str | Path,
    out: str | Path,
    frozen: FrozenWeights | None = "base",
    layout: Layout | None = None,
    exact: bool = False,
    num_attention_heads: int = 16,
) -> ConversionReport:
    """Makes an adapter folder from a checkpoint in the authors' layout, tensor by tensor.

    The LoRA is recovered as the truncated SVD of each matrix's update, so the adapter gives the authors' memory
    vectors up to the checkpoint's rounding. The authors' training code also puts a LoRA into `model_inf`, the model
    that answers (peft matches target names as suffixes), so a checkpoint may need its own frozen weights:

    - `frozen="base"`: the base model's published weights answer. This is right where `model_inf` is the base model;
      else the answers come from another model than the encoder was trained for.
    - `frozen="from-checkpoint"`: the checkpoint's own model answers; it is written to `out/frozen`, and the LoRA is
      relative to it. This is right where both come from one base model, but needs a second model on disk, and the LoRA
      may have twice the rank.
    - `frozen="apart"`: the checkpoint's own model answers, from `out/answering`, and the LoRA is relative to the base
      model. This is right in any case, also where the encoder comes from another base model than `model_inf`: that of
      the encoder is then `base`. It takes two models in memory, as the authors' code does.

    The checkpoint's own model has the layers and the last norm of `model_inf`, and the encoder's embeddings, vision
    tower and head, for that is what the authors' code computes with.

    An exact adapter keeps each matrix's whole update as a LoRA of full rank, so the adapter also gives the vectors of
    an encoder that was trained without a LoRA. It is larger than the base model: for an (m, n) matrix
    m * n + min(m, n)^2 float32 numbers, on disk and in memory, two to four times the matrix in bfloat16; and the
    conversion needs the space twice.

    An interrupted run goes on where it stopped, from the folder `out` + `.converting` beside `out`; `out` exists only
    when it is complete. The adapter recommends to answer as the authors do: from its vectors alone, or with texts
    beside them where it reads trajectories.

    Args:
        checkpoint: The checkpoint, a folder, a safetensors file, or a hub name.
        base: The base model that the encoder was trained from, a folder or a hub name.
        out: The folder to make, which must not exist.
        frozen: Which weights answer; `None` takes the base model's where `model_inf` is the same, else the
            checkpoint's own, apart where the encoder's layers differ from `model_inf`'s by more than a LoRA.
        layout: How the encoder reads items, which the checkpoint does not tell; `None` takes "trajectory" for the hub
            names of the agents' checkpoints (arXiv 2510.09038), "knowledge" for all others.
        exact: Whether the updates are kept whole.
        num_attention_heads: Heads of the Q-Former, which the checkpoint does not tell.

    Returns:
        What was found, which is also in `out/convert.json`.

    Raises:
        CheckpointError: Files are missing or damaged, tensors are missing or of another shape, `out` exists, an
            interrupted run was of something else, or an update is not low-rank (mostly: another base model).
        ValueError: `frozen` is something else.
    """
    for name, given, known in (("frozen", frozen, get_args(FrozenWeights)), ("layout", layout, get_args(Layout))):
        if given not in (None, *known):
            raise ValueError(f"{name} is {given!r}. Pass one of {', '.join(known)}, or None.")
    layout = layout or ("trajectory" if str(checkpoint) in AGENTS else "knowledge")
    out = Path(out)
    refuse_existing(out, CheckpointError)
    base_model = BaseModel(Path(base).resolve() if Path(base).is_dir() else base)
    source = WeightFiles(local_path(checkpoint))
    qformer = qformer_config(source, base_model, num_attention_heads)
    check_checkpoint(source, base_model, qformer)
    if frozen is None:
        frozen = _fitting(source, base_model)
    files = [*source.files, *base_model.files.files]
    work = open_work(out, "converting", files, CheckpointError, frozen=frozen, exact=exact)
    (work / "tensors").mkdir(exist_ok=True)
    resumed = len(list(work.glob("tensors/*.json")))
    findings = {
        name: _examine(name, source, base_model, frozen, exact, work / "tensors")
        for name in tracked(base_model.shapes, "recovering the LoRA", unit="tensor")
    }
    updates = {name: found.update for name, found in findings.items() if found.update is not None}
    ranks = {base_model.linears[name]: update.rank for name, update in updates.items()}
    rank = max(1, *ranks.values())
    lora = LoraSettings(
        r=rank,
        lora_alpha=LORA_SCALE * rank,
        rank_pattern=ranks if exact else {},
        alpha_pattern={module: LORA_SCALE * own for module, own in ranks.items()} if exact else {},
    )
    adapter = work / "adapter"
    adapter.mkdir(exist_ok=True)
    if frozen == "from-checkpoint":
        _write_own(adapter / FROZEN_FOLDER, source, base_model)
        frozen_name, fingerprint = str(out.resolve() / FROZEN_FOLDER), base_model.fingerprint(source, answering)
    else:
        frozen_name, fingerprint = base_model.name, base_model.fingerprint(base_model.files)
    if frozen == "apart":
        _write_own(adapter / ANSWERING_FOLDER, source, base_model)
    _write_adapter(adapter, work, source, base_model, (frozen_name, fingerprint), qformer, lora, layout)
    report = ConversionReport(
        checkpoint=str(checkpoint),
        base_model=base_model.name,
        frozen=frozen,
        frozen_model=frozen_name,
        answering_model=str(out.resolve() / ANSWERING_FOLDER) if frozen == "apart" else None,
        exact=exact,
        dtype=str(source.read(next(iter(base_model.linears))).dtype).removeprefix("torch."),
        lora=lora,
        matrices=[
            MatrixReport(name=name, shape=update.shape, rank=update.rank, **update.quality(rank).model_dump())
            for name, update in updates.items()
        ],
        frozen_differences=_ranked({FROZEN + name: found.frozen_difference for name, found in findings.items()}),
        lost=_ranked({name: found.lost for name, found in findings.items()}),
        resumed=resumed,
    )
    (adapter / REPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n")
    adapter.replace(out)
    shutil.rmtree(work)
    return report


def _fitting(source: WeightFiles, base: BaseModel) -> FrozenWeights:
    """`base` where `model_inf` is the base model, up to the checkpoint's rounding."""
    if not any(relative_difference(source.read(FROZEN + name), base.files.read(name)) for name in base.shapes):
        return "base"
    layer = next(name for name in base.linears if answering(name) != name)
    update, _ = decompose(source.read(layer), source.read(answering(layer)), frozen_was_rounded=True)
    return "from-checkpoint" if update.is_low_rank else "apart"


def _examine(
    name: str, source: WeightFiles, base: BaseModel, frozen: FrozenWeights, exact: bool, folder: Path
) -> TensorFindings:
    """Compares one tensor in encoder, `model_inf` and base model, and decomposes its update.

    What an earlier run found is read from the folder.
    """
    file = folder / f"{name}.json"
    if file.exists():
        return TensorFindings.model_validate_json(file.read_bytes())
    outer, published = source.read(name), base.files.read(name)
    reference = source.read(answering(name)) if frozen == "from-checkpoint" else published
    difference = relative_difference(source.read(FROZEN + name), published)
    if name not in base.linears:
        kept = frozen == "apart" and name == HEAD  # the encoder has no use for it
        found = TensorFindings(frozen_difference=difference, lost=0 if kept else relative_difference(outer, reference))
    else:
        rounded = frozen == "from-checkpoint"
        update, factors = decompose(outer, reference, frozen_was_rounded=rounded, exact=exact)
        if not (exact or update.is_low_rank):
            most = min(MAX_RANK, min(update.shape) // 2)
            raise CheckpointError(
                f"The update of {name} is not low-rank: at least {update.rank} singular values stand above the "
                f"rounding noise, and a LoRA of rank {most} would leave out "
                f"{update.quality(most).relative_error:.0%} of its norm. Pass the base model that the checkpoint's "
                f"encoder was trained from ({base.name} was passed), and --frozen apart if model_inf comes from "
                "another one; or, if it was trained without a LoRA, keep its whole updates: comem convert --exact."
            )
        write_tensors(folder / f"{name}.safetensors", {"a": factors.a, "b": factors.b / LORA_SCALE})
        found = TensorFindings(frozen_difference=difference, update=update)
    atomic_write(file, found.model_dump_json())
    return found


def _write_adapter(
    adapter: Path,
    work: Path,
    source: WeightFiles,
    base: BaseModel,
    frozen: tuple[str, str],
    qformer: QFormerConfig,
    lora: LoraSettings,
    layout: Layout,
) -> None:
    """Writes the adapter folder from the factors that were found."""
    weights: Weights = {}
    for name, module in base.linears.items():
        factors = load_weights_file(work / "tensors" / f"{name}.safetensors")
        rank = lora.rank_pattern.get(module, lora.r)
        b, a = factors["b"], factors["a"]
        lacking = rank - len(a)
        if lacking < 0:  # copies, so that the file with all directions is unmapped
            b, a = b[:, :rank].contiguous(), a[:rank].clone()
        elif lacking > 0:  # the matrix is smaller than the rank
            b, a = torch.nn.functional.pad(b, (0, lacking)), torch.nn.functional.pad(a, (0, 0, 0, lacking))
        weights[f"base_model.model.{module}.lora_A.weight"] = a
        weights[f"base_model.model.{module}.lora_B.weight"] = b
    encoder = base.encoder(*frozen, qformer, lora, layout)
    trained = AdapterWeights(weights, read_qformer(source, qformer), {})
    write_adapter(adapter, encoder.encoder_config, encoder.lora_config, trained)


def _write_own(folder: Path, source: WeightFiles, base: BaseModel) -> None:
    """Writes the checkpoint's own model that answers as a folder that transformers loads."""
    folder.mkdir(exist_ok=True)
    write_shards(
        folder,
        {name: source.empty(answering(name)) for name in base.shapes},
        lambda name: source.read(answering(name)),
        shard_bytes=source.shard_bytes,
        description="writing the model that answers",
    )
    base.copy_processor(folder)
    base.model.config.dtype = next(source.tensors[answering(n)].dtype for n in base.linears if answering(n) != n)
    base.model.config.architectures = [type(base.model).__name__]
    base.model.config.save_pretrained(folder)


def _ranked(differences: dict[str, float]) -> list[TensorDifference]:
    """The differences that are not 0, the largest first."""
    found = [TensorDifference(name=name, relative_difference=d) for name, d in differences.items() if d]
    return sorted(found, key=lambda difference: -difference.relative_difference)
