"""Model weights in safetensors files, read and written tensor by tensor: memory stays far under a model's size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from comem_memory.errors import CheckpointError

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""By the formats that model weights are kept in."""
WEIGHTS_AND_SETTINGS = ("*.safetensors", "*.json", "*.txt", "*.jinja")
"""What is fetched of a hub model: no pickles."""
SHARD_BYTES = 256 * 2**20
"""Largest shard we write, unless one tensor alone is larger; a shard is held in memory while it is written."""
BLOCK_NUMBERS = 2**22
"""Numbers that are compared at once, in float32."""


class TensorInfo(NamedTuple):
    file: Path
    shape: tuple[int, ...]
    dtype: str
    """As safetensors calls it: F32, BF16, ..."""


class WeightFiles:
    """The tensors of a model, by name; each is read from disk when it is asked for and unmapped when it is dropped.

    Args:
        path: a safetensors file, or a folder with `model.safetensors` or its shards and their index.

    Raises:
        CheckpointError: a file is missing or damaged, or the index tells of other tensors than the files hold.
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
        """The tensor as stored, mapped from its file."""
        with safe_open(self.tensors[name].file, framework="pt") as file:
            return file.get_tensor(name)

    def num_bytes(self, name: str) -> int:
        return math.prod(self.tensors[name].shape) * ITEM_BYTES[self.tensors[name].dtype]

    @property
    def files(self) -> list[Path]:
        return sorted({info.file for info in self.tensors.values()})

    @property
    def shard_bytes(self) -> int:
        """Of the largest file."""
        return max(file.stat().st_size for file in self.files)


def local_path(name_or_path: str | Path, patterns: Sequence[str] = WEIGHTS_AND_SETTINGS) -> Path:
    """A file or folder as it is; anything else is taken for a hub name, whose files are fetched into the hub's cache.

    Args:
        name_or_path: a file, folder or hub name.
        patterns: of the files to fetch; those in subfolders, mostly intermediate checkpoints, are left out.

    Raises:
        CheckpointError: neither exists.
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
    names: Sequence[str],
    read: Callable[[str], torch.Tensor],
    num_bytes: Callable[[str], int],
    *,
    shard_bytes: int,
    description: str,
) -> None:
    """Writes tensors into shards with an index, as `save_pretrained` does; finished shards are not written again.

    Args:
        folder: exists.
        names: of the tensors, in order.
        read: makes one tensor.
        num_bytes: size of one tensor, known before it is made.
        shard_bytes: of the shards that the tensors come from; ours become half as large, and at most SHARD_BYTES.
        description: beside the progress bar.
    """
    shards: list[list[str]] = []
    room = 0
    for name in names:
        if num_bytes(name) > room:
            shards.append([])
            room = min(SHARD_BYTES, shard_bytes // 2)
        shards[-1].append(name)
        room -= num_bytes(name)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(tqdm(shards, desc=description, unit="shard"), 1):
        file = folder / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        weight_map |= dict.fromkeys(shard, file.name)
        if not file.exists():
            save_whole({name: read(name) for name in shard}, file)
    index = {"metadata": {"total_size": sum(map(num_bytes, names))}, "weight_map": weight_map}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")


def save_whole(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Writes a safetensors file that is complete whenever it exists."""
    unfinished = file.with_suffix(".unfinished")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, metadata={"format": "pt"})
    unfinished.replace(file)


def relative_difference(changed: torch.Tensor, original: torch.Tensor) -> float:
    """Norm of the difference over the norm of the original, once that is rounded to the other's dtype."""
    difference = norm = 0.0
    for new, old in zip(
        changed.reshape(-1).split(BLOCK_NUMBERS), original.reshape(-1).split(BLOCK_NUMBERS), strict=True
    ):
        old = old.to(new.dtype).float()
        difference += float((new.float() - old).square().sum(dtype=torch.float64))
        norm += float(old.square().sum(dtype=torch.float64))
    return math.sqrt(difference / norm) if norm else float(difference > 0)


def _single(path: Path) -> Path:
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
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            held = {name: TensorInfo(file, tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or cut short: {error}. Download it again.") from error
    if other := sorted(info.dtype for info in held.values() if info.dtype not in ITEM_BYTES):
        raise CheckpointError(f"{file} holds {other[0]} tensors. Pass weights in float32, float16 or bfloat16.")
    return held
