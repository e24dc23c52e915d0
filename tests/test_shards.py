"""What becomes of a dataset's rows in shards, without Ray: `tests/engines/test_ray.py` has what Ray does."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.saved import save_tiny

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import InvalidItemError
from comem_memory.files import item_files, items_of
from comem_memory.ray.rows import Row, hashed, item_of, row_of
from comem_memory.ray.shards import ShardEncoder, ShardSettings, shard_folder, shard_of
from comem_memory.retrieval import RetrievalKey
from comem_memory.testing import LetterEmbedder, tiny_key, tiny_picture

MOMENT = "2026-01-01T00:00:00.000000+00:00"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    base, adapter = save_tiny(tmp_path_factory.mktemp("tiny"))
    return {"model": str(base), "adapter": adapter, "key": tiny_key()}


def encoded(items: Iterable[MemoryItem | InvalidItemError], out: Path, shards: int = 1, **settings: Any) -> Path:
    """The items in shards that one worker writes one after the other."""
    rows: list[list[Row]] = [[] for _ in range(shards)]
    for row in map(hashed, map(row_of, items)):
        rows[shard_of(row["identity"], shards)].append(row)
    encoder = ShardEncoder(ShardSettings(out, MOMENT, **settings))
    for shard, own in enumerate(rows):
        encoder.write(shard, own)
    return out


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in out.glob("*/items.jsonl") for line in file.read_text().splitlines()]


def errors(out: Path) -> list[str]:
    files = sorted(out.glob("*/errors.jsonl"))
    return [json.loads(line)["error"] for file in files for line in file.read_text().splitlines()]


def test_rows_of_one_id_or_content_are_one_item(model: dict[str, Any], tmp_path: Path):
    tiny_picture(1).save(tmp_path / "cat.png")
    items = [
        MemoryItem(text="The lamp is red.", metadata={"n": 1}),
        MemoryItem(text="The lamp is red."),
        MemoryItem(id="tea", text="Tea is at four.", metadata={"tags": ["a"]}, expires="2999-01-01T00:00Z"),
        MemoryItem(id="tea", text="Tea is at four."),
        MemoryItem(text="Cat", image=tmp_path / "cat.png"),
        MemoryItem(text="Cat", image=(tmp_path / "cat.png").read_bytes()),
        MemoryItem(text="Cat", image=tiny_picture(1)),
        MemoryItem(text="One of two files.", metadata={"source": "a.txt"}),
        MemoryItem(text="One of two files.", metadata={"source": "b.txt"}),
    ]
    out = encoded(items, tmp_path / "shards", shards=3, **model)
    assert errors(out) == []
    found = {line["text"]: line for line in lines(out)}
    assert len(lines(out)) == 5 and set(found) == {item.text for item in items}
    assert found["The lamp is red."]["metadata"] == {"n": 1}
    assert found["The lamp is red."]["id"] == found["The lamp is red."]["content_hash"][:32]
    assert found["Tea is at four."]["metadata"] == {"tags": ["a"]} and found["Tea is at four."]["expires"]
    assert {line["created_at"] for line in lines(out)} == {MOMENT}


def test_a_shard_that_is_there_stays_when_it_is_given_again(model: dict[str, Any], tmp_path: Path):
    out = encoded([MemoryItem(text="The lamp is red.")], tmp_path, **model)
    before = {file: file.stat().st_mtime_ns for file in out.glob("shard-000000/*")}
    encoded([MemoryItem(text="The lamp is red.")], tmp_path, **model)
    assert before and {file: file.stat().st_mtime_ns for file in out.glob("*/*")} == before


def test_rows_of_one_item_take_the_place_of_what_either_names_but_not_of_itself(model: dict[str, Any], tmp_path: Path):
    items = [
        MemoryItem(id="rome", text="Ann lives in Rome.", metadata={"n": 1}, supersedes=["rome", "paris"]),
        MemoryItem(id="rome", text="Ann lives in Rome.", metadata={}, supersedes="milan"),
        MemoryItem(id="paris", text="Ann lives in Paris."),
        MemoryItem(id="milan", text="Ann lives in Milan."),
    ]
    out = encoded(items, tmp_path / "shards", shards=2, **model)
    with ContinuousMemory.from_pretrained(**model) as memory:
        assert memory.load(out) == 3
        assert [hit.id for hit in memory.search("Where does Ann live?")] == ["rome"]
        [rome] = memory.get("rome")
        assert (rome.metadata, rome.supersedes, rome.superseded_by) == ({"n": 1}, ("paris", "milan"), None)
        assert {hit.superseded_by for hit in memory.get(["paris", "milan"])} == {"rome"}


def test_the_order_of_the_dataset_does_not_matter(model: dict[str, Any], tmp_path: Path):
    items = [MemoryItem(text=f"Lamp {n} is red." + " It is on." * (n % 9)) for n in range(70)]
    items += [MemoryItem(id=f"{n}", text="The same text.", metadata={"n": n}) for n in range(5)]
    first = encoded(items, tmp_path / "first", shards=2, **model)
    second = encoded(reversed(items), tmp_path / "second", shards=2, **model)
    for n in range(2):
        for name in ("items.jsonl", "vectors-00000.safetensors", "export.json"):
            assert (shard_folder(first, n) / name).read_bytes() == (shard_folder(second, n) / name).read_bytes()


def test_what_cannot_be_encoded_is_told_and_stops_nothing(model: dict[str, Any], tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "items.jsonl").write_text(
        "\n".join(
            [
                '{"text": " "}',
                '{"text": "A broken picture.", "image": "broken.png"}',
                '{"id": "gone", "image": "gone.png"}',
                json.dumps({"text": "é" * 600}),
                '{"id": "two", "text": "One."}',
                '{"id": "two", "text": "Another one."}',
                "{no json",
                "A plain line.",
            ]
        )
    )
    (tmp_path / "latin.txt").write_bytes("Tea at four.\nCafé\n".encode("latin-1"))
    items = [item for file in item_files(tmp_path) for item in items_of(file)]
    out = encoded(items, tmp_path / "shards", shards=2, **model)
    assert sorted(line["text"] for line in lines(out)) == ["A plain line.", "One."]
    assert len(errors(out)) == 8
    for part in (
        f"{tmp_path}/items.jsonl, line 1: MemoryItem has neither text nor image",
        f"Item 'A broken picture.': Image {tmp_path}/broken.png cannot be read",
        "Item 'gone': Image",
        "Split it into several items, or pass truncate=True",
        "Two items have the id 'two'. Give each its own id.",
        f"{tmp_path}/items.jsonl, line 7:",
        f"{tmp_path}/latin.txt is no UTF-8 text",
    ):
        assert any(part in one for one in errors(out)), (part, errors(out))
    longer = encoded(items, tmp_path / "longer", truncate=True, **model)
    assert [line["truncated"] for line in lines(longer) if line["text"] == "é" * 600] == [True]


def test_an_item_that_the_key_cannot_find_is_told(model: dict[str, Any], tmp_path: Path):
    items = [MemoryItem(text="Found."), MemoryItem(id="cat", image=tiny_picture(1)), MemoryItem(text="Found too.")]
    out = encoded(items, tmp_path / "shards", **model | {"key": RetrievalKey(LetterEmbedder())})
    assert sorted(line["text"] for line in lines(out)) == ["Found too.", "Found."]
    assert len(errors(out)) == 1 and "Item 'cat' has nothing to be found by" in errors(out)[0]


def test_columns_of_a_dataset_are_fields_of_an_item(tmp_path: Path):
    pixels = np.asarray(tiny_picture(1))
    tiny_picture(1).save(tmp_path / "one.png")
    encoded_picture = (tmp_path / "one.png").read_bytes()
    same = [pixels, encoded_picture, str(tmp_path / "one.png"), {"bytes": encoded_picture, "path": None}]
    same.append({"bytes": None, "path": str(tmp_path / "one.png")})
    assert len({hashed(row_of(item_of({"image": one, "text": None})))["identity"] for one in same}) == 1
    for wrong in ({"id": "a", "txet": "A slip of the pen."}, {"id": "a", "image": np.zeros((2, 2, 7))}, {"id": "a"}):
        row = hashed(row_of(item_of(wrong)))
        assert row["error"].startswith("Row {'id': 'a'") and row["identity"]
    metadata = {"year": None, "tags": ["a"], "by": {"name": "Ada", "born": None}}
    item = item_of({"text": "Tea.", "metadata": metadata, "expires": "P30D", "said_at": "2026-05-03T18:30:00+02:00"})
    assert isinstance(item, MemoryItem)
    restored = MemoryItem(**json.loads(row_of(item)["fields"]))
    assert restored == item and restored.metadata == {"tags": ["a"], "by": {"name": "Ada"}}


def test_a_picture_keeps_its_bytes_and_is_found_after_loading(model: dict[str, Any], tmp_path: Path):
    tiny_picture(1).save(tmp_path / "one.jpg")
    original = (tmp_path / "one.jpg").read_bytes()
    out = encoded([MemoryItem(id="cat", image=original)], tmp_path / "shards", **model)
    [kept] = out.glob("*/pictures/*")
    assert kept.suffix == ".jpeg" and kept.read_bytes() == original
    with ContinuousMemory.from_pretrained(**model) as memory:
        assert memory.load(out) == 1
        kept.unlink()
        assert memory.search(image=tmp_path / "one.jpg", k=1)[0].id == "cat"
        assert memory.add(MemoryItem(image=original)) == ["cat"]
        assert Path(memory.get("cat")[0].image or "").read_bytes() == original
