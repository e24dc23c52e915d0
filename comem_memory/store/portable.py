"""Memories as a folder of files: what `ContinuousMemory.export` writes and `load` reads.

| file | content |
|---|---|
| `export.json` | format version, encoder and retrieval key, number of items, SHA-256 of every file; written last |
| `items.jsonl` | per item all of a `RecordSummary` but its namespace, its text, and the names of its files |
| `vectors-00000.safetensors`, ... | per 1000 items: `keys` (n, D) float32, `blocks` (bytes,) uint8, `ends` (n,) int64 |
| `pictures/` | the items' pictures and recordings |

`blocks` holds one block after another, each ending at its `ends`; `codec` describes a block.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from comem_memory.content import map_files
from comem_memory.errors import EncoderMismatchError, StoreLocationError
from comem_memory.files import PARTIAL, atomic_write
from comem_memory.store.codec import b85decode, b85encode, decode_block
from comem_memory.store.contract import CollectionIdentity, FileReference, MemoryRecord, MemoryStore, as_part
from comem_memory.store.filters import Filter
from comem_memory.store.pictures import PictureFolder
from comem_memory.types import MemoryItem, Metadata, own_metadata

FORMAT_VERSION = 5
"""Version 1 knew neither expiry nor superseded items, which its readers would take for current ones; version 2 no
content of several parts, of which its readers would leave out all but one picture; version 3 no audio; version 4 no
passages, whose vectors its readers would give all at once. An export has the first version that knows what it holds, at
least 2."""
SHARD = 1000
MANIFEST = "export.json"


class _Manifest(BaseModel):
    format_version: int
    identity: CollectionIdentity
    items: int
    sha256: dict[str, str]
    """By file name, relative to the folder."""


class _Picture(BaseModel):
    """A picture among the texts of an item's content."""

    picture: str
    """File name."""


class _Recording(BaseModel):
    """A recording among them."""

    audio: str
    """File name."""


class _Line(BaseModel):
    id: str
    text: str | None
    picture: str | None
    metadata: Metadata
    created_at: str
    content_hash: str
    truncated: bool
    updated_at: str = ""
    said_at: str | None = None
    expires: str | None = None
    supersedes: tuple[str, ...] = ()
    superseded_by: str | None = None
    content: tuple[str | _Picture | _Recording, ...] = ()
    left_out: tuple[int, ...] = ()
    passages: tuple[str, ...] = ()
    passage_keys: str = ""

    @property
    def files(self) -> list[str]:
        """File names."""
        named = [_file(part).reference for part in self.content if not isinstance(part, str)]
        return named if self.picture is None else [self.picture, *named]


def _file(part: _Picture | _Recording) -> FileReference:
    """A part of a line by its file name."""
    return FileReference(part.audio, "audio") if isinstance(part, _Recording) else FileReference(part.picture)


def _within(folder: Path, file: FileReference) -> FileReference:
    return file._replace(reference=str((folder / file.reference).resolve()))


def to_export(
    store: MemoryStore, pictures: PictureFolder, *, namespace: str, where: Filter | None = None
) -> Iterator[MemoryRecord]:
    """Records of a namespace, superseded ones too, as `write_folder` takes them: with the paths of their files."""
    for record in itertools.chain.from_iterable(store.scan(namespace=namespace, where=where, history=True)):
        content = map_files(record.content, lambda part: part._replace(reference=pictures.find(part.reference)))
        yield replace(record, image=pictures.find(record.image), content=content)


