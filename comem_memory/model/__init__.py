"""The frozen model: loading it, what it reads, memory vectors before its prompt, generation."""

from comem_memory.model.ambient import torch_defaults
from comem_memory.model.answering import AnsweringModel
from comem_memory.model.backbone import Backbone
from comem_memory.model.content_layout import content_inputs, cut_inputs
from comem_memory.model.fingerprint import quantization_of, weights_fingerprint
from comem_memory.model.loading import auto_class, load_config, load_processor, without_videos
from comem_memory.model.prefix_cache import PrefixCache
from comem_memory.model.prompts import PROMPT_VERSION, RESTATE_INSTRUCTION, Message, ModelInputs, Prompts
from comem_memory.model.served import ServedModel, prompt_embeds, without_reserved
from comem_memory.model.text_prompts import (
    DEFAULT_TEXT_PROMPTS,
    TEXT_PROMPTS,
    PromptItem,
    as_text,
    check_text_prompt,
    retrieval_content,
    with_items,
)

__all__ = [
    "DEFAULT_TEXT_PROMPTS",
    "PROMPT_VERSION",
    "RESTATE_INSTRUCTION",
    "TEXT_PROMPTS",
    "AnsweringModel",
    "Backbone",
    "Message",
    "ModelInputs",
    "PrefixCache",
    "PromptItem",
    "Prompts",
    "ServedModel",
    "as_text",
    "auto_class",
    "check_text_prompt",
    "content_inputs",
    "cut_inputs",
    "load_config",
    "load_processor",
    "prompt_embeds",
    "quantization_of",
    "retrieval_content",
    "torch_defaults",
    "weights_fingerprint",
    "with_items",
    "without_reserved",
    "without_videos",
]
