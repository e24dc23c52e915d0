"""Items are added: whole, once, in batches, by several threads, and what cannot be stored is refused."""

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.memories import CAT, DOOR, FLAG, assert_encodes, fresh, kept_files, same_picture
from helpers.reads import Read, recorded_reads
from PIL import Image
from tqdm.std import tqdm

import comem_memory.encoder.prepared as prepared_module
from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.content import repaired
from comem_memory.errors import (
    ComemError,
    DuplicateIdError,
    InvalidItemError,
    ItemNotFoundError,
    ItemTooLongError,
    PromptTooLongError,
    QueryError,
    StoreClosedError,
)
from comem_memory.retrieval import RetrievalKey
from comem_memory.store import identity_of
from comem_memory.testing import LetterEmbedder, tiny_key, tiny_picture


def test_items_come_back_whole(filled: ContinuousMemory, llava: MemoryEncoder):
    flag, door = filled.get(["flag", "door"])
    assert (door.id, door.text, door.image, door.metadata) == (DOOR.id, DOOR.text, None, DOOR.metadata)
    assert flag.text is None
    assert flag.metadata == FLAG.metadata
    assert same_picture(flag.image, FLAG.image)
    assert door.similarity is None
    assert not door.truncated
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", door.created_at)
    assert door.memory_embeddings.shape == (8, 64)
    assert door.memory_embeddings.dtype == torch.float32
    for item in (DOOR, CAT, FLAG):
        [hit] = filled.get(item.id)
        assert_encodes(hit.memory_embeddings, fresh(llava, item))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_precisions(llava: MemoryEncoder, precision: Any):
    key = tiny_key()
    store = ChromaStore.in_memory(identity=identity_of(llava, key))
    with ContinuousMemory(llava, key, store, precision=precision) as memory:
        [id] = memory.add(DOOR)
        expected = fresh(llava, DOOR)
        expected = expected.bfloat16().float() if precision == "bf16" else expected
        [hit] = memory.get(id)
        if precision == "int8":
            assert_encodes(hit.memory_embeddings, expected)
        else:
            assert torch.equal(hit.memory_embeddings, expected)


def test_adding_twice_encodes_once(memory: ContinuousMemory, encoded: list[int]):
    item = MemoryItem(text="Tea is hot.", image=tiny_picture(5))
    [id] = memory.add(item)
    assert memory.add([item, MemoryItem(text="Tea is hot.", image=tiny_picture(5))]) == [id, id]
    assert memory.add(MemoryItem(text="Tea is hot.")) != [id]
    assert memory.count() == 2
    assert encoded == [1, 1]


def test_closing_a_view_leaves_the_memory_open(memory: ContinuousMemory):
    with memory.namespace("ada") as view:
        view.add(MemoryItem(text="Tea."))
    assert memory.namespace("ada").count() == 1
    memory.close()
    with pytest.raises(StoreClosedError):
        view.search("Tea?")


def test_what_is_no_item_is_named_whole(memory: ContinuousMemory):
    given: Any = {"text": "a dict"}
    with pytest.raises(InvalidItemError, match=re.escape(f"{given!r} cannot be added. Pass MemoryItem(")):
        memory.add(given)


def test_names_and_ids_are_texts(memory: ContinuousMemory):
    for name in (42, None, uuid.uuid4(), "", "a\x1fb", "a\nb"):
        with pytest.raises(QueryError, match=r"must be a text that is not empty .* Pass for example str\(user_id\)"):
            memory.namespace(name)  # type: ignore[arg-type]
    for call in (memory.get, lambda ids: memory.delete(ids=ids)):
        for ids in (1, [1]):
            with pytest.raises(QueryError, match="1 is not an id: ids are texts. Pass what add"):
                call(ids)  # type: ignore[arg-type]


def test_a_question_that_is_too_long_is_refused_before_the_model_runs(filled: ContinuousMemory):
    with pytest.raises(PromptTooLongError, match="window is 1024"):
        filled.answer("word " * 1000)


def test_numpy_values_stay_what_they_are(memory: ContinuousMemory):
    metadata = {"yes": np.bool_(True), "count": np.int64(3), "share": np.float32(0.5)}
    memory.add(MemoryItem(id="a", text="A.", metadata=metadata))  # type: ignore[arg-type]
    stored = memory.get("a")[0].metadata
    assert stored == {"yes": True, "count": 3, "share": 0.5} and type(stored["yes"]) is bool
    assert memory.count(where={"yes": True}) == 1


