"""Clips of video as pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files.images import MODEL_PIXELS, at_most

FRAMES = 16
"""Most frames of a clip, unless it is said how often one is taken."""


def video_frames(path: str | Path, *, every: float | None = None) -> list[Image.Image]:
    """Frames of a clip in their order, the first of them its first.

    Args:
        path: A file that FFmpeg reads.
        every: Seconds from one frame to the next; by default one, and in longer clips as many as leave `FRAMES`.

    Returns:
        Pictures of the clip's size, scaled down to `MODEL_PIXELS` pixels where they have more.

    Raises:
        InvalidItemError: The file cannot be read or shows nothing, or `every` is not above zero.
        ModuleNotFoundError: What reads clips is not installed: `pip install 'comem-memory[video]'`.
    """
    import av  # an extra: not everyone has clips

    if every is not None and every <= 0:
        raise InvalidItemError(f"every is {every}. Pass the seconds from one frame to the next, above zero.")
    frames: list[Image.Image] = []
    try:
        with av.open(str(path)) as clip:
            if not clip.streams.video:
                raise InvalidItemError(f"{shortened(path)} shows nothing: it has no video. Pass a clip with pictures.")
            lasts = 0.0 if clip.duration is None else clip.duration / av.time_base
            step = max(1.0, lasts / FRAMES) if every is None else every
            for frame in clip.decode(clip.streams.video[0]):
                if frame.time is None or frame.time >= len(frames) * step:
                    frames.append(at_most(frame.to_image(), MODEL_PIXELS))
                if every is None and len(frames) == FRAMES:
                    break  # also of a file that does not say how long it lasts
    except (av.FFmpegError, OSError) as error:
        raise InvalidItemError(
            f"Clip {shortened(path)} cannot be read: {error}. Pass a file that FFmpeg can open, such as MP4."
        ) from error
    if not frames:
        raise InvalidItemError(f"Clip {shortened(path)} has no frames. Pass one that is whole.")
    return frames
