"""Files of this machine: pictures, audio, items to read, cache and temporary folders, atomic writes, resumable work."""

from comem_memory.files.agent_messages import trajectory_of
from comem_memory.files.atomic import PARTIAL, atomic_folder, atomic_write
from comem_memory.files.audio import audio_suffix, read_audio, samples_of
from comem_memory.files.cache import cache_directory, cached, made_once
from comem_memory.files.images import (
    MODEL_PIXELS,
    as_png,
    at_most,
    image_digest,
    keep_picture,
    load_image,
    named_picture,
)
from comem_memory.files.item_files import Reading, item_files, items_of, read_items
from comem_memory.files.resumable import NOTE, claim, file_stats, open_work, refuse_existing
from comem_memory.files.splitting import check_splitter
from comem_memory.files.temporary import TemporaryFolder
from comem_memory.files.trajectory_files import read_trajectories
from comem_memory.files.video import video_frames

__all__ = [
    "MODEL_PIXELS",
    "NOTE",
    "PARTIAL",
    "Reading",
    "TemporaryFolder",
    "as_png",
    "at_most",
    "atomic_folder",
    "atomic_write",
    "audio_suffix",
    "cache_directory",
    "cached",
    "check_splitter",
    "claim",
    "file_stats",
    "image_digest",
    "item_files",
    "items_of",
    "keep_picture",
    "load_image",
    "made_once",
    "named_picture",
    "open_work",
    "read_audio",
    "read_items",
    "read_trajectories",
    "refuse_existing",
    "samples_of",
    "trajectory_of",
    "video_frames",
]
