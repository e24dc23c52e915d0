"""Which checkpoint a model is: a hash of its published weights, however they were loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

from comem_memory.model.loading import auto_class, load_config


def model_fingerprint(model: PreTrainedModel, revision: str | None) -> str:
    """Hash of every base weight's shape and of 16 of its values.

    It stands for the checkpoint: it is the same on every device, in every dtype, and quantised while loading or
    not. What was rounded or left on disk is looked up in the checkpoint's files; they are mapped, so this takes hardly
    any memory.

    Args:
        model: The model, which may carry a LoRA.
        revision: The hub commit that the model was loaded from, if it comes from a hub.

    Raises:
        ModelError: The files are needed and are gone.
    """
    source = model.name_or_path
    if source and not all(_is_as_published(weight) for weight in model.parameters()):
        config = load_config(source, revision)
        if not hasattr(config, "quantization_config"):  # else the files hold nothing unrounded either
            model = auto_class(config).from_pretrained(source, revision=revision, dtype="auto")
    return weights_fingerprint(weight for name, weight in model.named_parameters() if "lora_" not in name)


def _is_as_published(weight: torch.Tensor) -> bool:
    """Whether a loaded weight will do for the fingerprint, which looks at values rounded to bfloat16."""
    return not weight.is_meta and weight.dtype in (torch.float32, torch.bfloat16)


def weights_fingerprint(weights: Iterable[torch.Tensor]) -> str:
    """The `model_fingerprint` of a model with these weights.

    Args:
        weights: The weights, in the order of the model's `named_parameters`.
    """
    digest = hashlib.sha256()
    for weight in weights:
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 16)][:16].to(torch.bfloat16).float().cpu()
        digest.update(str(tuple(weight.shape)).encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def quantization_of(model: PreTrainedModel) -> str | None:
    """The settings with which a model's weights were quantised while they were loaded, if they were."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None or quantizer.pre_quantized:  # a quantised checkpoint is a base model of its own
        return None
    settings = json.loads(quantizer.quantization_config.to_json_string())  # those that are not the defaults
    return " ".join(f"{name}={value}" for name, value in sorted(settings.items()) if not name.startswith("_"))
