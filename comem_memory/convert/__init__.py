"""The authors' released checkpoints <-> our adapter folder (CoMEM, arXiv 2505.17670)."""

from comem_memory.convert.export import export_checkpoint
from comem_memory.convert.released import convert_checkpoint
from comem_memory.convert.report import ConversionReport

__all__ = ["ConversionReport", "convert_checkpoint", "export_checkpoint"]
