"""How much memory a computation takes at its peak."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

PROCESS = Path("/proc/self")


def peak_bytes(run: Callable[[], object]) -> int | None:
    """Bytes beyond those in use before, at the highest moment of a call.

    On a GPU what PyTorch allocates there; else, on Linux, resident memory, after what is free was given back to the
    system. `None` where neither can be told.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (PROCESS / "clear_refs").write_text("5")  # the peak starts anew: proc(5)
    except (AttributeError, OSError, TypeError):  # another C library, or not Linux
        run()
        return None
    before = peak_resident()
    run()
    return peak_resident() - before


def peak_resident() -> int:
    """Highest resident set of this process so far, in bytes; mapped file pages count. (Linux; getrusage would give
    a spawned process its parent's peak.)"""
    [line] = [line for line in (PROCESS / "status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
