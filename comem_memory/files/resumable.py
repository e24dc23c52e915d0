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
        out: the path where the result will be.
        doing: a word for the work; the folder is called `out` + `.` + this word.
        files: the files that are read; a change in their size or time makes it other work.
        error: the kind of error that is raised.
        settings: everything else that the result depends on, as JSON.

    Raises:
        ComemError: the folder holds work on other files or with other settings.
    """
    work = out.with_name(f"{out.name}.{doing}")
    stats = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    claim(work, error, files=stats, **settings)
    return work


def claim(folder: Path, error: type[ComemError], *, files: object = (), **settings: object) -> None:
    """Notes in a folder with which files and settings work is done there, or finds the same noted already.

    Args:
        folder: the work folder, which is made if it is missing.
        error: the kind of error that is raised.
        files: the files that the result depends on, as JSON.
        settings: the settings that the result depends on, as JSON.

    Raises:
        ComemError: other files or settings are noted.
    """
    note = folder / NOTE
    run = json.loads(json.dumps({"files": files, **settings}))
    before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else run
    if other := [name for name in {**before, **run} if before.get(name) != run.get(name)]:
        options = " or ".join(f"--{name.replace('_', '-')}" for name in other if name != "files")
        found = ["on other files"] * ("files" in other) + [f"with another {options}"] * bool(options)
        raise error(f"{folder} holds work {' and '.join(found)}. Delete it, or pass another output folder.")
    atomic_write(note, json.dumps(run, indent=2))