def test_a_file_its_bytes_and_the_picture_are_one_item(memory: ContinuousMemory, tmp_path: Path, encoded: list[int]):
    tiny_picture(4).save(tmp_path / "a.png")
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), tiny_picture(4)]
    assert len({id for source in sources for id in memory.add(MemoryItem(image=source))}) == 1
    assert encoded == [1]
    assert memory.search(image=tiny_picture(4))[0].image == str(tmp_path / "a.png")


def test_threads_may_write_the_same_item(filled: ContinuousMemory):
    def work(number: int) -> None:
        if number % 4 == 0:
            filled.delete(ids="shared")
        elif number % 4 == 1:
            with contextlib.suppress(ItemNotFoundError):
                filled.update("shared", metadata={"by": number})
        else:
            filled.add(MemoryItem(id="shared", text=f"Version {number % 8}.", image=tiny_picture(number % 8)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(48)))
    filled.add(MemoryItem(id="shared", text="Version 3.", image=tiny_picture(3)))
    filled.update("shared", metadata={"last": True})
    [hit] = filled.get("shared")
    assert same_picture(hit.image, tiny_picture(3))
    assert len(kept_files(filled)) == 3
    filled.delete(ids="shared")
    assert len(kept_files(filled)) == 2


@contextlib.contextmanager
def waiting_for_the_model(memory: ContinuousMemory, work: Callable[[], Any]) -> Iterator[None]:
    """Runs `work` in a thread that waits for the model, as while it answers, until the block ends."""
    with ThreadPoolExecutor(1) as pool:
        with memory.backbone.lock:
            waiting = pool.submit(work)
            time.sleep(0.3)
            yield
            assert not waiting.done()
        waiting.result()


@pytest.mark.parametrize("changed", [False, True])
def test_what_is_deleted_or_changed_during_an_add_is_stored_all_the_same(memory: ContinuousMemory, changed: bool):
    asked = [MemoryItem(id="a", text="One.", metadata={"n": 1}), MemoryItem(id="b", text="New.")]
    memory.add([asked[0], MemoryItem(id="c", text="Two.", metadata={"m": 2})])
    with waiting_for_the_model(memory, lambda: memory.add(asked)):
        memory.delete(ids="a")
        if changed:
            [other] = memory.store.get(["c"], namespace=memory.name)
            memory.store.put([replace(other, id="a")])
    [hit] = memory.get("a")
    assert (hit.text, hit.metadata) == ("One.", {"n": 1})
    [vectors] = memory.encoder.encode([memory.encoder.inputs("One.", None)])
    torch.testing.assert_close(hit.memory_embeddings, vectors, rtol=0.02, atol=0.02)


def test_an_update_takes_what_others_write_meanwhile_and_keeps_nobody_waiting(memory: ContinuousMemory):
    memory.add([MemoryItem(id="a", text="One."), MemoryItem(id="b", text="Other.")])
    with waiting_for_the_model(memory, lambda: memory.update("a", text="Three.")):
        assert memory.delete(ids="b") == 1
        memory.update("a", metadata={"n": 1})
    [hit] = memory.get("a")
    assert (hit.text, hit.metadata) == ("Three.", {"n": 1})


def test_what_is_stored_already_is_read_once_and_without_its_key_and_text(
    filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch, encoded: list[int]
):
    reads = recorded_reads(monkeypatch)
    filled.add([DOOR, CAT, FLAG])
    assert reads == [Read(("metadatas",), 3), Read((), 0)], "and nothing has expired"
    reads.clear()
    filled.add([DOOR, CAT.model_copy(update={"metadata": {"seen": True}}), FLAG])
    whole = Read(("documents", "embeddings", "metadatas"), 1)
    later, expired = Read((), 0), Read((), 0)
    reference = [Read((), 0), Read(("metadatas",), 3)]
    written = [Read(("metadatas",), 1), Read(("metadatas",), 1)]
    assert reads == [Read(("metadatas",), 3), later, whole, *reference, *written, expired], (
        "what was there, what is from later than now, the one, what blocks are packed with, before and after it"
    )
    assert encoded == []
    assert filled.get("cat")[0].metadata == {"seen": True}
    reads.clear()
    filled.add([DOOR, MemoryItem(id="new", text="New.")])
    assert {read.parts for read in reads} == {("metadatas",), ()}, "and whether anything is newer than now"


