"""Pictures that a memory keeps beside its store, because they were added without a path of their own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import overload

from PIL import Image

from comem_memory.content import map_pictures
from comem_memory.errors import InvalidItemError
from comem_memory.files import atomic_write, keep_picture
from comem_memory.store.contract import RecordSummary
from comem_memory.store.ids import chroma_id


class PictureFolder:
    """One folder per item, in it pictures named by their content: a new one never overwrites one still in use.

    Records refer to kept pictures relative to this folder, which may move, and to others by their own path.

    Args:
        folder: Where pictures are kept; without it, only those with a path of their own can be referred to.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder.resolve()

    def keep(self, picture: Image.Image, path: Path | None, *, namespace: str, id: str, name: str) -> str:
        """The reference by which an item's picture is found again.

        Args:
            picture: Is written here unless it has a path elsewhere, or is here already.
            path: Where it was opened from, if it was a file.
            namespace: The item's namespace.
            id: The item's id.
            name: Of its file, the same for the same pixels of the same item alone.

        Raises:
            InvalidItemError: Neither a path nor a folder.
        """
        resolved = None if path is None else path.resolve()
        if resolved is not None and (self.folder is None or self.folder not in resolved.parents):
            return str(resolved)
        if self.folder is None:
            raise InvalidItemError(
                f"Item {id!r} has a picture without a path, and this memory has no directory to keep it in. "
                "Save the picture and pass its path, or open the memory with persist_directory=..."
            )
        kept = self._of_item(self.folder, namespace, id) / f"{name}.png"
        if not kept.is_file():
            keep_picture(picture, kept)
        return str(kept.relative_to(self.folder))

    def copy(self, file: Path, *, namespace: str, id: str, name: str) -> str:
        """The reference to a copy of a picture's file, in its own format, which is kept here as in `keep`."""
        assert self.folder is not None  # without it, the file itself is referred to
        kept = self._of_item(self.folder, namespace, id) / f"{name}{file.suffix}"
        if not kept.is_file():
            atomic_write(kept, lambda partial: shutil.copyfile(file, partial), durable=True)
        return str(kept.relative_to(self.folder))

    @overload
    def find(self, reference: str) -> str: ...
    @overload
    def find(self, reference: None) -> None: ...
    @overload
    def find(self, reference: str | None) -> str | None: ...
    def find(self, reference: str | None) -> str | None:
        """The full path of a referenced picture; `None` for an item without one."""
        return reference if reference is None or self.folder is None else str(self.folder / reference)

    def content(self, record: RecordSummary) -> tuple[str | Path, ...] | None:
        """A record's content with the full paths of its pictures; `None` for an item without any."""
        return map_pictures(record.content, lambda part: Path(self.find(part.reference))) or None

    def drop(self, *, namespace: str, id: str, except_for: Collection[str] = ()) -> None:
        """Deletes what is kept for an item, except the pictures that its record refers to now."""
        if self.folder is None:
            return
        folder = self._of_item(self.folder, namespace, id)
        kept = {self.folder / reference for reference in except_for}
        if not any(file.parent == folder for file in kept):
            shutil.rmtree(folder, ignore_errors=True)
            return
        for file in folder.iterdir():
            if file not in kept:
                file.unlink(missing_ok=True)

    @staticmethod
    def _of_item(folder: Path, namespace: str, id: str) -> Path:
        return folder / hashlib.sha256(chroma_id(namespace, id).encode()).hexdigest()[:32]
