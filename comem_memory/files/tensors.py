"""Safetensors files that are complete whenever they exist, and as readable as the files beside them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from comem_memory.files.atomic import atomic_write


def write_tensors(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Writes a safetensors file.

    The library makes it for its owner alone, which would keep a model that root stored in an image from other users.

    Args:
        file: The file to write.
        tensors: Its tensors, by name.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}

    def write(partial: Path) -> None:
        partial.touch()
        mode = partial.stat().st_mode
        save_file(contiguous, partial, metadata={"format": "pt"})
        partial.chmod(mode)

    atomic_write(file, write)
