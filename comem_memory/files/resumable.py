"""Long work that is taken up where it stopped, and whose result exists only when it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from comem_memory.errors import ComemError

NOTE = "run.json"
"""In a folder of work: what it is done on and with."""


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
    stats = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    claim(work, error, files=stats, **settings)
    return work


def claim(folder: Path, error: type[ComemError], *, files: object = (), **settings: object) -> None:
    """Notes in the folder what work on these files with these settings is done there, or finds the same noted.

    Args:
        folder: made if missing.
        error: what is raised.
        files, settings: what the result depends on, as JSON.

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
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(json.dumps(run, indent=2), note)


def write_whole(text: str, file: Path) -> None:
    """Writes a text file that is complete whenever it exists."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
