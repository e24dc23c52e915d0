"""Pictures and audio that a memory keeps beside its store, because they were added without a path of their own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import overload

from PIL import Image

from comem_memory.content import Audio, map_files
from comem_memory.errors import InvalidItemError
from comem_memory.files import atomic_write, audio_suffix, keep_picture
from comem_memory.store.contract import FileReference, RecordSummary, as_part
from comem_memory.store.ids import chroma_id


class PictureFolder:
    """One folder per item, in it files named by their content: a new one never overwrites one still in use.

    Records refer to kept files relative to this folder, which may move, and to others by their own path.

    Args:
        folder: Where pictures and audio are kept; without it, only those with a path of their own can be referred to.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder.resolve()

    def keep(self, given: Image.Image | Audio, path: Path | None, *, namespace: str, id: str, name: str) -> str:
        """The reference by which an item's picture or recording is found again.

        Args:
            given: Is written here unless it has a path elsewhere, or is here already: a picture as PNG, a recording
                (`read_audio`) as it is encoded.
            path: Where it was opened from, if it was a file.
            namespace: The item's namespace.
            id: The item's id.
            name: Of its file, the same for the same pixels, or bytes of a recording, of the same item alone.

        Raises:
            InvalidItemError: Neither a path nor a folder.
        """
        resolved = None if path is None else path.resolve()
        if resolved is not None and (self.folder is None or self.folder not in resolved.parents):
            return str(resolved)
        if self.folder is None:
            raise InvalidItemError(
                f"Item {id!r} has a file without a path, and this memory has no directory to keep it in. "
                "Save the picture or recording and pass its path, or open the memory with persist_directory=..."
            )
        suffix = audio_suffix(given.data) if isinstance(given, Audio) else ".png"
        kept = self._of_item(self.folder, namespace, id) / f"{name}{suffix}"
        if not kept.is_file():
            if isinstance(given, Audio):
                atomic_write(kept, given.data, durable=True)
            else:
                keep_picture(given, kept)
        return str(kept.relative_to(self.folder))

    def copy(self, file: Path, *, namespace: str, id: str, name: str) -> str:
        """The reference to a copy of a file, in its own format, which is kept here as in `keep`."""
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
        """The full path of a referenced file; `None` for an item without one."""
        return reference if reference is None or self.folder is None else str(self.folder / reference)

    def content(self, record: RecordSummary) -> tuple[str | Path | Audio, ...] | None:
        """A record's content with the full paths of its pictures and recordings; `None` for an item without any."""
        placed = map_files(record.content, lambda file: file._replace(reference=self.find(file.reference)))
        return map_files(placed, as_part) or None

    def drop(self, *, namespace: str, id: str, except_for: Collection[FileReference] = ()) -> None:
        """Deletes what is kept for an item, except the files that its record refers to now."""
        if self.folder is None:
            return
        folder = self._of_item(self.folder, namespace, id)
        kept = {self.folder / file.reference for file in except_for}
        if not any(file.parent == folder for file in kept):
            shutil.rmtree(folder, ignore_errors=True)
            return
        for file in folder.iterdir():
            if file not in kept:
                file.unlink(missing_ok=True)

    @staticmethod
    def _of_item(folder: Path, namespace: str, id: str) -> Path:
        return folder / hashlib.sha256(chroma_id(namespace, id).encode()).hexdigest()[:32]
