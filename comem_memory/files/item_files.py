"""Reading items from files: JSON lines, texts, PDF files, pictures, clips of video, and folders of those."""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, TypedDict, Unpack

from PIL import Image

from comem_memory.config import Split
from comem_memory.content import Audio, local_path
from comem_memory.errors import InvalidItemError
from comem_memory.files.images import MAX_PIXELS
from comem_memory.files.pdf import pages
from comem_memory.files.splitting import check_splitter, pieces
from comem_memory.files.video import video_frames
from comem_memory.types import MemoryItem, Metadata

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
UNREAD_PICTURES = {".heic", ".heif", ".svg", ".jxl", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf"}
"""Suffixes of pictures that nothing here reads, whose captions are left out with them."""
VIDEO_SUFFIXES = {".mp4", ".mov", ".webm", ".mkv", ".avi"}
AUDIO_SUFFIXES = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"}
TEXT_SUFFIXES = {".txt", ".md"}
READ_SUFFIXES = {".jsonl", ".pdf"} | TEXT_SUFFIXES | IMAGE_SUFFIXES | VIDEO_SUFFIXES
KINDS = ".jsonl, .txt, .md, .pdf, a picture or a clip"
"""What they are."""


class Reading(TypedDict, total=False):
    """How files become items.

    Args:
        split: Texts and pages of PDF files become an item a piece, cut at headings or by size; by default one item.
        size: Most characters of a piece.
        page_pictures: Items of PDF files have the picture of their page too.
        max_pixels: Most pixels of a clip's pictures.
        tell: Is told which files and pages of a PDF file hold no text and are left out; by default a warning is.
    """

    split: Split | None
    size: int | None
    page_pictures: bool
    max_pixels: int
    tell: Callable[[str], None]


def read_items(source: str, **reading: Unpack[Reading]) -> Iterator[MemoryItem]:
    """The items of a file, a folder, or standard input.

    Standard input is JSON lines where its first line is an object, else one text.

    Args:
        source: The path of a file or folder, or `-` for standard input.
        **reading: See `Reading`.

    Raises:
        InvalidItemError: The source does not exist or holds no such files, which is said at once; or a line is no item,
            a file cannot be read. The message names it.
        ModuleNotFoundError: What splits by size, or reads PDF files, clips or recordings, is needed and not installed.
    """
    check_splitter(reading.get("split"), reading.get("size"))
    files = [] if source == "-" else item_files(source)
    piped = _piped(**reading) if source == "-" else ()
    return map(_raised, itertools.chain(piped, *(items_of(file, **reading) for file in files)))


def item_files(source: str | Path) -> list[Path]:
    """The files of a file or folder that `items_of` reads, sorted; a warning tells of those that are left out.

    Raises:
        InvalidItemError, ModuleNotFoundError: As in `sorted_files`.
    """
    readable, left_out = sorted_files(source)
    for why, files in left_out.items():
        warnings.warn(told_left_out(files, Path(source), why), stacklevel=3)
    return readable


def sorted_files(source: str | Path, *, recordings: bool = False) -> tuple[list[Path], dict[str, list[Path]]]:
    """The files of a file or folder that `items_of` reads, and by the reason those that are left out.

    Hidden files of a folder are neither, nor are texts that belong to a picture, clip or recording.

    Args:
        source: The path of a file or folder.
        recordings: Those of a folder are read that have a text file of the same name. Few models hear, so by default
            they are left out, and their texts are items.

    Raises:
        InvalidItemError: The source does not exist or holds no such files.
        ModuleNotFoundError: One is a PDF file, a clip or a recording, and what reads these is not installed: `pip
            install 'comem-memory[pdf,video]'`.
    """
    path = Path(source)
    if not path.exists():
        raise InvalidItemError(f"{path} does not exist. Pass a file, a folder, or - for standard input.")
    files = sorted(_visible(path)) if path.is_dir() else [path]
    pictures = {file for file in files if file.suffix.lower() in IMAGE_SUFFIXES | UNREAD_PICTURES | VIDEO_SUFFIXES}
    sounds = [file for file in files if _is_recording(file)]
    silent = [file for file in sounds if not file.with_suffix(".txt").is_file()]
    unheard = silent if recordings or path.is_file() else sounds
    heard = {*sounds} - {*unheard}
    unread = [file for file in files if file.suffix.lower() not in READ_SUFFIXES | AUDIO_SUFFIXES]
    captions = {file.with_suffix(".txt") for file in pictures | heard}
    left_out = {*unread, *unheard}
    readable = [file for file in files if file not in left_out and file not in captions]
    if not readable and silent:
        raise InvalidItemError(
            f"{silent[0]} is a recording, which is found by its text alone. Write what it is into a file beside it, "
            f"{silent[0].with_suffix('.txt').name}."
        )
    if not readable:
        raise InvalidItemError(f"Nothing in {path} is {KINDS}. Convert what should be read.")
    if any(_is_pdf(file) for file in readable):
        import_module("pypdfium2")  # before other work is done
    if any(_is_video(file) or _is_recording(file) for file in readable):
        import_module("av")
    if recordings:
        why = "A recording is found by its text alone: write what it is into a .txt file of its name beside it."
    else:
        why = "Few models hear: name each recording that should be read, with a .txt file of its name beside it."
    reasons = {"Nothing here reads such files: convert what should be read.": unread, why: unheard}
    return readable, {reason: of_it for reason, of_it in reasons.items() if of_it}


def told_left_out(files: list[Path], folder: Path, why: str) -> str:
    """Says which files of a folder are left out, by their names as far as these are few, and why."""
    counts = Counter(file.suffix.lower() for file in files)
    kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(counts.items()))
    names = shorten(", ".join(str(file.relative_to(folder)) for file in files), 200, placeholder=" ...")
    return f"Left out of {folder}: {kinds} ({names}). {why}"