def test_items_that_swap_their_contents_are_both_encoded(filled: ContinuousMemory, encoded: list[int]):
    door, cat = DOOR.model_copy(update={"id": "cat"}), CAT.model_copy(update={"id": "door"})
    filled.add([door, cat])
    assert encoded == [2]
    assert [hit.text for hit in filled.get(["door", "cat"])] == [CAT.text, DOOR.text]
    assert_encodes(filled.get("cat")[0].memory_embeddings, fresh(filled.encoder, DOOR))


def test_a_search_by_text_and_picture_reads_only_its_results(filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    filled.add([MemoryItem(text=f"Item {number}.", image=tiny_picture(number)) for number in range(90)])
    reads = recorded_reads(monkeypatch)
    assert len(filled.search("The cat sleeps", tiny_picture(1), k=3)) == 3
    whole = [read for read in reads if "metadatas" in read.parts]
    assert whole == [Read(("documents", "embeddings", "metadatas"), 3)]


def test_a_picture_that_moved_is_found_again_once_added_from_there(
    memory: ContinuousMemory, tmp_path: Path, encoded: list[int]
):
    tiny_picture(4).save(tmp_path / "old.png")
    memory.add(MemoryItem(id="a", text="A.", image=tmp_path / "old.png"))
    (tmp_path / "old.png").rename(tmp_path / "new.png")
    memory.add(MemoryItem(id="a", text="A.", image=tmp_path / "new.png"))
    assert memory.get("a")[0].image == str(tmp_path / "new.png")
    assert encoded == [1], "the same content is not encoded again"
    assert memory.answer("a?", mode="text", max_new_tokens=1).hits


def test_other_content_replaces_and_other_metadata_is_only_written(
    filled: ContinuousMemory, llava: MemoryEncoder, encoded: list[int]
):
    before = filled.get("cat")[0]
    filled.add(CAT.model_copy(update={"metadata": {"seen": True}}))
    after = filled.get("cat")[0]
    assert after.metadata == {"seen": True}
    assert torch.equal(after.memory_embeddings, before.memory_embeddings)
    assert same_picture(after.image, CAT.image)
    assert encoded == []
    newer = MemoryItem(id="cat", text="The cat ran away.", image=tiny_picture(9))
    filled.add(newer)
    after = filled.get("cat")[0]
    assert (after.text, after.metadata, filled.count()) == ("The cat ran away.", {}, 3)
    assert encoded == [1]
    assert same_picture(after.image, newer.image)
    assert_encodes(after.memory_embeddings, fresh(llava, newer))
    assert len(kept_files(filled)) == 2, "the replaced picture is gone"
    filled.add(MemoryItem(id="cat", text="No picture any more."))
    assert filled.get("cat")[0].image is None
    assert len(kept_files(filled)) == 1


def test_a_generator_is_read_one_chunk_ahead(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prepared_module, "CHUNK", 5)
    ahead = []

    def items() -> Iterator[MemoryItem]:
        for number in range(23):
            ahead.append(number - memory.count())
            yield MemoryItem(id=f"{number:02}", text=f"Item {number}.")

    assert memory.add(items()) == [f"{number:02}" for number in range(23)]
    assert max(ahead) == 4
    assert memory.count() == 23


def test_few_large_pictures_are_open_at_a_time(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prepared_module, "CHUNK_BYTES", 3 * 3 * 400 * 300)
    opened = []

    def items() -> Iterator[MemoryItem]:
        for number in range(8):
            opened.append(number - memory.count())
            yield MemoryItem(id=str(number), image=tiny_picture(number).resize((400, 300)))

    memory.add(items())
    assert max(opened) == 2
    assert memory.count() == 8


def test_batch_size_bounds_a_forward_pass(memory: ContinuousMemory, encoded: list[int]):
    memory.add([MemoryItem(text=f"Item {number}.") for number in range(10)], batch_size=4)
    assert encoded == [4, 4, 2]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (MemoryItem(id="bad", image=b"no picture"), InvalidItemError, "Item 'bad': .*cannot be read"),
        (MemoryItem(text="a", image="/none.png"), InvalidItemError, "Item 'a': Image /none.png does not exist. Pass"),
        (MemoryItem(id="bad", text="é" * 500), ItemTooLongError, r"Item 'bad': .*1000 tokens.*truncate=True"),
        (MemoryItem(id="0", text="Other."), DuplicateIdError, "id '0'. Give each its own"),
        (7, InvalidItemError, r"7 cannot be added. Pass MemoryItem\(text="),
    ],
)
def test_what_was_stored_before_an_error_stays(
    memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch, bad: Any, error: type[ComemError], message: str
):
    monkeypatch.setattr(prepared_module, "CHUNK", 4)
    good = [MemoryItem(id=str(number), text=f"Item {number}.") for number in range(10)]
    with pytest.raises(error, match=message):
        memory.add([*good[:6], bad, *good[6:]])
    assert memory.count() == 4
    assert [hit.text for hit in memory.get(["0", "3"])] == ["Item 0.", "Item 3."]
    memory.add(good)
    assert memory.count() == 10


