"""What a program sets in PyTorch for its own work, and what ours does not depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def torch_defaults() -> Iterator[None]:
    """This thread's PyTorch as it is in a new process: tensors are made on the CPU, with gradients, without autocast.

    Default device, `inference_mode`, `no_grad` and autocast belong to a thread, and on leaving, they are the caller's
    again. The default dtype belongs to the whole process, where other threads use it, so it is neither read nor set:
    tensors are made with a dtype. Only transformers' loading does both, so no other thread may change it meanwhile.
    """
    with ExitStack() as stack:
        for ours in (torch.inference_mode(False), torch.enable_grad(), torch.device("cpu")):
            stack.enter_context(ours)
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield
