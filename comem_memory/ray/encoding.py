"""`encode`: Ray Data spreads a dataset's items over shards, and workers that hold the encoder write them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comem_memory.config import Split
from comem_memory.encoder import read_config
from comem_memory.errors import ComemError, InvalidItemError, StoreLocationError
from comem_memory.files import Reading, atomic_write, check_splitter, claim, file_stats, item_files, items_of
from comem_memory.progress import progress_bar
from comem_memory.ray.rows import hashed, item_of, row_of
from comem_memory.ray.shards import ERRORS, ShardEncoder, ShardSettings, shard_folder, shard_of
from comem_memory.retrieval import RetrievalKey
from comem_memory.store import PRECISIONS, Precision, count_items, now, to_date

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

BEGUN = "begun"
"""File in the folder of the shards with the moment when all their items are created."""
SECRETS = ("token", "use_auth_token")
"""Settings for loading a model that are written nowhere."""
HASHED = 1000
"""Rows that one task hashes: even a single file is hashed on all cores."""


@dataclass(frozen=True)
class EncodedDataset:
    """What became of a dataset.

    Args:
        items: Items in the shards.
        duplicates: Rows of the dataset that were the same items again.
        errors: Rows that could not be encoded; `errors.jsonl` in their shards' folders says why.
    """

    items: int
    duplicates: int
    errors: int


def encode(
    dataset: Dataset | str | Path,
    folder: str | Path,
    *,
    model: str | None = None,
    adapter: str | Path | None = None,
    key: RetrievalKey | str | Path | None = None,
    precision: Precision = "int8",
    truncate: bool = False,
    split: Split | None = None,
    size: int | None = None,
    page_pictures: bool = False,
    batch_size: int = 16,
    shard_size: int = 1000,
    concurrency: int = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    progress: bool | None = None,
    **model_kwargs: Any,
) -> EncodedDataset:
    """Encodes a dataset with Ray Data into folders that `ContinuousMemory.load` reads.

    An item is encoded once: rows of one id are one item, and without an id rows of the same text and picture, unless
    their `source` differs, as in `ContinuousMemory.add`. What cannot be encoded is noted, and does not stop the others.

    A run that was stopped goes on when it is given again: complete shards stay as they are. What a shard holds depends
    on the dataset alone, so its vectors are the same bits whichever worker makes them, on one kind of processor.

    Ray is the cluster that `RAY_ADDRESS` names or this process is connected to, or is started here for as long as the
    call takes. Each worker loads the model. The folder, and pictures that are given by path, must be reachable under
    the same path on every machine.

    Args:
        dataset: A Ray dataset whose columns are fields of `MemoryItem`, with pictures as paths, encoded bytes or
            pixels; or the path of Parquet files with such columns, or of what `comem add` reads: JSON lines, texts, PDF
            files, pictures, and folders of those.
        folder: Where the shards go, a folder each; a new folder, or the one of the run that goes on.
        model: As in `ContinuousMemory.from_pretrained`, as are `adapter`, `key` and `precision`.
        truncate: Encode the beginning of texts that are too long, which are errors otherwise.
        split: Texts and PDF pages become an item a piece: `heading` cuts Markdown at its headings, `size` where a
            paragraph, line or word ends; by default they are one item.
        size: Most characters of a piece, 1000 for `size`; of `heading`, longer pieces stay whole without it.
        page_pictures: Items of PDF files, one a page, have the picture of their page too.
        batch_size: Items per forward pass of the encoder.
        shard_size: About how many items go into a shard.
        concurrency: How many workers encode at a time.
        num_cpus: Cores of a worker.
        num_gpus: GPUs of a worker; without any it encodes on its cores.
        progress: Show a bar; by default on a terminal.
        **model_kwargs: For loading the model, as in `ContinuousMemory.from_pretrained`.

    Raises:
        InvalidItemError: The path does not exist or holds nothing that can be read, or the dataset has no rows.
        StoreLocationError: The folder holds work on other files or with other settings.
        AdapterError, CheckpointError, ModelError, DownloadError: As in `ContinuousMemory.from_pretrained`.
        ModuleNotFoundError: Ray is not installed: `pip install 'comem-memory[ray]'`; or what reads PDF files
            (`pdf`), or splits texts by size (`split`).
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}. Use one of {', '.join(PRECISIONS)}.")
    for name, number in {"batch_size": batch_size, "shard_size": shard_size, "concurrency": concurrency}.items():
        if number < 1:
            raise ValueError(f"{name} is {number}. Pass a whole number, at least 1.")
    if adapter is not None and Path(adapter).is_dir():
        read_config(Path(adapter))  # what is wrong with it is said before anything runs
    check_splitter(split, size)
    reading: Reading = {"split": split, "size": size, "page_pictures": page_pictures}
    files = _files(dataset) if isinstance(dataset, str | Path) else []
    out = Path(folder).resolve()
    with _ray():
        rows = _rows(dataset, files, reading).repartition(target_num_rows_per_block=HASHED).map(hashed).materialize()
        total = rows.count()
        if not total:
            raise InvalidItemError(f"{dataset} holds no items.")
        key_name = key.name if isinstance(key, RetrievalKey) else key and str(key)
        moment = _claim(
            out,
            files,
            rows=total,
            model=model,
            adapter=adapter and str(adapter),
            key=key_name,
            precision=precision,
            truncate=truncate,
            **{name: value for name, value in reading.items() if value},
            batch_size=batch_size,
            shard_size=shard_size,
            model_kwargs=sorted(f"{name}={value}" for name, value in model_kwargs.items() if name not in SECRETS),
        )
        settings = ShardSettings(
            out=out,
            moment=moment,
            precision=precision,
            truncate=truncate,
            batch_size=batch_size,
            model=_absolute(model),
            adapter=_absolute(adapter),
            key=key if isinstance(key, RetrievalKey) else _absolute(key),
            model_kwargs=model_kwargs,
        )
        shards = math.ceil(total / shard_size)
        _write(rows, settings, shards, progress, concurrency, num_cpus=num_cpus, num_gpus=num_gpus)
    written = [one for one in (shard_folder(out, shard) for shard in range(shards)) if one.exists()]
    items = sum(map(count_items, written))
    errors = sum(file.read_text(encoding="utf-8").count("\n") for one in written for file in one.glob(ERRORS))
    return EncodedDataset(items, total - items - errors, errors)


