"""Tokens that a training step works through a second, beside what this machine's matrix products allow.

`python benchmarks/training.py`: the embedded default goes on learning from made-up notes, as `comem train --start`
lets it. Padding is not counted. A token's work is 4 operations for each weight of the decoder: 2 forward and 2
backward, in the encoder and in the frozen reader alike; attention, LoRA, Q-Former and output head are not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import timeit
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from comem_memory import ContinuousMemory, mini
from comem_memory.model import torch_defaults
from comem_memory.training.data import training_data
from comem_memory.training.hardware import bfloat16_is_fast, speed_up_on_cpu
from comem_memory.training.memory_trainer import MemoryTrainer
from comem_memory.training.recipe import TrainingRecipe
from comem_memory.training.trainer import training_arguments

WARM_UP = 12
"""Steps that are not measured: layers are compiled in them."""
ROWS = 512
"""Tokens of the matrix products that tell the limit; a forward pass of a step has about as many."""
LORA_RANK = 64
"""Matrices with a side of up to so many are a LoRA's."""


class _Counted(TrainerCallback):
    """Time and tokens of the steps after the warm-up."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        self.tokens = self.places = self.passes = 0
        self.start = self.seconds = 0.0
        decoder.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _: Any, __: Any, kwargs: dict[str, Any]) -> None:
        mask = kwargs["attention_mask"]
        self.passes += 1
        self.tokens += int(mask.sum())
        self.places += mask.numel()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        _wait()
        if state.global_step == WARM_UP:
            self.start = time.perf_counter()
            self.tokens = self.places = self.passes = 0
        self.seconds = time.perf_counter() - self.start


@torch_defaults()
def main(steps: int, start: Path, *, checkpointing: bool) -> None:
    """Trains so many steps, and prints what they took."""
    encoder = ContinuousMemory.from_pretrained(adapter=start).encoder
    backbone = encoder.backbone
    recipe = TrainingRecipe(steps=WARM_UP + steps, start=start, notes=1, pictures=False, prompt_steps=0)
    if not torch.cuda.is_available():
        speed_up_on_cpu(backbone, max_length=512, compiled=not checkpointing)
    if checkpointing:
        encoder.gradient_checkpointing_enable()
    data = training_data(backbone, recipe)
    decoder = backbone.model.get_decoder()
    counted = _Counted(decoder)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(
            folder, steps=len(data.train), learning_rate=3e-4, eval_strategy="no", save_strategy="no"
        )
        trainer = MemoryTrainer(encoder, arguments, data.train, ())
        trainer.add_callback(counted)
        trainer.train()
    weights = sum(p.numel() for name, p in decoder.named_parameters() if "lora_" not in name and "embed" not in name)
    dtype = torch.bfloat16 if bfloat16_is_fast() else torch.float32
    rate = counted.tokens / counted.seconds
    done, limit = rate * 4 * weights, _limit(decoder, backbone.device, dtype)
    print(f"{backbone.device}, {torch.get_num_threads()} threads, {dtype}, {steps} steps")
    print(f"{counted.seconds / steps:.2f} s and {counted.tokens / steps:,.0f} tokens a step")
    print(f"{rate:,.0f} tokens a second; {1 - counted.tokens / counted.places:.0%} of the places are padding")
    print(f"{done / 1e9:,.0f} of {limit / 1e9:,.0f} GFLOPS: {done / limit:.0%} of what matrix products alone reach")


def _limit(decoder: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the decoder's own matrix products, the largest of each shape by itself."""
    layers = {tuple(m.weight.shape) for m in decoder.modules() if isinstance(m, torch.nn.Linear)}
    operations, seconds = 0, 0.0
    for out, into in (shape for shape in layers if min(shape) > LORA_RANK):
        rows = torch.ones(ROWS, into, dtype=dtype, device=device)
        weight = torch.ones(into, out, dtype=dtype, device=device)
        seconds += min(timeit.repeat(partial(_product, rows, weight), number=20, repeat=5))
        operations += 20 * 2 * ROWS * out * into
    return operations / seconds


def _product(rows: torch.Tensor, weight: torch.Tensor) -> None:
    torch.mm(rows, weight)
    _wait()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--start", type=Path, default=mini.ADAPTER, help="adapter to go on from")
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    main(**vars(parser.parse_args()))
