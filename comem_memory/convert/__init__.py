"""The authors' released checkpoints <-> our adapter folder (CoMEM, arXiv 2505.17670)."""

from comem_memory.convert.cached import cached_adapter, is_checkpoint
from comem_memory.convert.export import export_checkpoint
from comem_memory.convert.released import convert_checkpoint
from comem_memory.convert.report import ConversionReport

__all__ = ["ConversionReport", "cached_adapter", "convert_checkpoint", "export_checkpoint", "is_checkpoint"]