def _write(
    rows: Dataset,
    settings: ShardSettings,
    shards: int,
    progress: bool | None,
    concurrency: int,
    **resources: float,
) -> None:
    """Writes the shards that are not there yet."""
    from ray.data import ActorPoolStrategy

    pending = {shard for shard in range(shards) if not shard_folder(settings.out, shard).exists()}
    if not pending:
        return
    spread = rows.map_batches(_spread, fn_args=(shards, pending), batch_format="pyarrow")
    # Made before the workers are, which hold their cores: it would wait for one for ever.
    spread = spread.repartition(len(pending), keys=["shard"]).materialize()
    written = spread.map_batches(
        ShardEncoder,
        fn_constructor_args=(settings,),
        batch_format="pyarrow",
        batch_size=None,  # a block, with all rows of its shards
        compute=ActorPoolStrategy(size=min(concurrency, len(pending))),
        **resources,
    )
    with progress_bar("encoding", progress, total=spread.count()) as bar, _own_errors():
        for shard in written.iter_rows():
            bar.update(shard["rows"])


def _files(source: str | Path) -> list[Path]:
    """The files of a path, Parquet's alone where there are any."""
    path = Path(source)
    named = path.rglob("*.parquet") if path.is_dir() else [path] if path.suffix == ".parquet" else []
    parquet = sorted(file for file in named if file.is_file())
    return [file.resolve() for file in parquet or item_files(path)]


def _rows(dataset: Dataset | str | Path, files: list[Path], reading: Reading) -> Dataset:
    """A dataset of `Row`, which are not hashed yet."""
    import ray.data

    if not isinstance(dataset, str | Path):
        return dataset.map(lambda columns: dict(row_of(item_of(columns))))
    if files[0].suffix == ".parquet":
        return _rows(ray.data.read_parquet([str(file) for file in files]), [], reading)
    named = ray.data.from_items([{"file": str(file)} for file in files])
    return named.flat_map(lambda row: (dict(row_of(item)) for item in items_of(Path(row["file"]), **reading)))


def _spread(rows: pa.Table, shards: int, pending: set[int]) -> pa.Table:
    """The rows of pending shards, each with its shard's number."""
    numbers = [shard_of(identity, shards) for identity in rows["identity"].to_pylist()]
    return rows.append_column("shard", [numbers]).filter([number in pending for number in numbers])


def _claim(out: Path, files: list[Path], **settings: object) -> str:
    """When the run in this folder began; it is begun where there is none, and another one is refused."""
    claim(out, StoreLocationError, files=file_stats(files), **settings)
    begun = out / BEGUN
    if not begun.exists():
        atomic_write(begun, to_date(now()))
    return begun.read_text()


def _absolute(name: str | Path | None) -> str | None:
    """The path of a folder as every worker finds it, or the name of a model."""
    return name if name is None else str(Path(name).resolve() if Path(name).exists() else name)


@contextmanager
def _ray() -> Iterator[None]:
    """Ray: as it is connected, or else connected or started for as long as it is needed."""
    import ray.data

    if ray.is_initialized():
        yield
        return
    ray.init(logging_level=logging.WARNING, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False  # there is our own
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raises our error in place of Ray's about it."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, ComemError):
            raise cause from error
        raise
