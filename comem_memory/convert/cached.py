"""Using a checkpoint in the authors' layout as an adapter: it is converted once and kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from comem_memory.convert.layout import AGENTS, ARCHITECTURE_SUFFIX, to_authors_qformer
from comem_memory.convert.released import convert_checkpoint
from comem_memory.convert.weights import INDEX_FILE, local_path
from comem_memory.errors import CheckpointError
from comem_memory.files import cache_directory, made_once
from comem_memory.model import PROMPT_VERSION

logger = logging.getLogger(__name__)

CONVERSION = 2
"""Grows whenever a conversion comes out differently, so that no older cache folder is taken for it."""
BASES = {
    ("Qwen2VLForConditionalGeneration_new", 3584): "Qwen/Qwen2-VL-7B-Instruct",
    ("Qwen2_5_VLForConditionalGeneration_new", 3584): "Qwen/Qwen2.5-VL-7B-Instruct",
}
"""The base model of each of the authors' classes, by class and hidden size: their Qwen2.5 class loads it as `model_inf`
(`qwenVL_inference2.py` of their code), and we take it that their Qwen2 class does the same."""


def is_checkpoint(name_or_path: str | Path) -> bool:
    """Whether this is a checkpoint in the authors' layout. Only settings and index are looked at, no weights.

    Args:
        name_or_path: A folder or a hub name.

    Raises:
        CheckpointError: There is no such folder, and the hub does not give it.
    """
    folder = _description(name_or_path)
    architectures = _read_json(folder / "config.json").get("architectures") or []
    return any(name.endswith(ARCHITECTURE_SUFFIX) for name in architectures) or (
        to_authors_qformer("query_tokens") in _read_json(folder / INDEX_FILE).get("weight_map", {})
    )


def cached_adapter(checkpoint: str | Path, base: str | None = None) -> Path:
    """The adapter folder of a checkpoint; its own model answers where that is not the base model.

    The folder is made in the cache folder (`$COMEM_CACHE`, or `~/.cache/comem`) the first time, which takes long for a
    large model and goes on where it stopped. It is made anew when the files of checkpoint or base model change. The
    Q-Former has 16 heads, as in all of the authors' checkpoints; for another number use `convert_checkpoint`.

    Args:
        checkpoint: The checkpoint, a folder or a hub name.
        base: The base model that the checkpoint was trained from, a folder or a hub name. By default it is the one that
            the checkpoint's settings name.

    Raises:
        CheckpointError: The checkpoint's settings name no base model and `base` is not given, or the checkpoint cannot
            be converted.
        CacheError: It is not in the cache folder yet, and that cannot be written.
    """
    base = base or _told_base(checkpoint)
    if Path(base).exists():
        base = str(Path(base).resolve())  # the adapter names it, for whoever loads it from another folder
    identity = json.dumps([CONVERSION, PROMPT_VERSION, _identity(checkpoint), _identity(base)])
    name = f"{Path(checkpoint).resolve().name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    folder = cache_directory().resolve() / name

    def convert() -> None:
        report = convert_checkpoint(checkpoint, base=base, out=folder, frozen=None)
        logger.warning("Converted %s into %s. %s", checkpoint, folder, " ".join(report.findings))

    return made_once(folder, convert)


def _told_base(checkpoint: str | Path) -> str:
    """The base model that a checkpoint's name or class stands for, or that its `_name_or_path` names."""
    if base := AGENTS.get(str(checkpoint)):
        return base
    config = _read_json(_description(checkpoint) / "config.json")
    for architecture in config.get("architectures") or []:
        if base := BASES.get((architecture, config.get("hidden_size", 0))):
            return base
    named = str(config.get("_name_or_path") or checkpoint)
    with suppress(CheckpointError):  # it may be a path on the machine where the checkpoint was made
        if not is_checkpoint(named):
            return named
    raise CheckpointError(
        f"{checkpoint} does not tell which base model it was trained from. Pass that as the model and the checkpoint "
        f"as the adapter: ContinuousMemory.from_pretrained(MODEL, adapter={str(checkpoint)!r})."
    )


def _identity(name_or_path: str | Path) -> list[Any]:
    """What changes whenever the weights do: the commit of a hub name, or sizes and times of a folder's files."""
    path = _description(name_or_path)
    if not Path(name_or_path).exists():
        return [str(name_or_path), path.name]  # a snapshot is named by its commit
    stats = [(file.name, file.stat()) for file in sorted(path.glob("*.safetensors"))]
    return [str(path.resolve()), *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)]


def _description(name_or_path: str | Path) -> Path:
    """The folder; of a hub name, one with settings and index but without weights."""
    return local_path(name_or_path, ["*.json"])


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):  # no such file, no JSON, or no JSON object
        return {}
