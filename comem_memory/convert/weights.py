"""Model weights in safetensors files, read and written tensor by tensor, so that they never all lie in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import snapshot_download, split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open

from comem_memory.errors import CheckpointError
from comem_memory.files.tensors import write_tensors
from comem_memory.progress import tracked

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The dtypes that model weights may have, by the names that safetensors gives them."""
WEIGHTS_AND_SETTINGS = ("*.safetensors", "*.json", "*.txt", "*.jinja")
"""The files that are fetched of a hub model: no pickles."""
SHARD_BYTES = 256 * 2**20
"""Largest shard we write, unless one tensor alone is larger; a shard is held in memory while it is written."""
BLOCK_NUMBERS = 2**22
"""Numbers that are compared at once, in float32."""


class TensorInfo(NamedTuple):
    """Where a tensor lies, and what it is like."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


class WeightFiles:
    """The tensors of a model, by name. Each is mapped from its file when it is asked for, and freed when it is dropped.

    Args:
        path: A safetensors file, or a folder with `model.safetensors` or its shards and their index.

    Raises:
        CheckpointError: A file is missing or damaged, holds tensors of another dtype than model weights have, or holds
            other tensors than the index says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: dict[str, TensorInfo] = {}
        files = _indexed(path / INDEX_FILE) if (path / INDEX_FILE).is_file() else {_single(path): None}
        for file, promised in files.items():
            held = _header(file)
            if promised is not None and (other := promised ^ held.keys()):
                raise CheckpointError(
                    f"{path / INDEX_FILE} and {file.name} disagree on {len(other)} tensors, first {min(other)!r}. "
                    "Download the checkpoint again."
                )
            self.tensors |= held

    def read(self, name: str) -> torch.Tensor:
        """A tensor as it is stored, mapped from its file."""
        with safe_open(self.tensors[name].file, framework="pt") as file:
            return file.get_tensor(name)

    def empty(self, name: str) -> torch.Tensor:
        """A tensor of the same shape and dtype on the meta device, without content."""
        return torch.empty(self.tensors[name].shape, dtype=self.tensors[name].dtype, device="meta")

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors, in the order of their names."""
        return sorted({info.file for info in self.tensors.values()})

    @property
    def shard_bytes(self) -> int:
        """Bytes of the largest file."""
        return max(file.stat().st_size for file in self.files)


def local_path(name_or_path: str | Path, patterns: Sequence[str] = WEIGHTS_AND_SETTINGS) -> Path:
    """The path of a file or folder; anything else is taken for a hub name, and fetched into the hub's cache.

    Args:
        name_or_path: A file, a folder, or a hub name.
        patterns: Patterns of the file names to fetch; files in subfolders, mostly intermediate checkpoints, are left
            out.

    Raises:
        CheckpointError: There is no such file or folder, and the hub does not give it.
    """
    if (path := Path(name_or_path)).exists():
        return path
    try:
        return Path(snapshot_download(str(name_or_path), allow_patterns=list(patterns), ignore_patterns="*/*"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{str(name_or_path)!r} is neither a file nor a folder, and the hub does not give it: {error} "
            "Pass the path of a downloaded checkpoint, or a hub name while online."
        ) from error


def write_shards(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    read: Callable[[str], torch.Tensor],
    *,
    shard_bytes: int,
    description: str,
) -> None:
    """Writes tensors into shards with an index, as `save_pretrained` does; finished shards are not written again.

    Args:
        folder: An existing folder.
        tensors: The names of the tensors, in order, with their shapes and dtypes: tensors on the meta device.
        read: A function that makes the tensor of a name.
        shard_bytes: Size of the largest shard that the tensors come from; ours become half as large, and no larger than
            SHARD_BYTES.
        description: A text beside the progress bar.
    """
    split = split_torch_state_dict_into_shards(dict(tensors), max_shard_size=min(SHARD_BYTES, shard_bytes // 2))
    for name, held in tracked(split.filename_to_tensors.items(), description, unit="shard"):
        if not (folder / name).exists():
            write_tensors(folder / name, {tensor: read(tensor) for tensor in held})
    index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")


def relative_difference(changed: torch.Tensor, original: torch.Tensor) -> float:
    """Norm of the difference over the norm of the original.

    Args:
        changed: The tensor that may differ.
        original: The tensor it is compared with, of the same shape, which is first rounded to the other's dtype.
    """
    difference = norm = 0.0
    for new, old in zip(
        changed.reshape(-1).split(BLOCK_NUMBERS), original.reshape(-1).split(BLOCK_NUMBERS), strict=True
    ):
        old = old.to(new.dtype).float()
        difference += float((new.float() - old).square().sum(dtype=torch.float64))
        norm += float(old.square().sum(dtype=torch.float64))
    return math.sqrt(difference / norm) if norm else float(difference > 0)


def _single(path: Path) -> Path:
    """The one file of a model that is not in shards."""
    file = path / SINGLE_FILE if path.is_dir() else path
    if not file.is_file() or file.suffix != ".safetensors":
        raise CheckpointError(
            f"{path} holds neither {SINGLE_FILE} nor {INDEX_FILE}. Pass a folder with safetensors weights, "
            "or a .safetensors file; pickled weights (.bin, .pth) are not read."
        )
    return file


def _indexed(index: Path) -> dict[Path, set[str]]:
    """The files that an index names, each with the tensors that it should hold."""
    try:
        weight_map: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
        files: dict[Path, set[str]] = {}
        for name, file in weight_map.items():
            files.setdefault(index.parent / file, set()).add(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of safetensors: {error!r}. Download it again.") from error
    if missing := sorted(file.name for file in files if not file.is_file()):
        raise CheckpointError(f"{index.parent} lacks {', '.join(missing)}. Download the checkpoint again.")
    return files


def _header(file: Path) -> dict[str, TensorInfo]:
    """What a file holds."""
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            shapes = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or cut short: {error}. Download it again.") from error
    if other := sorted(dtype for _, dtype in shapes.values() if dtype not in DTYPES):
        raise CheckpointError(f"{file} holds {other[0]} tensors. Pass weights in float32, float16 or bfloat16.")
    return {name: TensorInfo(file, shape, DTYPES[dtype]) for name, (shape, dtype) in shapes.items()}
