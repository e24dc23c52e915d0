"""Frames of a clip as a model's video input, made by its picture processor.

Models of Qwen's kind see a clip in patches of two frames, and a picture as a clip that shows it twice. So a frame's
patches are the picture's, and those of two frames are put together here. All else is the work of the model's own
processor: which tokens stand for a clip, and what times are said between them. transformers' own video processors need
torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from PIL import Image
from transformers.video_utils import VideoMetadata

Clip = tuple[Image.Image, ...]
"""Frames of one size in their order."""

FRAMES_A_SECOND = 2.0
"""Of every clip, since items do not tell how far frames are apart: as often as Qwen's video processors take one."""


def takes_clips(processor: Any) -> bool:
    """Whether a model's processor lays out clips whose patches hold several frames.

    Args:
        processor: The model's processor, or the tokenizer of a text-only model.
    """
    pictures = getattr(processor, "image_processor", None)
    return getattr(pictures, "temporal_patch_size", 1) > 1 and getattr(processor, "video_token", None) is not None


def taking_clips(processor: Any) -> Any:
    """A processor of the same parts that takes clips as `videos`, whether torchvision is installed or not.

    Args:
        processor: One that `takes_clips`.
    """
    taking = copy(processor)
    taking.video_processor = _ClipProcessor(processor.image_processor)
    return taking


class _ClipProcessor:
    """Stands where a processor of transformers has its video processor."""

    def __init__(self, pictures: Any) -> None:
        self._pictures = pictures
        self.merge_size, self.temporal_patch_size = pictures.merge_size, pictures.temporal_patch_size

    def __call__(self, videos: Sequence[Clip], **settings: Any) -> dict[str, Any]:
        """The patches of the clips one after the other, and how many each has in time, height and width.

        Args:
            videos: The frames of each clip.
            **settings: Of video processors, none of which is for frames that are chosen already.
        """
        patches, grids = zip(*map(self._patches, videos), strict=True)
        times = [VideoMetadata(len(clip), FRAMES_A_SECOND, frames_indices=[*range(len(clip))]) for clip in videos]
        return {
            "pixel_values_videos": torch.cat(patches),
            "video_grid_thw": torch.tensor(grids),
            "video_metadata": times,
        }

    def _patches(self, clip: Clip) -> tuple[torch.Tensor, list[int]]:
        """A clip's patches, (patches, colours * frames of a patch * pixels of a patch), and their grid."""
        deep = self.temporal_patch_size
        frames = [*clip, *[clip[-1]] * (-len(clip) % deep)]
        read = self._pictures(frames, return_tensors="pt")
        _, height, width = read["image_grid_thw"][0].tolist()
        shown = read["pixel_values"].view(-1, deep, height * width, 3, deep, self._pictures.patch_size**2)
        once = shown[:, :, :, :, 0]  # of the same picture, once for each frame that a patch holds
        return once.permute(0, 2, 3, 1, 4).reshape(-1, read["pixel_values"].shape[1]), [len(once), height, width]
