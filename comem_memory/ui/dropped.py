"""Files that were dropped on the page, as items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comem_memory.errors import InvalidItemError
from comem_memory.files import item_files, items_of
from comem_memory.server.pictures import check_sizes, checked
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


def items_in(folder: Path, limits: ServerSettings) -> Iterator[MemoryItem]:
    """What `comem add` makes of the files, with the pictures' bytes instead of their paths here.

    Raises:
        InvalidItemError: Nothing there can be read, a line is no item, or one names a picture that was not dropped too.
        LimitError: A picture is too large.
    """
    try:
        for file in item_files(folder):
            for item in items_of(file):
                if isinstance(item, InvalidItemError):
                    raise item
                yield _of_browser(item, folder, limits)
    except ModuleNotFoundError as error:
        raise InvalidItemError(f"{error}: nothing here reads such files. Ask whoever runs the server.") from error
    except InvalidItemError as error:  # of which browsers are not told where files lie here
        raise InvalidItemError(str(error).replace(f"{folder}/", "").replace(str(folder), "what was dropped")) from error


def _of_browser(item: MemoryItem, folder: Path, limits: ServerSettings) -> MemoryItem:
    changed: dict[str, Any] = {"image": _dropped(item.image, folder, limits)}
    if item.content is not None:
        parts = [_dropped(part, folder, limits) for part in item.content]
        check_sizes(parts, limits)
        changed["content"] = parts
    source = item.metadata.get("source")
    if isinstance(source, str) and source.startswith(f"{folder}/"):
        changed["metadata"] = item.metadata | {"source": Path(source).name}
    return MemoryItem(**dict(item) | changed)


def _dropped(part: Any, folder: Path, limits: ServerSettings) -> Any:
    """A part of an item, of a file its bytes.

    Raises:
        InvalidItemError: It is a file that was not dropped: else a line of a file could name any picture of this
            machine, and whoever wrote it would see it.
        LimitError: A picture is too large.
    """
    if not isinstance(part, Path):
        return part
    if not part.resolve().is_relative_to(folder.resolve()) or not part.is_file():
        raise InvalidItemError(f"The picture {part.name!r} of an item was not dropped. Drop it beside its file.")
    return checked(part.read_bytes(), limits)
