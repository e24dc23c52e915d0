"""The frozen model: loading it, what it reads, memory vectors before its prompt, generation."""

from comem_memory.model.backbone import Backbone
from comem_memory.model.fingerprint import quantization_of, weights_fingerprint
from comem_memory.model.loading import auto_class, load_config, without_videos
from comem_memory.model.prefix_cache import PrefixCache
from comem_memory.model.prompts import PROMPT_VERSION, RESTATE_INSTRUCTION, Message, ModelInputs, prompt_length

__all__ = [
    "PROMPT_VERSION",
    "RESTATE_INSTRUCTION",
    "Backbone",
    "Message",
    "ModelInputs",
    "PrefixCache",
    "auto_class",
    "load_config",
    "prompt_length",
    "quantization_of",
    "weights_fingerprint",
    "without_videos",
]
