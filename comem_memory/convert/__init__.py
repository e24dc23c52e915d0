"""Conversion between the released checkpoints of CoMEM's authors (arXiv 2505.17670) and our adapter folders."""

from comem_memory.convert.cached import cached_adapter, is_checkpoint
from comem_memory.convert.export import export_checkpoint
from comem_memory.convert.released import convert_checkpoint
from comem_memory.convert.report import ConversionReport, FrozenWeights

__all__ = [
    "ConversionReport",
    "FrozenWeights",
    "cached_adapter",
    "convert_checkpoint",
    "export_checkpoint",
    "is_checkpoint",
]
