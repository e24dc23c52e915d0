"""Encoding in bulk with a real Ray on this machine: `make test-ray`."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
from helpers import dying
from helpers.saved import save_tiny

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import AdapterError, InvalidItemError, StoreLocationError
from comem_memory.files import read_items
from comem_memory.ray import EncodedDataset, encode
from comem_memory.retrieval import RetrievalKey
from comem_memory.testing import ColourEmbedder, tiny_key, tiny_picture

TIMES = ("created_at", "updated_at")


@pytest.fixture(scope="session", autouse=True)
def _started_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    base, adapter = save_tiny(tmp_path_factory.mktemp("tiny"))
    return {"model": str(base), "adapter": adapter, "key": tiny_key()}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of many lengths in a folder: JSON lines with what is wrong in some, texts, and pictures with captions."""
    folder = tmp_path_factory.mktemp("source")
    lamps = [{"text": f"Lamp {n} is red." + " It is on." * (n % 9), "metadata": {"n": n}} for n in range(120)]
    people = [
        {"id": "rome", "text": "Ann lives in Rome.", "said_at": "2026-05-03T18:30:00+02:00", "supersedes": ["paris"]},
        {"id": "paris", "text": "Ann lives in Paris."},
        {"id": "tea", "text": "Tea is at four.", "expires": "P30D", "metadata": {"tags": ["a", "b"], "by": {"x": 1}}},
    ]
    again = [{"text": "Lamp 0 is red."}, {"id": "tea", "text": "Tea is at four."}]
    wrong = [{"text": " "}, {"text": "A broken picture.", "image": "pictures/broken.png"}, {"text": "é" * 600}]
    two = [{"id": "two", "text": "One."}, {"id": "two", "text": "Another one."}]
    lines = [json.dumps(line) for line in lamps + people + again + wrong + two]
    (folder / "items.jsonl").write_text("\n".join([*lines, "{no json", "A plain line."]) + "\n")
    (folder / "door.txt").write_text("The door is blue.\n")
    (folder / "key.md").write_text("The key is brass.\n")
    (folder / "pictures").mkdir()
    for n in range(4):
        tiny_picture(n).save(folder / "pictures" / f"{n}.png")
    (folder / "pictures" / "0.txt").write_text("The first picture.")
    (folder / "pictures" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="session")
