"""Reading audio safely: bounded in bytes and seconds, mono, and at the rate that a model hears."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from comem_memory.content import Audio
from comem_memory.errors import InvalidItemError, shortened

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_AUDIO_BYTES = 64 * 2**20
"""Most bytes of an encoded recording: 35 minutes of 16-bit mono at 16 kHz."""
_SUFFIXES = {"matroska": "mka", "mov": "m4a", "mpeg": "mpg"}
"""Of FFmpeg's formats that are not called as their files are."""


def read_audio(audio: Audio) -> Audio:
    """The recording with its encoded bytes.

    Raises:
        InvalidItemError: The file is missing, is no recording, or has more than `MAX_AUDIO_BYTES` bytes.
        ModuleNotFoundError: What reads audio is not installed: `pip install 'comem-memory[video]'`.
    """
    if isinstance(audio.source, bytes):
        size, name = len(audio.source), repr(audio)
    else:
        name = f"Audio {shortened(audio.source)}"
        try:
            size = audio.source.stat().st_size
            audio = Audio(audio.source.read_bytes() if size <= MAX_AUDIO_BYTES else b"")
        except OSError as error:
            found = f"{name} cannot be read: {error.strerror}."
            raise InvalidItemError(f"{found} Pass the path of an audio file.") from error
    if size > MAX_AUDIO_BYTES:
        raise InvalidItemError(f"{name} has {size} bytes, more than {MAX_AUDIO_BYTES}. Split it, or encode it smaller.")
    audio_suffix(audio.data)  # what is no recording is told here
    return audio


def samples_of(data: bytes, *, rate: int, seconds: float) -> np.ndarray:
    """What a recording sounds like.

    Args:
        data: An encoded file that FFmpeg reads, also of a clip of video, of which it is the sound.
        rate: Samples a second.
        seconds: The longest that it may be.

    Returns:
        (samples,) float32 from -1 to 1, of all its channels together.

    Raises:
        InvalidItemError: It cannot be read, has no sound, or is longer.
        ModuleNotFoundError: What reads audio is not installed: `pip install 'comem-memory[video]'`.
    """
    import av  # an extra: not everyone has recordings

    most = int(rate * (seconds + 0.01))  # resampling may add a sample
    pieces, length = list[np.ndarray](), 0
    with _opened(data) as file:
        mono = av.AudioResampler(format="flt", layout="mono", rate=rate)
        frames = file.decode(file.streams.audio[0])
        for frame in itertools.chain(frames, [None]):  # None: what the resampler still holds
            heard = [piece.to_ndarray()[0] for piece in mono.resample(frame)]
            pieces, length = pieces + heard, length + sum(map(len, heard))
            if length > most:
                raise InvalidItemError(
                    f"The recording is longer than the {seconds:g} seconds that the model hears at once. Split it into "
                    "several items, each with its text."
                )
    if not length:
        raise InvalidItemError("The recording has no samples. Pass one that is whole.")
    return np.concatenate(pieces).clip(-1, 1)


def audio_suffix(data: bytes) -> str:
    """The suffix that files of a recording's kind have, with its dot."""
    with _opened(data) as file:
        name = file.format.name.split(",")[0]
    return f".{_SUFFIXES.get(name, name)}"


@contextmanager
def _opened(data: bytes) -> Iterator[InputContainer]:
    """
    Raises:
        InvalidItemError: It has no sound, or what is done with it fails, because it cannot be read.
    """
    import av

    try:
        with av.open(io.BytesIO(data), "r") as file:
            if not file.streams.audio:
                raise InvalidItemError("The file has no sound. Pass a recording.")
            yield file
    except (av.FFmpegError, OSError) as error:
        found = error.strerror or error
        raise InvalidItemError(
            f"A recording cannot be read: {found}. Pass a file that FFmpeg can open, such as WAV, FLAC or MP3."
        ) from error
