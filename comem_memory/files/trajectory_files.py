"""Reading trajectories from files that agents' frameworks wrote."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from comem_memory.config import TrajectoryFormat
from comem_memory.errors import InvalidItemError, shortened
from comem_memory.files.agent_messages import Tell, read_messages
from comem_memory.files.browser_use import read_browser_use
from comem_memory.files.comem_agent import read_comem_agent
from comem_memory.files.images import load_image
from comem_memory.trajectory import Trajectory

SUFFIXES = {".json", ".jsonl"}


def read_trajectories(sources: Iterable[str | Path], format: TrajectoryFormat) -> Iterator[Trajectory]:
    """The trajectories of files and folders; their metadata name the file as `source`.

    A file, `.json` or `.jsonl`, holds a run, or one a line. Pictures are read from base64, and with `browser-use` from
    files that it names; nothing is fetched. What is left out, of a file or all of it, is told in a warning that names
    the file and says why.

    Args:
        sources: Files, and folders of files, of which hidden ones are left out.
        format: Whose files they are.

    Raises:
        InvalidItemError: A source does not exist or holds no such file, which is said at once; or no file is one.
    """
    if format not in get_args(TrajectoryFormat):
        raise InvalidItemError(f"The format is {format!r}. Pass one of {', '.join(get_args(TrajectoryFormat))}.")
    files = [file for source in sources for file in _files(Path(source))]
    return _read(files, format)


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise InvalidItemError(f"{source} does not exist. Pass a file or a folder.")
    if not source.is_dir():
        return [source]
    seen = (file for file in source.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    files = sorted(f for f in seen if not any(part.startswith(".") for part in f.relative_to(source).parts))
    if not files:
        raise InvalidItemError(f"Nothing in {source} is .json or .jsonl. Pass the folder of an agent's saved runs.")
    return files


def _read(files: list[Path], format: TrajectoryFormat) -> Iterator[Trajectory]:
    count = 0
    for file in files:
        runs = _runs(file)
        for number, run in runs.items():
            name = f"{file}, line {number}," if len(runs) > 1 else str(file)
            told: list[str] = []
            try:
                if isinstance(run, InvalidItemError):
                    raise run
                found = with_whole_pictures(_of(run, file, format, told.append), told.append)
            except InvalidItemError as error:
                warnings.warn(f"{name} is left out: {str(error).rstrip('.')}.", stacklevel=2)
                continue
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                warnings.warn(f"{name} is left out: it is none of {format} ({error!r}).", stacklevel=2)
                continue
            if told:
                warnings.warn(f"Of {name} is left out: {'; '.join(told)}.", stacklevel=2)
            count += 1
            yield found.model_copy(update={"metadata": found.metadata | {"source": str(file)}})
    if not count:
        raise InvalidItemError(f"No file is a trajectory of {format}. Pass files that it saved, or another format.")


def _of(run: Any, file: Path, format: TrajectoryFormat, tell: Tell) -> Trajectory:
    """
    Raises:
        InvalidItemError: It is left out.
    """
    if format == "comem-agent":
        return read_comem_agent(run, file, tell)
    if format == "browser-use":
        return read_browser_use(run, file, tell)
    found = read_messages(run["messages"] if isinstance(run, Mapping) else run, tell)
    if found is None:
        raise InvalidItemError("the agent called no tool and saw no picture")
    return found


def with_whole_pictures(trajectory: Trajectory, tell: Tell) -> Trajectory:
    """Without pictures that cannot be opened: one that is damaged would keep the rest from being added.

    Args:
        trajectory: What an agent did.
        tell: Is told of each picture that is left out, and why.
    """
    steps = []
    for step in trajectory.steps:
        try:
            if step.picture is not None:
                load_image(step.picture)
            steps.append(step)
        except InvalidItemError as error:
            tell(f"a picture ({error})")
            steps.append(step.model_copy(update={"picture": None}))
    return trajectory.model_copy(update={"steps": tuple(steps)})


def _runs(file: Path) -> dict[int, Any]:
    """What a file holds: one run, whatever its suffix, or one a line, by its number; an error for what is no JSON."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        return {1: InvalidItemError(f"it cannot be read: {error}")}
    whole = _parsed(text)
    if isinstance(whole, InvalidItemError) and file.suffix.lower() == ".jsonl":
        lines = enumerate(text.split("\n"), 1)  # other line ends, such as U+2028, may stand within JSON
        return {number: _parsed(line) for number, line in lines if line.strip()} or {1: whole}
    return {1: whole}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return InvalidItemError(f"it is no JSON: {shortened(error)}")
