"""Long work that is taken up where it stopped, and whose result exists only when it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from comem_memory.errors import ComemError


def refuse_existing(out: Path, error: type[ComemError]) -> None:
    """Raises this error if there is something at `out`."""
    if out.exists():
        raise error(f"{out} exists already. Pass a new folder.")


def open_work(out: Path, doing: str, files: Iterable[Path], error: type[ComemError], **settings: object) -> Path:
    """The folder beside `out` that holds unfinished work, which belongs to these very files and settings.

    Args:
        out: where the result will be.
        doing: names the folder, `out` + `.` + this.
        files: what is read.
        error: what is raised.
        settings: what else the result depends on.

    Raises:
        ComemError: the folder holds work on other files or with other settings.
    """
    work = out.with_name(f"{out.name}.{doing}")
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    run = json.dumps({"settings": settings, "files": stats}, indent=2)
    if (work / "run.json").exists() and (work / "run.json").read_text() != run:
        options = f" or with another {' or '.join(f'--{name}' for name in settings)}" if settings else ""
        raise error(f"{work} holds interrupted work on other files{options}. Delete it, or pass another output folder.")
    work.mkdir(parents=True, exist_ok=True)
    (work / "run.json").write_text(run)
    return work


def write_whole(text: str, file: Path) -> None:
    """Writes a text file that is complete whenever it exists."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
