"""What a training finds out about the machine."""

import timeit

import pytest
import torch

from comem_memory.training.hardware import bfloat16_is_fast


@pytest.mark.skipif(torch.cuda.is_available(), reason="of a GPU its driver tells")
def test_trains_in_the_faster_of_two_dtypes():
    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(512, 512, dtype=dtype)
        return min(timeit.repeat(lambda: matrix @ matrix, number=1, repeat=8))

    ratio = seconds(torch.bfloat16) / seconds(torch.float32)
    if not 0.7 < ratio < 1.4:  # nearer than that, either will do
        assert bfloat16_is_fast() == (ratio < 1)
