"""The adapter folder: which files it has, how they are read and checked, how they are written.

| file | content |
|---|---|
| `config.json` | the `EncoderConfig`; written last, so that a folder without it is unfinished |
| `fingerprint.json` | the `EncoderFingerprint` of the weights that were saved |
| `adapter_model.safetensors`, `adapter_config.json` | the LoRA, in the format of peft |
| `qformer.safetensors` | the Q-Former |
| `reader_prompts.safetensors` | the reader prompts, if the encoder has any |
| `answering/` | a model of its own that answers, if the encoder's base model does not: of converted checkpoints alone |
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from peft import LoraConfig
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from comem_memory.config import EncoderConfig, EncoderFingerprint
from comem_memory.errors import AdapterError
from comem_memory.files import atomic_write
from comem_memory.files.tensors import write_tensors
from comem_memory.model import PROMPT_VERSION, Backbone

CONFIG_FILE, QFORMER_FILE, LORA_FILE = "config.json", "qformer.safetensors", "adapter_model.safetensors"
READER_FILE, READER_PROMPTS = "reader_prompts.safetensors", ("reader_prompt", "restate_prompt")
FINGERPRINT_FILE, ANSWERING_FOLDER = "fingerprint.json", "answering"
ADAPTER_FILES = (CONFIG_FILE, FINGERPRINT_FILE, LORA_FILE, QFORMER_FILE)
"""Files without which no folder is an adapter; `adapter_config.json` is for peft alone."""
Weights = dict[str, torch.Tensor]


class AdapterWeights(NamedTuple):
    """The trained weights of a memory encoder, by parameter name."""

    lora: Weights
    """The LoRA's weights, under the names that peft saves them with."""
    qformer: Weights
    """The Q-Former's state dict."""
    reader: Weights
    """The reader prompts, (m, H) each, by name; empty where m is 0."""


# -- reading -------------------------------------------------------------------------------------------------


def read_config(folder: Path) -> EncoderConfig:
    """The settings of an adapter folder, after checking that its files are all there.

    Args:
        folder: The adapter folder.

    Raises:
        AdapterError: A file is missing, or `config.json` is not one of ours.
    """
    _check_files(folder, ADAPTER_FILES)
    try:
        config = EncoderConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
    except ValidationError as error:
        raise AdapterError(
            f"{folder / CONFIG_FILE} cannot be read by comem-memory {version('comem-memory')}: {error}. "
            "It may come from a newer version: try pip install --upgrade comem-memory."
        ) from error
    _check_files(folder, adapter_files(config))
    return config


def adapter_files(config: EncoderConfig) -> tuple[str, ...]:
    """Names of the files that an adapter folder with these settings must have.

    Args:
        config: The encoder's settings.
    """
    return (*ADAPTER_FILES, READER_FILE) if config.num_reader_tokens else ADAPTER_FILES


