"""Loading a model and its processor through transformers' Auto classes."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoModelForSeq2SeqLM,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils.import_utils import is_torchvision_available

from comem_memory.errors import ModelError
from comem_memory.model.ambient import torch_defaults


@torch_defaults()
def load_model(name_or_path: str, *, revision: str | None = None, **model_kwargs: Any) -> tuple[Any, Any]:
    """Loads a model, and its processor or, of a text-only model, its tokenizer.

    Args:
        name_or_path: A hub name or a folder.
        revision: The hub branch, tag or commit to load.
        **model_kwargs: Settings for the model class.

    Raises:
        ModelError: There is no such model, transformers does not know its kind, or it cannot be loaded in this way.
    """
    config = load_config(name_or_path, revision)
    model_class = auto_class(config)
    defaults: dict[str, Any] = {"dtype": "auto"}
    if torch.cuda.is_available():
        defaults["device_map"] = "auto"
    try:
        model = model_class.from_pretrained(name_or_path, revision=revision, **defaults | model_kwargs)
    except (
        AssertionError,
        AttributeError,
        ImportError,
        OSError,
        RuntimeError,  # out of memory, among others
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        given = f" with {', '.join(model_kwargs)}" if model_kwargs else ""
        raise ModelError(
            f"The model {name_or_path!r} cannot be loaded{given}: {error} "
            "docs/guides/precision.md has the settings for precision, devices and attention."
        ) from error
    return model, load_processor(name_or_path, config, revision)


@torch_defaults()
def load_processor(name_or_path: str, config: PretrainedConfig, revision: str | None = None) -> Any:
    """A model's processor or, of a text-only model, its tokenizer.

    Args:
        name_or_path: A hub name or a folder.
        config: The model's settings.
        revision: The hub branch, tag or commit to load.
    """
    processor_class = AutoTokenizer if _is_text_only(config) else _processor_class(type(config))
    return processor_class.from_pretrained(name_or_path, revision=revision)


def load_config(name_or_path: str, revision: str | None = None) -> PretrainedConfig:
    """A model's settings.

    Args:
        name_or_path: A hub name or a folder.
        revision: The hub branch, tag or commit to look at.

    Raises:
        ModelError: There is no such model, or transformers does not know its kind.
    """
    try:
        return AutoConfig.from_pretrained(name_or_path, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The model {name_or_path!r} cannot be loaded: {error} "
            "Pass the hub name of a transformers model, or a folder that holds one."
        ) from error


def load_generation_config(
    name_or_path: str, config: PretrainedConfig, revision: str | None = None
) -> GenerationConfig:
    """How a model answers unless it is told otherwise.

    Args:
        name_or_path: A hub name or a folder.
        config: The model's settings.
        revision: The hub branch, tag or commit to look at.
    """
    try:
        return GenerationConfig.from_pretrained(name_or_path, revision=revision or "main")
    except OSError:  # it has no such file
        return GenerationConfig.from_model_config(config)


def supports_images(config: PretrainedConfig) -> bool:
    """Whether a model with these settings takes pictures."""
    return config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def auto_class(config: PretrainedConfig) -> Any:
    """The Auto class of models with these settings."""
    if _is_text_only(config):
        return AutoModelForCausalLM
    if supports_images(config):
        return AutoModelForImageTextToText
    is_listed = config.model_type in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
    return AutoModelForMultimodalLM if is_listed else AutoModelForSeq2SeqLM  # Audio Flamingo is among those


def _is_text_only(config: PretrainedConfig) -> bool:
    """Whether a model takes neither pictures nor audio, or only through a class for text."""
    hears = getattr(config, "audio_config", None) is not None
    return not supports_images(config) and (not hears or config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def declaring_embeddings(model: Any) -> Any:  # a PreTrainedModel, a type that knows nothing of `generate`
    """The model, whose `generate` then takes `inputs_embeds` even where its class does not declare that it does.

    Gemma 3 and PaliGemma do not, and `generate` refuses what is not declared.
    """
    stock = model.prepare_inputs_for_generation
    if "inputs_embeds" not in inspect.signature(stock).parameters:

        def prepare_inputs_for_generation(input_ids: Any, inputs_embeds: Any = None, **kwargs: Any) -> Any:
            return stock(input_ids, inputs_embeds=inputs_embeds, **kwargs)

        model.prepare_inputs_for_generation = prepare_inputs_for_generation
    return model


def without_videos(processor_class: Any) -> Any:
    """The processor class for text and pictures alone, since transformers' video processors need torchvision."""
    attributes = [name for name in processor_class.get_attributes() if name != "video_processor"]
    return type(processor_class.__name__, (processor_class,), {"get_attributes": classmethod(lambda cls: attributes)})


def _processor_class(config_class: type) -> Any:
    stock: Any = PROCESSOR_MAPPING.get(config_class, None)
    if is_torchvision_available() or stock is None or "video_processor" not in stock.get_attributes():
        return AutoProcessor
    return without_videos(stock)
