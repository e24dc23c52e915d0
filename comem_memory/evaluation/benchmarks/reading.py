"""The files that benchmarks come in. Every error names file, line or entry, and what the folder should hold."""

from __future__ import annotations

import gzip
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from comem_memory.errors import BenchmarkError

Row = TypeVar("Row", bound=BaseModel)
T = TypeVar("T")
_BATCH = 8
"""Rows of a table in memory at a time; each may hold a dozen pictures of a few hundred KB."""


class TablePicture(BaseModel):
    """A picture in a table, as the Hugging Face hub keeps it: encoded, in one field of a struct."""

    content: bytes = Field(alias="bytes")


def existing(path: Path, layout: str) -> Path:
    """The path itself.

    Raises:
        BenchmarkError: There is no such file or folder.
    """
    if not path.exists():
        raise BenchmarkError(f"{path} is missing. {layout}")
    return path


def checked(check: Iterator[T], entries: Iterator[T]) -> Iterator[T]:
    """The entries, after reading all of `check`: what is malformed is reported before the first entry is used."""
    deque(check, maxlen=0)
    return entries


def json_lines(path: Path, row: type[Row], layout: str) -> Iterator[Row]:
    """One object a line, read line by line; a file that ends in `.gz` is unpacked on the way.

    Raises:
        BenchmarkError: A line is not JSON, or not such an object.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = row.model_validate_json(line)
                except ValidationError as error:
                    raise _malformed(f"{path}, line {number}", error, layout) from error
                yield entry
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BenchmarkError(f"{path} cannot be read after line {number}: {error}. {layout}") from error


def json_file(path: Path, kind: type[T], layout: str) -> T:
    """The whole file as one value.

    Raises:
        BenchmarkError: The file is missing, not JSON, or not such a value; the message names the entry.
    """
    try:
        return TypeAdapter(kind).validate_json(existing(path, layout).read_bytes())
    except ValidationError as error:
        raise _malformed(str(path), error, layout) from error


def table_files(folder: Path, split: str, layout: str) -> Sequence[Path]:
    """The split's parquet files, as the Hugging Face hub names them.

    Raises:
        BenchmarkError: There is none.
    """
    if not (paths := sorted((folder / "data").glob(f"{split}-*.parquet"))):
        raise BenchmarkError(f"{folder / 'data' / f'{split}-*.parquet'} is missing. {layout}")
    return paths


def table_rows(paths: Sequence[Path], row: type[Row], layout: str, skip: Collection[str] = ()) -> Iterator[Row]:
    """The rows of parquet files, a few at a time; columns that `row` does not name, or `skip` does, are not read.

    Raises:
        ImportError: Pyarrow is not installed.
        BenchmarkError: A file is not parquet, or a row is not such a row.
    """
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(
            f"{paths[0]} is a parquet file, and the package that reads it is not installed. "
            "Install it with: pip install pyarrow"
        ) from error
    columns = [field.alias or name for name, field in row.model_fields.items() if (field.alias or name) not in skip]
    for path in paths:
        number = 0
        try:
            for batch in ParquetFile(path).iter_batches(batch_size=_BATCH, columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    try:
                        entry = row.model_validate(values)
                    except ValidationError as error:
                        raise _malformed(f"{path}, row {number}", error, layout) from error
                    yield entry
        except ArrowInvalid as error:
            raise BenchmarkError(f"{path} cannot be read after row {number}: {error}. {layout}") from error


def _malformed(place: str, error: ValidationError, layout: str) -> BenchmarkError:
    found = error.errors()[0]
    entry = "".join(f", {'entry ' if isinstance(part, int) else ''}{part}" for part in found["loc"])
    return BenchmarkError(f"{place}{entry}: {found['msg']}. {layout}")