def _check_files(folder: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise AdapterError(
            f"Adapter folder {folder} lacks {', '.join(missing)}. Pass one written by MemoryEncoder.save_pretrained."
        )


def fitting_config(folder: Path, backbone: Backbone) -> EncoderConfig:
    """The settings of an adapter folder, after checking that it was trained on this base model.

    Args:
        folder: The adapter folder.
        backbone: The base model that the adapter is to be loaded onto.

    Raises:
        AdapterError: The adapter was trained on another base model or with another encoder prompt, or the folder is
            incomplete or damaged.
    """
    config = read_config(folder)
    if backbone.hidden_size != config.qformer.hidden_size:
        raise AdapterError(
            f"Adapter {folder} was trained for hidden_size {config.qformer.hidden_size}, but {backbone.name} has "
            f"{backbone.hidden_size}. Load it with {config.base_model}, or train an adapter for this model."
        )
    if config.prompt_version != PROMPT_VERSION:
        raise AdapterError(
            f"Adapter {folder} was trained with encoder prompt {config.prompt_version}, but this library uses "
            f"{PROMPT_VERSION}. Install comem-memory {config.library_version}, which made it, or train again."
        )
    if (found := backbone.fingerprint()) != config.base_fingerprint:
        raise AdapterError(
            f"Adapter {folder} was trained on {config.base_model} (fingerprint {config.base_fingerprint}), but "
            f"{backbone.name} has other weights (fingerprint {found}). Load it with {config.base_model}, or train "
            "an adapter for this model."
        )
    return config


def read_weights(folder: Path, expected: AdapterWeights, *, resize: bool = False) -> AdapterWeights:
    """The weights of an adapter folder or of a training checkpoint, after checking their names and shapes.

    Args:
        folder: The folder with the files of weights.
        expected: Weights of the names and shapes that the encoder has; tensors on the meta device will do.
        resize: Whether the folder's query tokens and reader prompts may be of another number, to which they are then
            interpolated in their order, as position embeddings of vision transformers are. Where the folder has no
            reader prompts, the expected ones are returned.

    Raises:
        AdapterError: A file is damaged, or a weight is missing, unexpected or of another shape.
    """
    has_prompts = (folder / READER_FILE).is_file()
    reader = load_weights_file(folder / READER_FILE) if has_prompts and expected.reader else {}
    found = AdapterWeights(load_weights_file(folder / LORA_FILE), load_weights_file(folder / QFORMER_FILE), reader)
    if resize:
        if (tokens := found.qformer.get("query_tokens")) is not None:  # (1, Q, H)
            found.qformer["query_tokens"] = _resized(tokens, expected.qformer["query_tokens"].shape[1])
        for name in reader.keys() & expected.reader.keys():  # (m, H)
            reader[name] = _resized(reader[name][None], len(expected.reader[name]))[0]
        if not has_prompts:
            reader |= expected.reader
    for file, loaded, wanted in zip((LORA_FILE, QFORMER_FILE, READER_FILE), found, expected, strict=True):
        _check_weights(folder / file, loaded, wanted)
    return found


def _resized(tokens: torch.Tensor, number: int) -> torch.Tensor:
    """(1, n, H) to (1, number, H)."""
    return nn.functional.interpolate(tokens.mT.float(), size=number, mode="linear").mT


def load_weights_file(file: Path) -> Weights:
    """The tensors of a safetensors file, on the CPU.

    Args:
        file: The safetensors file.

    Raises:
        AdapterError: The file is damaged.
    """
    try:
        return load_file(file)
    except SafetensorError as error:
        raise AdapterError(f"{file} is damaged: {error}. Copy or save the adapter again.") from error


def read_fingerprint(folder: Path) -> EncoderFingerprint:
    """Which encoder an adapter folder holds.

    Args:
        folder: The adapter folder.

    Raises:
        AdapterError: `fingerprint.json` is damaged.
    """
    try:
        return EncoderFingerprint.model_validate_json((folder / FINGERPRINT_FILE).read_bytes())
    except ValidationError as error:
        raise AdapterError(
            f"{folder / FINGERPRINT_FILE} is damaged: {error}. Copy or save the adapter again."
        ) from error


def check_fingerprint(folder: Path, found: EncoderFingerprint) -> None:
    """Compares an encoder with the one that was saved in a folder.

    Args:
        folder: The adapter folder that the encoder was loaded from.
        found: The fingerprint of the encoder as it was loaded.

    Raises:
        AdapterError: The saved encoder was another, or `fingerprint.json` is damaged.
    """
    saved = read_fingerprint(folder)
    found = found.model_copy(update={"quantization": None})  # an adapter fits every way of loading its base model
    if found.digest != saved.digest:
        raise AdapterError(
            f"The weights in {folder} are not those that were saved: they make {found}, not {saved}. "
            "Copy or save the adapter again."
        )


def _check_weights(file: Path, loaded: Weights, expected: Weights) -> None:
    missing, unexpected = sorted(expected.keys() - loaded.keys()), sorted(loaded.keys() - expected.keys())
    misshapen = sorted(n for n in expected.keys() & loaded.keys() if expected[n].shape != loaded[n].shape)
    for problem, names in (("lacks", missing), ("has unexpected", unexpected), ("has a wrong shape for", misshapen)):
        if names:
            raise AdapterError(
                f"{file} {problem} {len(names)} weights, first {names[0]!r}. The file is damaged or of another model: "
                "save the adapter again, or load the base model it belongs to."
            )


# -- writing -------------------------------------------------------------------------------------------------


def write_adapter(folder: Path, config: EncoderConfig, lora_config: LoraConfig, weights: AdapterWeights) -> None:
    """Writes an adapter folder; `config.json` comes last.

    Args:
        folder: The folder to write, which is made if it is missing.
        config: The encoder's settings.
        lora_config: The LoRA's settings as peft has them.
        weights: The trained weights, on the CPU and contiguous.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lora_config.save_pretrained(str(folder))
    for file, tensors in zip((LORA_FILE, QFORMER_FILE, READER_FILE), weights, strict=True):
        if tensors:
            write_tensors(folder / file, tensors)
    fingerprint = adapter_fingerprint(config, weights)
    atomic_write(folder / FINGERPRINT_FILE, fingerprint.model_dump_json(indent=2) + "\n")
    atomic_write(folder / CONFIG_FILE, config.model_dump_json(indent=2) + "\n")


def adapter_fingerprint(config: EncoderConfig, weights: AdapterWeights) -> EncoderFingerprint:
    """Which encoder an adapter makes of its base model, where that is loaded without quantisation.

    The reader prompts do not count, for the vectors that are stored do not depend on it.

    Args:
        config: The encoder's settings.
        weights: The trained weights.
    """
    settings = f"{config.lora.lora_alpha} {config.qformer.num_attention_heads} {config.qformer.depth}"
    settings += "".join(f" {module} {alpha}" for module, alpha in sorted(config.lora.alpha_pattern.items()))
    if config.function_tokens is not None:
        settings += f" copies but {' '.join(map(str, config.function_tokens))}"
        if config.words_once:
            settings += " words once"
    if config.layout != "knowledge":
        settings += f" layout {config.layout}"
    if config.frames != "pictures":
        settings += f" frames {config.frames}"
    return EncoderFingerprint(
        base_model=config.base_model,
        base_revision=config.base_revision,
        base_fingerprint=config.base_fingerprint,
        adapter_hash=_hash(weights, settings),
        prompt_version=config.prompt_version,
        num_query_tokens=config.qformer.num_query_tokens,
        hidden_size=config.qformer.hidden_size,
    )


def _hash(weights: AdapterWeights, settings: str) -> str:
    """16 hexadecimal digits for the weights and for the settings that change what they compute."""
    named = weights.lora | {f"qformer.{name}": weight for name, weight in weights.qformer.items()}
    digest = hashlib.sha256(settings.encode())
    for name in sorted(named):
        digest.update(name.encode() + named[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
