"""A tiny model and its memory encoder as folders, as users have them."""

from pathlib import Path

from comem_memory.encoder import MemoryEncoder
from comem_memory.model import Backbone
from comem_memory.testing import Family, tiny_backbone, tiny_encoder


def save_tiny(folder: Path, family: Family = "llava", *, seed: int = 0) -> tuple[Path, Path]:
    """Folders of the base model and of an adapter that belongs to it."""
    backbone = _save_base(folder, family, seed)
    tiny_encoder(backbone, seed=seed).save_pretrained(folder / "adapter")
    return folder / "base", folder / "adapter"


def save_roomy(folder: Path) -> tuple[Path, Path]:
    """The same with a window that holds every country's paragraph."""
    backbone = _save_base(folder, "llava", 0)
    MemoryEncoder.create(backbone, num_attention_heads=4, max_length=1024).save_pretrained(folder / "adapter")
    return folder / "base", folder / "adapter"


def _save_base(folder: Path, family: Family, seed: int) -> Backbone:
    backbone = tiny_backbone(family, seed=seed)
    backbone.model.save_pretrained(folder / "base")
    backbone.prompts.processor.save_pretrained(folder / "base")
    backbone.name = str(folder / "base")
    return backbone
