"""Conversion of an adapter folder into a checkpoint in the authors' layout."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch

from comem_memory.convert.layout import FROZEN, HEAD, QFORMER, BaseModel, to_authors_qformer
from comem_memory.convert.weights import WeightFiles, local_path, write_shards
from comem_memory.encoder import ADAPTER_FILES, ANSWERING_FOLDER, read_config, read_weights
from comem_memory.errors import AdapterError, CheckpointError
from comem_memory.files import open_work, refuse_existing
from comem_memory.model import torch_defaults

logger = logging.getLogger(__name__)


@torch_defaults()
def export_checkpoint(adapter: str | Path, *, base: str | Path, out: str | Path) -> None:
    """Writes the encoder's merged weights, the model that answers as `model_inf`, and the Q-Former, shard by shard.

    Merged matrices are float32, so that converting them back gives the same memory vectors up to float32 rounding;
    all other tensors keep their dtype. `config.json` is the base model's but for the class: the authors' code, which
    needs transformers 4.49, reads that of a published model, and not one that transformers 5 wrote.

    An interrupted run goes on at the shard where it stopped, from the folder `out` + `.exporting` beside `out`; `out`
    exists only when it is complete. The authors' layout has no place for reader prompts, which are left out.

    Args:
        adapter: An adapter folder, or the hub name of one.
        base: The base model that the adapter belongs to, a folder or a hub name.
        out: The folder to make, which must not exist.

    Raises:
        AdapterError: The adapter is incomplete or damaged, belongs to another model, or copies tokens, which the
            authors' encoders do not.
        CheckpointError: The base model's files are damaged or of another family than the authors', `out` exists, or an
            interrupted run was of something else.
    """
    adapter, out = local_path(adapter), Path(out)
    refuse_existing(out, CheckpointError)
    config = read_config(adapter)
    if config.function_tokens is not None:
        raise AdapterError(
            f"The vectors of adapter {adapter} begin as copies of an item's tokens, for which the authors' layout "
            "has no place. Train one without (comem train --no-copied) to export it."
        )
    base_model = BaseModel(base)
    if config.num_reader_tokens:
        logger.warning("%s is exported without its reader prompts: the authors' layout has no place for them.", adapter)
    if (found := base_model.fingerprint(base_model.files)) != config.base_fingerprint:
        raise AdapterError(
            f"Adapter {adapter} belongs to {config.base_model} (fingerprint {config.base_fingerprint}), but "
            f"{base_model.name} has other weights (fingerprint {found}). Pass the former as the base model."
        )
    encoder = base_model.encoder(config.base_model, config.base_fingerprint, config.qformer, config.lora)
    weights = read_weights(adapter, encoder.adapter_weights)
    qformer = {to_authors_qformer(name): weight for name, weight in weights.qformer.items()}
    files = base_model.files
    answers = WeightFiles(adapter / ANSWERING_FOLDER) if (adapter / ANSWERING_FOLDER).is_dir() else files
    tensors = {name: files.empty(name) for name in base_model.shapes}
    frozen = {FROZEN + name: answers.empty(name) for name in base_model.shapes}
    tensors |= {name: tensors[name].float() for name in base_model.linears}
    tensors |= frozen | {name: weight.to("meta") for name, weight in qformer.items()}

    def read(name: str) -> torch.Tensor:
        if name.startswith(QFORMER):
            return qformer[name]
        if name.startswith(FROZEN) or name == HEAD:
            return answers.read(name.removeprefix(FROZEN))
        weight = files.read(name)
        if (module := base_model.linears.get(name)) is None:
            return weight
        a, b = (weights.lora[f"base_model.model.{module}.lora_{letter}.weight"].float() for letter in "AB")
        alpha = config.lora.alpha_pattern.get(module, config.lora.lora_alpha)
        return weight.float() + alpha / len(a) * b @ a

    read_files = [*(adapter / name for name in ADAPTER_FILES), *sorted({*files.files, *answers.files})]
    work = open_work(out, "exporting", read_files, CheckpointError)
    unfinished = work / "checkpoint"
    unfinished.mkdir(exist_ok=True)
    write_shards(unfinished, tensors, read, shard_bytes=files.shard_bytes, description="exporting")
    base_model.copy_processor(unfinished)
    base_model.write_authors_config(unfinished)
    unfinished.replace(out)
    shutil.rmtree(work)
