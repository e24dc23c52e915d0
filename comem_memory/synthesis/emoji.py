"""Emoji pictures by two artists, with their names: what the embedded model's projector learns to see with.

From the npm packages `emoji-datasource-google` (Noto Emoji, Apache-2.0) and `emoji-datasource-twitter` (Twemoji,
CC-BY 4.0), fetched by `npm pack` for training only; nothing of them ships.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from comem_memory.errors import DownloadError
from comem_memory.files import cached
from comem_memory.synthesis.splits import Split

ARTISTS = ("google", "twitter")
VERSION = "16.0.0"
HELD_OUT = 100
"""Names that no training sees."""
SPLIT_SEED = 0


@dataclass(frozen=True)
class Picture:
    path: Path
    name: str


def emoji() -> list[Picture]:
    """Every emoji but the flags, by each artist; the same name twice in a row.

    Raises:
        DownloadError: Npm is missing or cannot fetch the packages.
    """
    folders = [cached(f"emoji-{artist}-{VERSION}", partial(_fetch, artist)) for artist in ARTISTS]
    listed = json.loads((folders[0] / "package" / "emoji.json").read_text())
    pictures = []
    for entry in sorted(listed, key=lambda e: e["image"]):
        if entry["category"] == "Flags":
            continue
        name = entry["short_name"].replace("_", " ").replace("-", " ").strip()
        for folder, artist in zip(folders, ARTISTS, strict=True):
            path = folder / "package" / "img" / artist / "64" / entry["image"]
            if path.is_file():
                pictures.append(Picture(path, name))
    return pictures


def split_emoji(rng: random.Random) -> tuple[list[Picture], list[Picture]]:
    """Pictures to train with, and pictures of other things to develop with."""
    pictures = emoji()
    names = sorted({picture.name for picture in pictures})
    rng.shuffle(names)
    held_out = set(names[:HELD_OUT])
    return [p for p in pictures if p.name not in held_out], [p for p in pictures if p.name in held_out]


def emoji_of_splits() -> dict[Split, Sequence[Picture]]:
    """The same for made-up items: half of what is held out, by name, for development and half for test."""
    shown, unseen = split_emoji(random.Random(SPLIT_SEED))
    names = sorted({picture.name for picture in unseen})
    test = {*names[::2]}
    return {
        "train": shown,
        "development": [picture for picture in unseen if picture.name not in test],
        "test": [picture for picture in unseen if picture.name in test],
    }


def _fetch(artist: str, folder: Path) -> None:
    if shutil.which("npm") is None:
        raise DownloadError("Training pictures come from npm packages, but npm is not installed. Install Node.js.")
    package = f"emoji-datasource-{artist}@{VERSION}"
    with tempfile.TemporaryDirectory() as temporary:
        done = subprocess.run(["npm", "pack", package], cwd=temporary, capture_output=True, text=True, check=False)
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode or not archives:
            raise DownloadError(f"npm could not fetch {package}: {done.stderr.strip()[-500:]} Check npm's settings.")
        with tarfile.open(archives[0]) as archive:
            wanted = (f"package/img/{artist}/64/", "package/emoji.json")
            archive.extractall(folder, [m for m in archive if m.name.startswith(wanted)], filter="data")
