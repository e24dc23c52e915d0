"""Files that were dropped on the page, as items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from comem_memory.content import Audio, pictures_of
from comem_memory.errors import InvalidItemError
from comem_memory.files import items_of
from comem_memory.files.item_files import sorted_files, told_left_out
from comem_memory.server.pictures import check_sizes
from comem_memory.server.settings import ServerSettings
from comem_memory.types import MemoryItem, is_name


def keep(folder: Path, name: str, content: bytes) -> None:
    """Writes a file that a browser sent.

    Raises:
        InvalidItemError: Its name cannot be one here.
    """
    plain = Path(name).name
    if plain in ("", ".", "..") or not is_name(plain) or len(plain.encode()) > 200:
        raise InvalidItemError("A file's name is empty, too long, or has control characters. Rename the file.")
    (folder / plain).write_bytes(content)


def items_in(folder: Path, limits: ServerSettings, tell: Callable[[str], None] = warnings.warn) -> Iterator[MemoryItem]:
    """What `comem add` makes of the files, with the bytes of pictures and recordings instead of their paths here.

    Args:
        folder: Where the files lie here.
        limits: What may be added at a time.
        tell: Is told what is left out, and why; by default warnings are.

    Raises:
        InvalidItemError: Nothing there can be read, a line is no item, one names a picture that was not dropped too, or
            a clip is too large.
        LimitError: A picture is too large.
    """
    contents = dict[Path, bytes]()  # lines may name a large picture often

    def read(file: Path) -> bytes:
        if file not in contents:
            contents[file] = file.read_bytes()
        return contents[file]

    def without_place(said: object) -> str:
        """Browsers are not told where files lie here."""
        return str(said).replace(f"{folder}/", "").replace(str(folder), "what was dropped")

    def tell_browser(said: str) -> None:
        tell(without_place(said))

    try:
        readable, left_out = sorted_files(folder, recordings=True)
        for file in readable:
            for item in items_of(file, max_pixels=limits.max_picture_pixels, tell=tell_browser):
                if isinstance(item, InvalidItemError):
                    raise item
                yield _of_browser(item, folder, read, limits)
    except ModuleNotFoundError as error:
        raise InvalidItemError(f"{error}: nothing here reads such files. Ask whoever runs the server.") from error
    except InvalidItemError as error:
        raise InvalidItemError(without_place(error)) from error
    for why, files in left_out.items():
        if unused := [file for file in files if file.resolve() not in contents]:  # by a line that names it
            tell_browser(told_left_out(unused, folder, why))


def _of_browser(item: MemoryItem, folder: Path, read: Callable[[Path], bytes], limits: ServerSettings) -> MemoryItem:
    parts = None if item.content is None else [_dropped(part, folder, read) for part in item.content]
    is_of_content = item.image in pictures_of(item.content or ())[:1]  # and taken from there again
    image = None if is_of_content else _dropped(item.image, folder, read)
    check_sizes(parts or (), image, limits)
    changed: dict[str, Any] = {"image": image, "content": parts}
    source = item.metadata.get("source")
    if isinstance(source, str) and source.startswith(f"{folder}/"):
        changed["metadata"] = item.metadata | {"source": Path(source).name}
    return MemoryItem(**dict(item) | changed)


def _dropped(part: Any, folder: Path, read: Callable[[Path], bytes]) -> Any:
    """A part of an item, of a file its bytes.

    Raises:
        InvalidItemError: It is a file that was not dropped: else a line of a file could name any picture of this
            machine, and whoever wrote it would see it.
    """
    if isinstance(part, Audio):
        return Audio(_dropped(part.source, folder, read))
    if not isinstance(part, Path):
        return part
    if not part.resolve().is_relative_to(folder.resolve()) or not part.is_file():
        raise InvalidItemError(f"The file {part.name!r} of an item was not dropped. Drop it beside its file.")
    return read(part.resolve())
