"""Pictures by EfficientNet-Lite0, whose public weights need no model hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from comem_memory.files import load_image
from comem_memory.retrieval.efficientnet import (
    IMAGE_MEAN,
    IMAGE_SIZE,
    IMAGE_STD,
    EfficientNetLite0,
    EfficientNetLite0Config,
)
from comem_memory.retrieval.embedders import TorchEmbedder


class EfficientNetEmbedder(TorchEmbedder):
    """Images, by feature maps of EfficientNet-Lite0: colours and shapes where they are, and what they depict.

    Each block of `_BLOCKS` is pooled over a grid, centred by its mean over many pictures (else cosines
    are near 1) and brought to unit length, so that none dominates. Blocks and mean come from emoji drawn by
    two artists, without flags. Pictures are cropped to what is not transparent and stretched to a square:
    margin and aspect ratio are the artist's choice.

    Args:
        weights: A safetensors file or a state dict with the names of the public checkpoint.
        mean: (D,) float32, as `fit_mean` returns it; by default the one that fits the public checkpoint.
    """

    _probe = Image.new("RGB", (32, 32))

    def __init__(self, weights: str | Path | Mapping[str, torch.Tensor], *, mean: torch.Tensor | None = None) -> None:
        super().__init__()
        self._weights = weights
        self._mean = load_file(_MEAN_FILE)["mean"] if mean is None else mean
        self._family = f"efficientnet-lite0-v1 {hashlib.sha256(self._mean.numpy().tobytes()).hexdigest()[:8]}"

    def _load(self) -> nn.Module:
        weights = self._weights if isinstance(self._weights, Mapping) else load_file(self._weights)
        model: nn.Module = EfficientNetLite0(EfficientNetLite0Config())
        model.to(torch.float32)  # whatever the process makes tensors in
        wanted = model.state_dict()
        model.load_state_dict({name: tensor for name, tensor in weights.items() if name in wanted})
        return model

    def _vectors(self, inputs: Sequence[Image.Image]) -> torch.Tensor:
        blocks = torch.split(self._features(inputs) - self._mean, _BLOCK_SIZES, dim=1)
        return torch.cat([nn.functional.normalize(block, dim=1) for block in blocks], dim=1)

    def _features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(n, D) pooled feature maps, before centring."""
        pixels = torch.stack([_pixels(image) for image in images])
        maps = self._model(pixels).hidden_states
        pooled = []
        for stage, grid, channels in _BLOCKS:
            side = int(maps[stage].shape[1] ** 0.5)
            square = maps[stage].transpose(1, 2).reshape(len(images), channels, side, side)
            pooled.append(nn.functional.adaptive_avg_pool2d(square, grid).flatten(1))
        return torch.cat(pooled, dim=1)

    def fit_mean(self, images: Iterable[Image.Image]) -> torch.Tensor:
        """(D,) float32: the mean feature over pictures of many kinds, not over those to be told apart.

        The one in this package is from 600 pictures each of the npm packages emoji-datasource-google and
        emoji-datasource-twitter (64 pixels, no flags).
        """
        total, count = torch.zeros(sum(_BLOCK_SIZES), dtype=torch.float64, device="cpu"), 0
        with self._lock, torch.inference_mode():
            for image in images:
                total += self._features([image])[0]
                count += 1
        return (total / count).float()


_BLOCKS = ((6, 1, 320), (4, 2, 112), (1, 3, 24))
"""(stage, cells a side, channels): what is shown, its parts, its colours; 320 + 448 + 216 = 984 numbers."""
_BLOCK_SIZES = [grid * grid * channels for _, grid, channels in _BLOCKS]
_MEAN_FILE = Path(__file__).parent.parent / "data" / "efficientnet_mean.safetensors"


def _pixels(image: Image.Image) -> torch.Tensor:
    """(3, IMAGE_SIZE, IMAGE_SIZE), normalised as EfficientNet-Lite0 expects."""
    square = load_image(image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    scaled = torch.from_numpy(np.asarray(square, np.float32) / 255)
    mean, std = (scaled.new_tensor(channels) for channels in (IMAGE_MEAN, IMAGE_STD))
    return ((scaled - mean) / std).permute(2, 0, 1)