def test_the_same_item_twice_in_one_call_is_fine(memory: ContinuousMemory, encoded: list[int]):
    assert memory.add([DOOR, DOOR, DOOR.model_copy(update={"metadata": {"last": 1}})]) == ["door"] * 3
    assert memory.get("door")[0].metadata == {"last": 1}
    assert encoded == [1]


def test_a_bomb_is_not_opened(memory: ContinuousMemory, tmp_path: Path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InvalidItemError, match=r"Image .*bomb.png.*Scale it down"):
        memory.add(MemoryItem(image=tmp_path / "bomb.png"))
    with pytest.raises(InvalidItemError, match="Scale it down"):
        memory.search(image=tmp_path / "bomb.png")
    assert memory.count() == 0


def test_a_text_that_is_too_long_is_cut_when_asked(memory: ContinuousMemory, llava: MemoryEncoder):
    long = MemoryItem(id="long", text="word " * 300)
    assert memory.add(long, truncate=True) == ["long"]
    [hit] = memory.get("long")
    assert hit.truncated
    assert hit.text == long.text
    assert memory.search("word", k=1)[0].truncated
    memory.update("long", metadata={"n": 1})
    assert memory.get("long")[0].truncated
    memory.update("long", text="short")
    assert not memory.get("long")[0].truncated


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "neither text nor image. Pass text="),
        ({"text": "  "}, "neither text nor image"),
        ({"text": 3}, "text: Input should be a valid string.*Pass text"),
        ({"txt": "a"}, "txt: Extra inputs"),
        ({"text": "a", "id": ""}, "not be empty"),
        ({"text": "a", "id": "a\nb"}, "no control characters"),
        ({"text": "a", "id": "a\x1fb"}, "no control characters"),
        ({"text": "a", "id": "a\ud83d"}, "no control characters"),
        ({"image": 3}, "is a int. Pass a path"),
        ({"text": "a", "metadata": {"comem.id": 1}}, "Rename the key"),
        ({"text": "a", "metadata": {"$gt": 1}}, "Rename the key"),
        ({"text": "a", "metadata": {"chroma:document": 1}}, "Rename the key"),
        ({"text": "a", "metadata": {"a": {1}}}, "metadata 'a' is or holds a set. Pass texts"),
        ({"text": "a", "metadata": {"a": {"b": [{"c": b"d"}]}}}, "metadata 'a.b' is or holds a bytes. Pass texts"),
        ({"text": "a", "metadata": {"a": {"b": {1: 2}}}}, "metadata 'a.b' has the key 1. Pass texts as keys"),
        ({"text": "a", "metadata": {"a": {"b": 1}, "a.b": 2}}, "'a.b' twice, in a dict and with a dot. Rename one"),
        ({"text": "a", "metadata": {"comem": {"id": 1}}}, "Rename the key"),
        ({"text": "a", "metadata": {"comem.chat.x": {}}}, "Rename the key"),
        ({"text": "a", "metadata": {"a": [1.0, float("inf")]}}, "Store it as a text"),
        ({"text": "a", "metadata": {"a": float("nan")}}, "Store it as a text"),
        ({"text": "a", "metadata": {"a": 2**63}}, "beyond 64 bits"),
        ({"text": "a", "metadata": {"a": 10**5000}}, "beyond 64 bits"),
        ({"image": "caf\udce9.png"}, "is not UTF-8, and cannot be stored. Rename the file"),
    ],
)
def test_an_item_that_cannot_be_stored_is_not_made(fields: dict[str, Any], message: str):
    with pytest.raises(InvalidItemError, match=message):
        MemoryItem(**fields)


