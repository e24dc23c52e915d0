"""Reading items from files: JSON lines, texts, pictures, and folders of those."""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from comem_memory.errors import InvalidItemError
from comem_memory.types import MemoryItem, picture_path

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
TEXT_SUFFIXES = {".jsonl", ".txt", ".md"}


def read_items(source: str) -> Iterator[MemoryItem]:
    """The items of a file, a folder, or standard input.

    Args:
        source: The path of a file or folder, or `-` for standard input.

    Raises:
        InvalidItemError: The source does not exist or holds no such files, or a line is no item; the message names it.
    """
    files = [] if source == "-" else item_files(source)
    piped = _json_items(_decoded(sys.stdin, "standard input"), "standard input", Path()) if source == "-" else ()
    for one in itertools.chain(piped, *map(items_of, files)):
        if isinstance(one, InvalidItemError):
            raise one
        yield one


def item_files(source: str | Path) -> list[Path]:
    """The files of a file or folder that `items_of` reads, sorted.

    Hidden files of a folder are left out, and files of other kinds, of which a warning tells.

    Raises:
        InvalidItemError: The source does not exist or holds no such files.
    """
    path = Path(source)
    if not path.exists():
        raise InvalidItemError(f"{path} does not exist. Pass a file, a folder, or - for standard input.")
    files = sorted(_visible(path)) if path.is_dir() else [path]
    pictures = {file for file in files if file.suffix.lower() in IMAGE_SUFFIXES}
    others = {file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES | TEXT_SUFFIXES}
    captions = {file.with_suffix(".txt") for file in (*pictures, *others)}
    readable = [file for file in files if file not in others and file not in captions]
    if not readable:
        raise InvalidItemError(f"Nothing in {path} is .jsonl, .txt, .md or a picture. Convert what should be read.")
    if others:
        counts = Counter(file.suffix.lower() for file in others)
        kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(counts.items()))
        warnings.warn(f"{path} also holds files that are left out: {kinds}. Convert what should be read.", stacklevel=3)
    return readable


def items_of(file: Path) -> Iterator[MemoryItem | InvalidItemError]:
    """The items of one of `item_files`; in place of what is no item, an error that names it.

    A line of a `.jsonl` file is an object with the fields of `MemoryItem`, or a text; a line of another text file is a
    text; a picture is an item whose text is in the `.txt` file of the same name, if there is one.
    """
    try:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            caption = file.with_suffix(".txt")
            text = "".join(_text_lines(caption)).strip() if caption.is_file() else ""
            yield MemoryItem(text=text or None, image=file, metadata={"source": str(file)})
        elif file.suffix.lower() == ".jsonl":
            yield from _json_items(_text_lines(file), str(file), file.parent)
        else:
            yield from (_text_item(line, str(file)) for line in _text_lines(file) if line.strip())
    except InvalidItemError as error:
        yield error


def _visible(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _text_lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig") as lines:  # Windows programs put a byte order mark first
        yield from _decoded(lines, str(file))


def _decoded(lines: Iterable[str], name: str) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise InvalidItemError(f"{name} is no UTF-8 text: {error}. Convert it to UTF-8.") from error


def _text_item(line: str, name: str) -> MemoryItem:
    return MemoryItem(text=line.strip(), metadata={"source": name})


def _json_items(lines: Iterable[str], name: str, folder: Path) -> Iterator[MemoryItem | InvalidItemError]:
    """One item a line: an object with the fields of MemoryItem, or a plain text."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            yield _text_item(line, name)
            continue
        try:
            fields = json.loads(line)
            if isinstance(fields.get("image"), str):
                fields["image"] = folder / picture_path(fields["image"])
            yield MemoryItem(**fields)
        except ValueError as error:
            yield InvalidItemError(
                f"{name}, line {number}: {error} "
                "Each line is an object with the fields of MemoryItem (text, image, id, metadata, said_at, expires, "
                "supersedes), or plain text."
            )
