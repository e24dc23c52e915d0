"""What this machine computes quickly.

On 2 cores with AMX a step of 16 items and about 45 questions takes 2.2 s, of which these save most: base weights in
bfloat16 (where the CPU is faster in it), an output head that sees only the answers' positions, eager attention (the
backward pass of PyTorch's CPU flash attention is slow at these lengths), and compiled decoder layers (3.6 s without).
"""

from __future__ import annotations

import shutil
import timeit
from functools import cache

import torch
import torch._dynamo
import torch.utils.cpp_extension  # before anything imports the standard library's distutils, or compiling fails

from comem_memory.model import Backbone


@cache
def bfloat16_is_fast() -> bool:
    """Whether this machine multiplies matrices faster in bfloat16 than in float32, of CPUs found by trying: those with
    AVX-512 alone take 4 to 5 times as long, those without it 40 times, those with AMX a fraction."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """The shortest of several, which what runs beside does not lengthen."""
    left, right = torch.ones(256, 576, dtype=dtype), torch.ones(576, 1536, dtype=dtype)
    return min(timeit.repeat(lambda: left @ right, number=1, repeat=8))


EAGER = 1024
"""Tokens of an item up to which attention is eager; its memory grows with their square."""


def speed_up_on_cpu(backbone: Backbone, *, max_length: int, compiled: bool) -> None:
    """Settings of the frozen model for a training on this CPU.

    Args:
        backbone: The model.
        max_length: Longest item in tokens.
        compiled: Whether nothing but whole layers is run.
    """
    backbone.model.to(torch.bfloat16 if bfloat16_is_fast() else torch.float32)
    if max_length <= EAGER:
        backbone.model.set_attn_implementation("eager")
    if compiled and shutil.which("g++"):  # torch.compile writes C++
        torch._dynamo.config.recompile_limit = 64  # with and without adapter, mask and gradient
        for layer in backbone.model.get_decoder().layers:
            layer.compile(dynamic=True)