def write_folder(folder: Path, identity: CollectionIdentity, records: Iterable[MemoryRecord]) -> int:
    """Writes records shard by shard; the manifest comes last, so that an unfinished folder is recognised.

    What fails or is interrupted leaves nothing, and an empty folder that was there, unless the process is killed.

    Raises:
        StoreLocationError: The folder is not empty, or an item's picture or recording is gone.
        CorruptBlockError: An item's stored vectors are damaged.
    """
    taken = StoreLocationError(f"{folder} is not an empty folder. Export to a new one.")
    there = folder.exists()
    if there and (not folder.is_dir() or any(folder.iterdir())):
        raise taken
    try:
        (folder / "pictures").mkdir(parents=True)
    except FileExistsError:  # another export began there meanwhile
        raise taken from None
    try:
        return _write(folder, identity, records)
    except BaseException:
        shutil.rmtree(folder / "pictures", ignore_errors=True)
        with suppress(OSError):  # why it failed is what is told
            for file in (folder / MANIFEST, folder / "items.jsonl", *folder.glob("vectors-*.safetensors")):
                file.unlink(missing_ok=True)
            if not there:
                folder.rmdir()
        raise


def _write(folder: Path, identity: CollectionIdentity, records: Iterable[MemoryRecord]) -> int:
    given, count, version = iter(records), 0, 2
    with (folder / "items.jsonl").open("w", encoding="utf-8") as lines:
        for number in itertools.count():
            shard = list(itertools.islice(given, SHARD))
            if not shard:
                break
            for record in shard:
                decode_block(record.block, item_id=record.id)  # nothing damaged travels
            blocks = [b85decode(record.block) for record in shard]
            vectors = {
                "keys": np.stack([record.key for record in shard]),
                "blocks": np.frombuffer(b"".join(blocks), np.uint8),
                "ends": np.cumsum([len(block) for block in blocks], dtype=np.int64),
            }
            save_file(vectors, folder / f"vectors-{number:05d}.safetensors")
            for record in shard:
                line = _line(record, folder / "pictures", count)
                lacking = set() if record.content else {"content", "left_out"}
                lacking |= set() if record.passages else {"passages", "passage_keys"}
                lines.write(line.model_dump_json(exclude=lacking) + "\n")
                version = max(version, _version(record))
                count += 1
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sha256 = {file.relative_to(folder).as_posix(): _sha256(file) for file in files}
    manifest = _Manifest(format_version=version, identity=identity, items=count, sha256=sha256)
    atomic_write(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    return count


def _version(record: MemoryRecord) -> int:
    """The first format version whose readers understand a record."""
    if record.passages:
        return 5
    if not record.content:
        return 2
    return 4 if any(file.kind == "audio" for file in record.files) else 3


def find_exports(folders: str | Path | Iterable[str | Path]) -> list[Path]:
    """These folders, and in place of one that is no export those that are in it, sorted by name."""
    given = [folders] if isinstance(folders, str | Path) else folders
    found: list[Path] = []
    for folder in map(Path, given):
        within = sorted(file.parent for file in folder.glob(f"*/{MANIFEST}") if file.parent.suffix != PARTIAL)
        found += within if within and not (folder / MANIFEST).exists() else [folder]
    return list(dict.fromkeys(found))


def count_items(folder: Path, identity: CollectionIdentity | None = None) -> int:
    """The number of items in an export; its other files are not looked at.

    Args:
        folder: The export.
        identity: What it has to be made with, if it is to be loaded.

    Raises:
        StoreLocationError: The folder is not an export.
        EncoderMismatchError: Another encoder or retrieval key made it.
    """
    return _read_manifest(folder, identity).items


def read_folder(folder: Path, identity: CollectionIdentity) -> Iterator[MemoryRecord]:
    """The items of an export, after checking every file.

    Raises:
        StoreLocationError: The folder is not an export, or damaged.
        EncoderMismatchError: Another encoder or retrieval key made it.
    """
    manifest = _read_manifest(folder, identity)
    for name, expected in manifest.sha256.items():
        if not (folder / name).is_file() or _sha256(folder / name) != expected:
            raise StoreLocationError(f"The export {folder} is damaged at {name}. Export again, or restore a backup.")
    return _records(folder, manifest)


def _read_manifest(folder: Path, identity: CollectionIdentity | None) -> _Manifest:
    try:
        manifest = _Manifest.model_validate_json((folder / MANIFEST).read_text())
    except (OSError, ValidationError) as error:
        raise StoreLocationError(
            f"{folder} is not a finished export: {error}. Pass a folder written by export()."
        ) from error
    if manifest.format_version > FORMAT_VERSION:
        raise StoreLocationError(
            f"{folder} has format version {manifest.format_version}, and this library reads up to {FORMAT_VERSION}. "
            "Upgrade with: pip install --upgrade comem-memory"
        )
    if identity is not None and not manifest.identity.matches(identity):
        raise EncoderMismatchError(
            f"{folder} was made with {manifest.identity}, but this memory uses {identity}. "
            "Load it into a memory with the encoder and retrieval key that made it; then open that memory with another "
            "key and rekey=True (`comem rekey`), or with another encoder and reencode=True (`comem reencode`)."
        )
    return manifest


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _line(record: MemoryRecord, pictures: Path, number: int) -> _Line:
    copies: dict[str, str] = {}
    for place, (path, kind) in enumerate(record.files):
        source = Path(path)
        if not source.is_file():
            what = "picture" if kind == "image" else "recording"
            raise StoreLocationError(
                f"The {what} of item {record.id!r}, {source}, is gone. Restore it or delete the item."
            )
        copies[path] = f"{number:08d}{f'-{place}' if place else ''}{source.suffix}"
        shutil.copyfile(source, pictures / copies[path])
    return _Line(
        id=record.id,
        text=record.text,
        picture=None if record.image is None else copies[record.image],
        content=map_files(
            record.content,
            lambda part: (
                _Recording(audio=copies[part.reference])
                if part.kind == "audio"
                else _Picture(picture=copies[part.reference])
            ),
        ),
        left_out=record.left_out,
        passages=record.passages,
        passage_keys=record.passage_keys,
        metadata=record.metadata,
        created_at=record.created_at,
        content_hash=record.content_hash,
        truncated=record.truncated,
        updated_at=record.updated_at,
        said_at=record.said_at,
        expires=record.expires,
        supersedes=record.supersedes,
        superseded_by=record.superseded_by,
    )


def _records(folder: Path, manifest: _Manifest) -> Iterator[MemoryRecord]:
    pictures = folder / "pictures"
    try:
        with (folder / "items.jsonl").open(encoding="utf-8") as lines:
            for number in itertools.count():
                shard = [_Line.model_validate(json.loads(line)) for line in itertools.islice(lines, SHARD)]
                if not shard:
                    return
                vectors = load_file(folder / f"vectors-{number:05d}.safetensors")
                blocks = np.split(vectors["blocks"], vectors["ends"][:-1])
                for line, key, block in zip(shard, vectors["keys"], blocks, strict=True):
                    if missing := [name for name in line.files if f"pictures/{name}" not in manifest.sha256]:
                        raise ValueError(f"it holds no file {missing[0]!r}")
                    image = None if line.picture is None else (pictures / line.picture).resolve()
                    content = tuple(
                        one if isinstance(one, str) else _within(pictures, _file(one)) for one in line.content
                    )
                    own = own_metadata(line.metadata)
                    times = {"said_at": line.said_at, "expires": line.expires}
                    given = {"text": line.text, "image": image, "content": map_files(content, as_part) or None}
                    MemoryItem(
                        id=line.id, metadata=own, passages=line.passages, **given, **times
                    )  # checks as add() does
                    record = line.model_dump(exclude={"picture", "content"})
                    yield MemoryRecord(
                        namespace="",
                        key=key,
                        block=b85encode(block.tobytes()),
                        image=None if image is None else str(image),
                        content=content,
                        **record,
                    )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise StoreLocationError(
            f"The export {folder} is damaged: {error}. Export again, or restore a backup."
        ) from error