def shards(source: Path, model: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder encoded by one worker."""
    out = tmp_path_factory.mktemp("encoded") / "shards"
    # Wrong are: the blank text, two broken pictures, the long text, one of the two of an id, and what is no JSON.
    assert encode(source, out, shard_size=15, **model) == EncodedDataset(items=131, duplicates=2, errors=6)
    return out


def content(shards: Path) -> dict[str, bytes]:
    """The files of all shards but for the times and the manifests."""
    files = {}
    for file in sorted(shards.glob("shard-*/**/*")):
        if file.name == "items.jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            kept = [{name: line[name] for name in line if name not in (*TIMES, "expires")} for line in lines]
            files[str(file.relative_to(shards))] = json.dumps(kept).encode()
        elif file.is_file() and file.name != "export.json":
            files[str(file.relative_to(shards))] = file.read_bytes()
    return files


def test_two_workers_write_the_same_bytes_as_one(source: Path, model: dict[str, Any], shards: Path, tmp_path: Path):
    encode(source, tmp_path / "shards", shard_size=15, concurrency=2, **model)
    assert content(tmp_path / "shards") == content(shards)
    assert len([name for name in content(shards) if "vectors-" in name]) > 6


def test_search_and_answers_equal_those_after_add(source: Path, model: dict[str, Any], shards: Path):
    good = [item for item in _items(source) if item.text != "A broken picture." and len(item.text or "") < 600]
    with ContinuousMemory.from_pretrained(**model) as added, ContinuousMemory.from_pretrained(**model) as loaded:
        for item in sorted(good, key=lambda item: item.id == "rome"):  # after what it supersedes
            added.add(item)
        assert loaded.load(shards) == 131 and loaded.load(shards) == 131
        assert sorted(hit.id for hit in loaded.scan()) == sorted(hit.id for hit in added.scan())
        for mine in added.scan():
            [theirs] = loaded.get(mine.id)
            np.testing.assert_allclose(theirs.memory_embeddings, mine.memory_embeddings, atol=0.05)
            assert (theirs.text, theirs.metadata, theirs.said_at) == (mine.text, mine.metadata, mine.said_at)
        for question in ("Where does Ann live?", "When is tea?", "Is lamp 17 red?", "What colour is the door?"):
            assert [hit.id for hit in loaded.search(question)] == [hit.id for hit in added.search(question)]
            assert loaded.answer(question, max_new_tokens=8).text == added.answer(question, max_new_tokens=8).text
        assert loaded.search(image=tiny_picture(2), k=1)[0].image is not None
        assert [hit.id for hit in loaded.history("paris")] == ["paris", "rome"]
        assert loaded.get("tea")[0].expires is not None


def _items(source: Path) -> Iterator[MemoryItem]:
    """What of the folder can be added, read file by file."""
    for line in (source / "items.jsonl").read_text().splitlines():
        fields = json.loads(line) if line.startswith("{") and line != "{no json" else {"text": line}
        if fields["text"].strip() and line != "{no json" and fields != {"id": "two", "text": "Another one."}:
            plain = {} if line.startswith("{") else {"metadata": {"source": str(source / "items.jsonl")}}
            yield MemoryItem(**fields, **plain)
    for name in ("door.txt", "key.md"):
        yield from read_items(str(source / name))
    for n in range(4):
        yield from read_items(str(source / "pictures" / f"{n}.png"))


KILLED = """
    import json, sys
    from pathlib import Path
    from comem_memory.ray import encode
    from comem_memory.testing import tiny_key
    source, out, base, adapter = sys.argv[1:]
    encode(source, out, shard_size=15, model=base, adapter=adapter, key=tiny_key(), progress=False)
"""


def test_a_run_that_was_killed_goes_on(source: Path, model: dict[str, Any], shards: Path, tmp_path: Path):
    out = tmp_path / "shards"
    arguments = [source, out, model["model"], model["adapter"]]
    script = textwrap.dedent(KILLED)
    with subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 300
        while len(list(out.glob("shard-??????"))) < 2 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    complete = {file: file.stat().st_mtime_ns for file in out.glob("shard-??????/*")}
    assert complete and len(list(out.glob("shard-??????"))) < len(list(shards.glob("shard-*"))), "it was in the middle"
    assert encode(source, out, shard_size=15, concurrency=2, **model).items == 131
    assert {file: file.stat().st_mtime_ns for file in complete} == complete, "what was complete stays"
    assert content(out) == content(shards)
    with pytest.raises(StoreLocationError, match=r"holds work with another --precision. Delete it"):
        encode(source, out, shard_size=15, precision="fp32", **model)


def test_a_shard_whose_worker_dies_is_made_by_another(
    source: Path, model: dict[str, Any], shards: Path, tmp_path: Path
):
    ray.cloudpickle.register_pickle_by_value(dying)  # workers do not find the helpers of tests
    key = RetrievalKey(dying.DyingEmbedder(tmp_path / "died"), ColourEmbedder())
    encode(source, tmp_path / "shards", shard_size=15, **model | {"key": key})
    assert (tmp_path / "died").exists() and content(tmp_path / "shards") == content(shards)


def test_parquet_with_pictures_in_it(model: dict[str, Any], tmp_path: Path):
    tiny_picture(1).save(tmp_path / "one.jpg")
    table = pa.table(
        {
            "id": ["cat", None, "own"],
            "text": ["The cat sleeps.", None, "By path."],
            "image": [
                {"bytes": (tmp_path / "one.jpg").read_bytes(), "path": None},
                {"bytes": (tmp_path / "one.jpg").read_bytes(), "path": "one.jpg"},
                {"bytes": None, "path": str(tmp_path / "one.jpg")},
            ],
            "said_at": [datetime(2026, 5, 3, tzinfo=UTC), None, None],
            "metadata": [{"year": 2020, "tags": ["a"]}, None, {"year": None, "tags": ["b"]}],
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    assert encode(tmp_path / "items.parquet", tmp_path / "shards", **model) == EncodedDataset(3, 0, 0)
    (tmp_path / "one.jpg").rename(tmp_path / "away.jpg")
    with ContinuousMemory.from_pretrained(**model) as memory:
        assert memory.load(tmp_path / "shards") == 3
        [cat, own] = memory.get(["cat", "own"])
        assert (cat.metadata, own.metadata) == ({"year": 2020, "tags": ["a"]}, {"tags": ["b"]})
        assert cat.said_at == "2026-05-03T00:00:00.000000+00:00"
        assert len(memory.search(image=tmp_path / "away.jpg")) == 3
        assert memory.add(MemoryItem(image=tmp_path / "away.jpg")) == [hit.id for hit in memory.scan() if not hit.text]


def test_a_token_is_written_nowhere(model: dict[str, Any], tmp_path: Path):
    (tmp_path / "notes.txt").write_text("The door is blue.\n")
    encode(tmp_path / "notes.txt", tmp_path / "shards", token="hf_secret", **model)
    written = [file for file in (tmp_path / "shards").rglob("*") if file.is_file()]
    assert tmp_path / "shards" / "run.json" in written
    assert not any(b"hf_secret" in file.read_bytes() for file in written)


def test_a_dataset_of_ones_own(model: dict[str, Any], tmp_path: Path):
    pixels = np.asarray(tiny_picture(1))
    rows = [{"text": "A picture.", "image": pixels}, {"text": "Another.", "image": pixels}]
    assert encode(ray.data.from_items(rows), tmp_path / "pixels", **model) == EncodedDataset(2, 0, 0)


def test_what_is_wrong_is_said_before_anything_runs(source: Path, model: dict[str, Any], tmp_path: Path):
    for name in ("nothing", "nothing.parquet"):
        with pytest.raises(InvalidItemError, match=f"{name} does not exist"):
            encode(tmp_path / name, tmp_path / "shards", **model)
    with pytest.raises(AdapterError, match="incomplete|is no adapter|config"):
        encode(source, tmp_path / "shards", **model | {"adapter": tmp_path})
    with pytest.raises(ValueError, match="precision is 'int3'"):
        encode(source, tmp_path / "shards", precision="int3", **model)  # type: ignore[arg-type]
    assert not (tmp_path / "shards").exists()


def test_an_error_of_a_worker_is_ours(model: dict[str, Any], tmp_path: Path):
    other, _ = save_tiny(tmp_path / "other", seed=3)
    (tmp_path / "notes.txt").write_text("The door is blue.\n")
    with pytest.raises(AdapterError, match="has other weights") as caught:
        encode(tmp_path / "notes.txt", tmp_path / "shards", **model | {"model": str(other)})
    assert type(caught.value) is AdapterError


def test_texts_are_cut_as_they_are_by_add(model: dict[str, Any], tmp_path: Path):
    (tmp_path / "doors.md").write_text("# Doors\nBlue.\n# Keys\nBrass.\n")
    cut = {"split": "heading", **model}
    assert encode(tmp_path / "doors.md", tmp_path / "shards", **cut) == EncodedDataset(2, 0, 0)
    with pytest.raises(StoreLocationError, match=r"holds work with another --rows or --split"):
        encode(tmp_path / "doors.md", tmp_path / "shards", **model)


def test_from_a_file_to_the_memory_by_command(tmp_path: Path):
    (tmp_path / "notes.jsonl").write_text("The blue door opens with the brass key.\nThe cat sleeps on the oven.\n \n")
    comem = [Path(sys.executable).with_name("comem"), "-d", tmp_path / "memory"]
    for _ in range(2):
        added = subprocess.run(
            [*comem, "add", tmp_path / "notes.jsonl", "--ray", tmp_path / "shards", "--workers", "2", "--json"],
            stdout=subprocess.PIPE,
            check=True,
        )
        assert json.loads(added.stdout) == {"items": 2, "duplicates": 0, "errors": 0, "count": 2}
    found = subprocess.run(
        [*comem, "search", "What opens the door?", "-k", "1", "--json"], stdout=subprocess.PIPE, check=True
    )
    assert json.loads(found.stdout)[0]["text"] == "The blue door opens with the brass key."