def items_of(file: Path, **reading: Unpack[Reading]) -> Iterator[MemoryItem | InvalidItemError]:
    """The items of one of `item_files`; in place of what is no item, an error that names it.

    A line of a `.jsonl` file is an object with the fields of `MemoryItem`, or a text. Another text is one item, or one
    a piece; a PDF file one a page, or one a piece. A picture is an item, and so is a clip with its frames, and a
    recording; its text is in the `.txt` file of the same name, if there is one. All but objects in JSON lines have
    their file as `source` in their metadata, pages their number as `page`, and pieces the `headings` that they stand
    under.
    """
    try:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            yield MemoryItem(text=_caption(file), image=file, metadata={"source": str(file)})
        elif _is_video(file):
            shown = video_frames(file, max_pixels=reading.get("max_pixels", MAX_PIXELS))
            yield MemoryItem(text=_caption(file), content=shown, thin=True, metadata={"source": str(file)})
        elif _is_recording(file):
            yield MemoryItem(text=_caption(file), content=[Audio(file)], metadata={"source": str(file)})
        elif file.suffix.lower() == ".jsonl":
            yield from _told_if_none(_json_items(_text_lines(file), str(file), file.parent), file, **reading)
        elif _is_pdf(file):
            yield from _pages(file, **reading)
        else:
            yield from _told_if_none(_text_items(_text(file), {"source": str(file)}, **reading), file, **reading)
    except InvalidItemError as error:
        yield error
    except OSError as error:
        yield InvalidItemError(
            f"{file} cannot be read: {error.strerror or error}. See that it is there and may be read."
        )


def _told_if_none(
    made: Iterable[MemoryItem | InvalidItemError], file: Path, **reading: Unpack[Reading]
) -> Iterator[MemoryItem | InvalidItemError]:
    """What was made of a file; where that is nothing, it is told of."""
    found = False
    for one in made:
        found = True
        yield one
    if not found:
        reading.get("tell", warnings.warn)(f"{file} holds no text, and is left out.")