@pytest.mark.parametrize(
    "name", ["a\u00a0b", "山田\u3000太郎", "\u0645\u06cc\u200c\u062e", "👩\u200d🚀", "\U0001fae9", "\u2028"]
)
def test_a_name_may_have_blanks_joiners_and_new_emoji(memory: ContinuousMemory, name: str):
    theirs = memory.namespace(name)
    assert theirs.add([MemoryItem(text="A brass key.", id=name)]) == [name]
    assert [hit.id for hit in theirs.search("key", k=1)] == [name]
    assert name in memory.store.namespaces()
    assert memory.get(name, skip_missing=True) == []
    assert theirs.delete(ids=[name]) == 1


def test_odd_texts_and_metadata_come_back(memory: ContinuousMemory):
    metadata = {"b": True, "i": -(2**62), "f": 2.0, "s": "", "ключ": "a\x00b", "e": "🙂"}
    for text in ("a\x00b", "🙂 é ß", " blanks ", "<|im_start|>system\n<image>"):
        [id] = memory.add(MemoryItem(text=text, metadata=metadata))
        [hit] = memory.get(id)
        assert hit.text == text
        assert hit.metadata == metadata
        assert [type(hit.metadata[key]) for key in metadata] == [type(value) for value in metadata.values()]


def test_halves_of_characters_are_repaired(memory: ContinuousMemory):
    for half, whole in (
        ("hi \ud83d", "hi \ufffd"),
        ("\ud83d\ude42!", "🙂!"),
        ("\ude42\ud83d", "\ufffd\ufffd"),
        ("é\ud83dé", "é\ufffdé"),
    ):
        assert repaired(half) == whole == repaired(whole)
        [id] = memory.add(MemoryItem(text=half, metadata={half: half}))
        [hit] = memory.get(id)
        assert (hit.text, hit.metadata) == (whole, {whole: whole})
        found, expected = ([(h.id, h.similarity) for h in memory.search(text)] for text in (half, whole))
        assert found == expected
        assert memory.answer(half, max_new_tokens=4).text == memory.answer(whole, max_new_tokens=4).text
        np.testing.assert_array_equal(memory.embed([half]), memory.embed([whole]))
        assert memory.get(half, skip_missing=True) == [] and memory.delete(ids=[half]) == 0


def test_an_item_that_could_not_be_found_is_not_encoded(llava: MemoryEncoder, encoded: list[int]):
    key = RetrievalKey(LetterEmbedder())
    with ContinuousMemory(llava, key, ChromaStore.in_memory(identity=identity_of(llava, key))) as memory:
        with pytest.raises(InvalidItemError, match="both embedders"):
            memory.add(FLAG)
        assert encoded == []
        assert memory.count() == 0


def test_a_picture_needs_a_place(llava: MemoryEncoder, tmp_path: Path):
    key = tiny_key()
    with ContinuousMemory(llava, key, ChromaStore.in_memory(identity=identity_of(llava, key))) as memory:
        with pytest.raises(InvalidItemError, match="persist_directory"):
            memory.add(FLAG)
        tiny_picture(2).save(tmp_path / "flag.png")
        memory.add(MemoryItem(id="flag", image=tmp_path / "flag.png"))
        assert memory.get("flag")[0].image == str(tmp_path / "flag.png")


@pytest.mark.parametrize(("items", "progress", "shown"), [(65, True, True), (65, False, False), (1, None, False)])
def test_progress(memory: ContinuousMemory, capsys: Any, items: int, progress: bool | None, shown: bool):
    memory.add([MemoryItem(text=f"Item {number}.") for number in range(items)], progress=progress)
    assert (f"encoding: 100%|██████████| {items}/{items}" in capsys.readouterr().err) == shown


def test_batches_are_told_as_they_are_done_and_what_needs_no_encoding_at_once(
    memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch
):
    told: list[float] = []
    real = tqdm.update
    monkeypatch.setattr(tqdm, "update", lambda bar, n=1: (told.append(n), real(bar, n)))
    items = [MemoryItem(text=f"Item {number}.") for number in range(10)]
    memory.add(items, batch_size=4, progress=True)
    assert told == [4, 4, 2, 0]
    told.clear()
    memory.add(items, batch_size=4, progress=True)
    assert told == [10]
