"""Clips of video as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files.images import MAX_PIXELS, MODEL_PIXELS, at_most

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

FRAMES = 16
"""Most frames of a clip, unless it is said how often one is taken."""


def video_frames(path: str | Path, *, every: float | None = None, max_pixels: int = MAX_PIXELS) -> list[Image.Image]:
    """Frames of a clip in their order, the first of them its first.

    Args:
        path: A file that FFmpeg reads.
        every: Seconds from one frame to the next; by default one, and in longer clips as many as leave `FRAMES`.
        max_pixels: Most pixels of the clip's pictures, which is looked at before they are decoded.

    Returns:
        Pictures of the clip's size, scaled down to `MODEL_PIXELS` pixels where they have more.

    Raises:
        InvalidItemError: The file cannot be read or shows nothing, its pictures have too many pixels, or `every` is not
            above zero.
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
            stream = clip.streams.video[0]
            _check_pixels(path, stream, max_pixels)
            step = max(1.0, _lasts(clip, stream) / FRAMES) if every is None else every
            begins, due = None, 0.0
            for frame in clip.decode(stream):
                begins = frame.time if begins is None else begins
                at = due if frame.time is None or begins is None else frame.time - begins
                if at >= due:
                    _check_pixels(path, frame, max_pixels)  # of which the clip's head may say something else
                    frames.append(at_most(frame.to_image(), MODEL_PIXELS))
                    due += step * ((at - due) // step + 1)  # the next multiple, also after a gap
                if every is None and len(frames) == FRAMES:
                    break  # also of a file that does not say how long it lasts
    except (av.FFmpegError, OSError) as error:
        raise InvalidItemError(
            f"Clip {shortened(path)} cannot be read: {error}. Pass a file that FFmpeg can open, such as MP4."
        ) from error
    if not frames:
        raise InvalidItemError(f"Clip {shortened(path)} has no frames. Pass one that is whole.")
    return frames


def _check_pixels(path: str | Path, shown: VideoStream | VideoFrame, most: int) -> None:
    """
    Raises:
        InvalidItemError: A clip, or a frame of it, has too many pixels.
    """
    if shown.width * shown.height > most:
        raise InvalidItemError(
            f"Clip {shortened(path)} has pictures of {shown.width} x {shown.height} pixels, more than {most}. "
            "Scale it down first."
        )


def _lasts(clip: InputContainer, stream: VideoStream) -> float:
    """Seconds from a clip's first frame to its end, 0 where the file does not tell."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if clip.duration is None:  # in Matroska, which tells this alone, it is the time of the end
        return 0.0
    return (clip.duration - (clip.start_time or 0)) / 1_000_000  # FFmpeg's AV_TIME_BASE, microseconds
