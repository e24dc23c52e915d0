"""What a generation computed on its way."""

import torch
from transformers import LogitsProcessor


class Recorder(LogitsProcessor):
    """Keeps the logits of every step of a generation."""

    def __init__(self) -> None:
        self.logits: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.logits.append(scores.clone())
        return scores
