"""Long work that goes on where it was interrupted, and whose result exists only when it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from comem_memory.errors import ComemError
from comem_memory.files.atomic import atomic_write

NOTE = "run.json"
"""File in a work folder that names the files and settings the work is done with."""


def refuse_existing(out: Path, error: type[ComemError]) -> None:
    """Raises this error if there is something at `out`."""
    if out.exists():
        raise error(f"{out} exists already. Pass a new folder.")


def open_work(out: Path, doing: str, files: Iterable[Path], error: type[ComemError], **settings: object) -> Path:
    """The folder beside `out` that holds unfinished work, which was begun with these very files and settings.

    Args:
        out: The path where the result will be.
        doing: A word for the work; the folder is called `out` + `.` + this word.
        files: The files that are read; a change in their size or time makes it other work.
        error: The kind of error that is raised.
        settings: Everything else that the result depends on, as JSON.

    Raises:
        ComemError: The folder holds work on other files or with other settings.
    """
    work = out.with_name(f"{out.name}.{doing}")
    claim(work, error, files=file_stats(files), **settings)
    return work


def file_stats(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Path, size and time of each file, by which a change is noticed."""
    return [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def claim(folder: Path, error: type[ComemError], *, files: object = (), **settings: object) -> None:
    """Notes in a folder with which files and settings work is done there, or finds the same noted already.

    Args:
        folder: The work folder, which is made if it is missing.
        error: The kind of error that is raised.
        files: The files that the result depends on, as JSON.
        settings: The settings that the result depends on, as JSON.

    Raises:
        ComemError: Other files or settings are noted.
    """
    note = folder / NOTE
    run = json.loads(json.dumps({"files": files, **settings}))
    before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else run
    if other := [name for name in {**before, **run} if before.get(name) != run.get(name)]:
        options = " or ".join(f"--{name.replace('_', '-')}" for name in other if name != "files")
        found = ["on other files"] * ("files" in other) + [f"with another {options}"] * bool(options)
        raise error(f"{folder} holds work {' and '.join(found)}. Delete it, or pass another output folder.")
    atomic_write(note, json.dumps(run, indent=2))
