"""Peak memory of `comem convert` against the largest shard: `python benchmarks/convert.py --megabytes 300`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig

from comem_memory.config import QFormerConfig
from comem_memory.convert import FrozenWeights, convert_checkpoint
from comem_memory.convert.layout import FROZEN, BaseModel, to_authors, to_authors_qformer
from comem_memory.convert.weights import INDEX_FILE, SINGLE_FILE
from comem_memory.encoder import QFormer
from comem_memory.evaluation.peak_memory import peak_resident

WIDTH, RANK, HEADS = 512, 16, 16


def make(folder: Path, megabytes: int, shards: int) -> int:
    """A random base model and checkpoint in bfloat16 of this size; the largest shard's bytes."""
    per_layer = WIDTH * WIDTH * 2.5 + 3 * WIDTH * 4 * WIDTH  # q, k, v, o and the feed-forward
    layers = max(1, int((megabytes * 2**20 / 2 - 14 * WIDTH**2) / 2 / per_layer))
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": WIDTH,
            "intermediate_size": 4 * WIDTH,
            "num_hidden_layers": layers,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "vocab_size": 512,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
        },
    )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    (folder / "base").mkdir()
    (folder / "checkpoint").mkdir()
    config.save_pretrained(folder / "base")
    frozen = {to_authors(name): torch.randn(w.shape).mul_(0.03).bfloat16() for name, w in model.named_parameters()}
    save_file(frozen, folder / "base" / SINGLE_FILE)
    linears = BaseModel(folder / "base").linears
    merged = {name: _merged(weight) if name in linears else weight for name, weight in frozen.items()}
    qformer = QFormer(QFormerConfig(hidden_size=WIDTH, num_attention_heads=HEADS)).bfloat16().state_dict()
    checkpoint = merged | {FROZEN + name: weight.clone() for name, weight in frozen.items()}
    checkpoint |= {to_authors_qformer(name): weight for name, weight in qformer.items()}
    names = list(checkpoint)
    weight_map = {name: f"model-{i * shards // len(names) + 1:05d}.safetensors" for i, name in enumerate(names)}
    for file in set(weight_map.values()):
        save_file({n: checkpoint[n] for n in names if weight_map[n] == file}, folder / "checkpoint" / file)
    (folder / "checkpoint" / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))
    return max(file.stat().st_size for file in (folder / "checkpoint").glob("*.safetensors"))


def _merged(weight: torch.Tensor) -> torch.Tensor:
    """With an update of 3% of the matrix."""
    update = torch.randn(weight.shape[0], RANK) @ torch.randn(RANK, weight.shape[1])
    return (weight + update * (0.03 * weight.float().norm() / update.norm())).bfloat16()


def _peak(kwargs: dict[str, Any], results: multiprocessing.Queue) -> None:
    start, before = time.perf_counter(), peak_resident()
    report = convert_checkpoint(**kwargs)
    results.put((before, peak_resident(), time.perf_counter() - start, report.lora.r))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--shards", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    spawn = multiprocessing.get_context("spawn")  # a child that has this process's memory would tell its peak
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        largest = make(folder, arguments.megabytes, arguments.shards)
        size = sum(file.stat().st_size for file in (folder / "checkpoint").iterdir())
        print(f"checkpoint {size / 2**20:.0f} MiB, largest shard {largest / 2**20:.0f} MiB")
        for frozen in get_args(FrozenWeights):
            kwargs = {
                "checkpoint": folder / "checkpoint",
                "base": folder / "base",
                "out": folder / f"adapter-{frozen}",
                "frozen": frozen,
                "num_attention_heads": HEADS,
            }
            results = spawn.Queue()
            child = spawn.Process(target=_peak, args=(kwargs, results))
            child.start()
            before, peak, seconds, rank = results.get()
            child.join()
            print(
                f"{frozen}: peak {peak / 2**20:.0f} MiB, of which {before / 2**20:.0f} MiB are the imported libraries; "
                f"conversion itself {(peak - before) / 2**20:.0f} MiB = {(peak - before) / largest:.2f} of the largest "
                f"shard; {seconds:.0f} s; rank {rank} of {RANK} recovered"
            )