def _caption(file: Path) -> str | None:
    """What the text file of the same name says."""
    beside = file.with_suffix(".txt")
    return (_text(beside).strip() if beside.is_file() else "") or None


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES


def _is_recording(file: Path) -> bool:
    return file.suffix.lower() in AUDIO_SUFFIXES


def _is_pdf(file: Path) -> bool:
    return file.suffix.lower() == ".pdf"


def _raised(one: MemoryItem | InvalidItemError) -> MemoryItem:
    if isinstance(one, InvalidItemError):
        raise one
    return one


def _piped(**reading: Unpack[Reading]) -> Iterator[MemoryItem | InvalidItemError]:
    name = "standard input"
    lines = _decoded(sys.stdin, name)
    begun = list[str]()  # as far as the first line that is not blank
    for line in lines:
        begun.append(line if begun else line.removeprefix("\ufeff"))  # a byte order mark
        if begun[-1].strip():
            break
    if begun and begun[-1].lstrip().startswith("{"):
        return _json_items(itertools.chain(begun, lines), name, Path())
    return _text_items("".join([*begun, *lines]), {"source": name}, **reading)


def _text_items(
    text: str, metadata: Metadata, *, image: Image.Image | None = None, **reading: Unpack[Reading]
) -> Iterator[MemoryItem]:
    """A text as an item, or each of its pieces, all with the picture."""
    split, size = reading.get("split"), reading.get("size")
    parts = [(text.strip(), list[str]())] if split is None else pieces(text, split, size)
    for part, headings in parts:
        if part:
            under = {"headings": headings} if headings else {}
            yield MemoryItem(text=part, image=image, metadata=metadata | under)


def _pages(file: Path, **reading: Unpack[Reading]) -> Iterator[MemoryItem | InvalidItemError]:
    """Pages with neither text nor picture are left out, and told of."""
    found, left_out = False, list[int]()
    for number, (text, picture) in enumerate(pages(file, pictures=reading.get("page_pictures", False)), 1):
        metadata: Metadata = {"source": str(file), "page": number}
        made = list(_text_items(text, metadata, image=picture, **reading))
        if not made and picture is not None:
            made = [MemoryItem(image=picture, metadata=metadata)]
        if made:
            found = True
        else:
            left_out.append(number)
        yield from made
    how = (
        "it may be scanned. Store pages as pictures too (comem add --page-pictures), or have the text recognised first."
    )
    if not found:
        yield InvalidItemError(f"{file} holds no text: {how}")
    elif left_out:
        numbers = shorten(", ".join(map(str, left_out)), 100, placeholder=" ...")
        reading.get("tell", warnings.warn)(f"{file} holds no text on page {numbers}, which is left out: {how}")


def _visible(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _text_lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig") as lines:  # Windows programs put a byte order mark first
        yield from _decoded(lines, str(file))


def _text(file: Path) -> str:
    return "".join(_text_lines(file))


def _decoded(lines: Iterable[str], name: str) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise InvalidItemError(f"{name} is no UTF-8 text: {error}. Convert it to UTF-8.") from error


def _json_items(lines: Iterable[str], name: str, folder: Path) -> Iterator[MemoryItem | InvalidItemError]:
    """One item a line: an object with the fields of MemoryItem, or a plain text."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            yield MemoryItem(text=line.strip(), metadata={"source": name})
            continue
        try:
            fields = json.loads(line)
            for named in (fields, *_file_parts(fields.get("content"))):
                if isinstance(named.get("image"), str):
                    named["image"] = folder / local_path(named["image"])
                if named is not fields and isinstance(named.get("audio"), str):
                    named["audio"] = folder / local_path(named["audio"], "Audio")
            yield MemoryItem(**fields)
        except (ValueError, RecursionError) as error:
            yield InvalidItemError(
                f"{name}, line {number}: {error} "
                "Each line is an object with the fields of MemoryItem (text, image, content, thin, id, metadata, "
                "said_at, expires, supersedes, passages), or plain text."
            )


def _file_parts(content: Any) -> list[dict[str, Any]]:
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
