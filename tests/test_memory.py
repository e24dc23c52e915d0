"""`ContinuousMemory` with a tiny model: every operation, bad input, crashes, migration, answers, and isolation."""

import asyncio
import contextlib
import gc
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.memories import (
    CAT,
    DOOR,
    FLAG,
    assert_encodes,
    embedded,
    fresh,
    inspect,
    kept_files,
    same_picture,
    versioned,
)
from helpers.processes import chroma_server, is_locked, run
from helpers.reads import Read, recorded_reads
from helpers.saved import save_tiny
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from PIL import Image
from tqdm.std import tqdm
from transformers import Qwen2Config, Qwen2ForCausalLM

import comem_memory.encoder.prepared as prepared_module
import comem_memory.store.writer as writer_module
from comem_memory import Backbone, ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem, opening
from comem_memory.content import repaired
from comem_memory.errors import (
    AdapterError,
    CheckpointError,
    ComemError,
    CorruptBlockError,
    DuplicateIdError,
    EncoderMismatchError,
    InvalidItemError,
    ItemNotFoundError,
    ItemTooLongError,
    ModelError,
    PromptTooLongError,
    QueryError,
    StoreClosedError,
    StoreLocationError,
)
from comem_memory.files import load_image
from comem_memory.integrations.langchain import ChatComem
from comem_memory.memory import Mode
from comem_memory.model import RESTATE_INSTRUCTION
from comem_memory.retrieval import RetrievalKey
from comem_memory.store import MemoryRecord, directories, identity_of
from comem_memory.testing import LetterEmbedder, tiny_backbone, tiny_encoder, tiny_key, tiny_picture
from comem_memory.testing.tiny_models import CHATML


@pytest.fixture(scope="module")
def llava() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava"))


@pytest.fixture(scope="module")
def other() -> MemoryEncoder:
    return tiny_encoder(tiny_backbone("llava", seed=3), seed=3)


@pytest.fixture
def encoded(llava: MemoryEncoder) -> Iterator[list[int]]:
    """How many items each forward pass of the encoder had."""
    sizes: list[int] = []
    hook = llava.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]["input_ids"])))
    yield sizes
    hook.remove()


@pytest.fixture
def memory(llava: MemoryEncoder, tmp_path: Path) -> Iterator[ContinuousMemory]:
    key = tiny_key()
    store = ChromaStore.in_memory(identity=identity_of(llava, key))
    with ContinuousMemory(llava, key, store, picture_directory=tmp_path / "kept") as memory:
        yield memory


@pytest.fixture
def filled(memory: ContinuousMemory) -> ContinuousMemory:
    memory.add([DOOR, CAT, FLAG])
    return memory


# Adding


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


# Reading


def test_get_names_what_is_missing(filled: ContinuousMemory):
    assert filled.get([]) == []
    assert [hit.id for hit in filled.get(["cat", "door", "cat"])] == ["cat", "door", "cat"]
    with pytest.raises(ItemNotFoundError, match=r"'default' holds no item 'x' and 1 more of those asked. Check"):
        filled.get(["cat", "x", "y"])
    with pytest.raises(KeyError):
        filled.namespace("bob").get("cat")


def test_search_by_text_picture_and_both(filled: ContinuousMemory):
    hits = filled.search("a blue door and its brass key", k=2)
    assert hits[0].id == "door"
    assert hits[0].similarity > 0.5
    assert filled.search(image=tiny_picture(2, size=(90, 70)))[0].id == "flag"
    both = filled.search("The cat sleeps on the oven.", tiny_picture(1))
    assert both[0].id == "cat"
    assert both[0].similarity == pytest.approx(1, abs=1e-3)
    similarities = [hit.similarity for hit in both]
    assert similarities == sorted(similarities, reverse=True)
    assert len(both) == 3
    assert filled.namespace("nobody").search("door") == []


@pytest.mark.parametrize("text", [None, "", "  "])
def test_there_must_be_something_to_search_for(filled: ContinuousMemory, text: str | None):
    with pytest.raises(QueryError, match=r"nothing to search for. Pass text"):
        filled.search(text)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3"])
def test_k_must_be_a_whole_number_from_one(filled: ContinuousMemory, k: Any):
    for call in (filled.search, filled.answer, filled.stream):
        with pytest.raises(QueryError, match=f"k is {k!r}. Ask for a whole number"):
            call("door", k=k)


def test_a_huge_k_finds_everything(filled: ContinuousMemory):
    assert len(filled.search("door", k=2**40)) == 3


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"year": 2020}, {"door"}),
        ({"year": {"$ne": 2020}}, {"cat", "flag"}),
        ({"year": {"$gt": 2020}}, {"cat", "flag"}),
        ({"year": {"$gte": 2021, "$lt": 2022}}, {"cat"}),
        ({"year": {"$lte": 2020}}, {"door"}),
        ({"year": {"$in": [2020, 2022]}}, {"door", "flag"}),
        ({"year": {"$nin": [2020, 2022]}}, {"cat"}),
        ({"$or": [{"kind": "note"}, {"year": 2022}]}, {"door", "flag"}),
        ({"$and": [{"kind": "note"}, {"year": 2022}]}, set()),
        ({}, {"door", "cat", "flag"}),
    ],
)
def test_filters(filled: ContinuousMemory, where: dict[str, Any], expected: set[str]):
    assert {hit.id for hit in filled.search("the", k=9, where=where)} == expected
    assert filled.count(where=where) == len(expected)
    assert {hit.id for hit in filled.answer("the", k=9, where=where, max_new_tokens=1).hits} == expected
    if where:
        assert filled.delete(where=where) == len(expected)
        assert filled.count() == 3 - len(expected)


@pytest.mark.parametrize(
    "where",
    [
        {"year": {"$near": 1}},
        {"$not": [{"a": 1}]},
        {"comem.namespace": "bob"},
        {"year": 2**63},
        {"year": {"$gt": float("nan")}},
        {"year": {"$in": [1.0, float("inf")]}},
        {"name": "\ud83d"},
    ],
)
def test_unknown_filters_change_nothing(filled: ContinuousMemory, where: dict[str, Any]):
    for call in (
        lambda: filled.search("door", where=where),
        lambda: filled.count(where=where),
        lambda: filled.delete(where=where),
        lambda: filled.answer("door", where=where),
    ):
        with pytest.raises(QueryError, match=r"\$eq, \$ne"):
            call()
    assert filled.count() == 3


def test_a_damaged_item_is_named_and_can_be_mended(filled: ContinuousMemory):
    [record] = filled.store.get(["door"], namespace="default")
    block = record.block[:100] + ("a" if record.block[100] != "a" else "b") + record.block[101:]
    filled.store.put([type(record)(**{**vars(record), "block": block})])
    with pytest.raises(CorruptBlockError, match="'door'"):
        filled.get("door")
    assert filled.get("cat")[0].text == CAT.text
    filled.update("door", text="The blue door is open.")
    assert filled.get("door")[0].text == "The blue door is open."


# Changing


def test_update_encodes_only_what_changed(filled: ContinuousMemory, llava: MemoryEncoder, encoded: list[int]):
    filled.update("cat", metadata={"n": 1})
    filled.update("cat", text=CAT.text)
    filled.update("cat", image=CAT.image)
    assert encoded == []
    assert filled.get("cat")[0].metadata == {"n": 1}
    filled.update("cat", text="The cat is awake.")
    [hit] = filled.get("cat")
    assert encoded == [1]
    assert hit.metadata == {"n": 1}
    assert same_picture(hit.image, CAT.image)
    assert_encodes(hit.memory_embeddings, fresh(llava, MemoryItem(text="The cat is awake.", image=CAT.image)))
    filled.update("cat", image=tiny_picture(7))
    [hit] = filled.get("cat")
    assert hit.text == "The cat is awake."
    assert same_picture(hit.image, tiny_picture(7))
    assert filled.search(image=tiny_picture(7), k=1)[0].id == "cat"
    assert len(kept_files(filled)) == 2
    assert filled.count() == 3
    with pytest.raises(ItemNotFoundError):
        filled.update("nothing", text="x")
    with pytest.raises(ItemNotFoundError):
        filled.namespace("bob").update("cat", text="x")
    with pytest.raises(InvalidItemError):
        filled.update("cat", metadata={"comem.x": 1})
    with pytest.raises(InvalidItemError):
        filled.update("door", text="")
    assert filled.get("door")[0].text == DOOR.text


def test_delete_and_clear(filled: ContinuousMemory):
    filled.namespace("bob").add([DOOR, CAT])
    assert len(kept_files(filled)) == 3
    for nothing in ({}, {"where": {}}):
        with pytest.raises(QueryError, match=r"call clear\(\)"):
            filled.delete(**nothing)
    assert filled.delete(ids=[]) == 0
    assert filled.delete(ids=["cat", "cat", "unknown"]) == 1
    assert filled.delete(ids="door", where={"year": 1999}) == 0
    assert (filled.count(), filled.namespace("bob").count(), len(kept_files(filled))) == (2, 2, 2)
    assert same_picture(filled.namespace("bob").get("cat")[0].image, CAT.image)
    assert filled.clear() == 2
    assert (filled.count(), filled.namespace("bob").count(), len(kept_files(filled))) == (0, 2, 1)
    assert filled.clear() == 0


def test_own_files_are_never_touched(memory: ContinuousMemory, tmp_path: Path):
    tiny_picture(3).save(tmp_path / "own.png")
    memory.add(MemoryItem(id="a", text="mine", image=tmp_path / "own.png"))
    memory.update("a", text="still mine")
    assert memory.get("a")[0].image == str(tmp_path / "own.png")
    memory.clear()
    assert (tmp_path / "own.png").exists()
    assert kept_files(memory) == []


def test_a_picture_that_moves_to_another_item_outlives_the_first(filled: ContinuousMemory):
    bob = filled.namespace("bob")
    [hit] = filled.get("cat")
    bob.add(MemoryItem(id="copy", text=hit.text, image=hit.image))
    filled.clear()
    assert same_picture(bob.get("copy")[0].image, CAT.image)


def test_a_replacement_that_fails_leaves_the_old_item_whole(filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(ChromaStore, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            filled.update("cat", image=tiny_picture(8))
    assert same_picture(filled.get("cat")[0].image, CAT.image)
    filled.update("cat", image=tiny_picture(9))
    assert same_picture(filled.get("cat")[0].image, tiny_picture(9))
    assert len(kept_files(filled)) == 2


# Isolation


NAMESPACES = ("ann", "ann/b", "b")
IDS = ("x", "b/x", "y")
namespaces, ids = st.sampled_from(NAMESPACES), st.sampled_from(IDS)
texts, seeds = st.sampled_from(["red apple", "green pear", "blue plum", None]), st.sampled_from([None, 1, 2])


class Namespaces(RuleBasedStateMachine):
    """Random operations on three namespaces, against plain dictionaries: what one does, no other sees."""

    encoder: MemoryEncoder

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        key = tiny_key()
        store = ChromaStore.in_memory(identity=identity_of(self.encoder, key))
        self.memory = ContinuousMemory(self.encoder, key, store, picture_directory=self.folder)
        self.expected: dict[str, dict[str, tuple[str | None, int | None, int]]] = {name: {} for name in NAMESPACES}

    def teardown(self) -> None:
        self.memory.close()
        shutil.rmtree(self.folder)

    @rule(namespace=namespaces, given=st.dictionaries(ids, st.tuples(texts, seeds, st.integers(0, 2)), max_size=3))
    def add(self, namespace: str, given: dict[str, tuple[str | None, int | None, int]]) -> None:
        given = {id: (text or "plain" if seed is None else text, seed, n) for id, (text, seed, n) in given.items()}
        items = [
            MemoryItem(id=id, text=text, image=None if seed is None else tiny_picture(seed), metadata={"n": n})
            for id, (text, seed, n) in given.items()
        ]
        assert self.memory.namespace(namespace).add(items) == list(given)
        self.expected[namespace] |= given

    @rule(namespace=namespaces, id=ids, text=texts, seed=seeds, n=st.sampled_from([None, 0, 1, 2]))
    def update(self, namespace: str, id: str, text: str | None, seed: int | None, n: int | None) -> None:
        view, mine = self.memory.namespace(namespace), self.expected[namespace]
        image = None if seed is None else tiny_picture(seed)
        metadata = None if n is None else {"n": n}
        if id not in mine:
            with pytest.raises(ItemNotFoundError):
                view.update(id, text=text, image=image, metadata=metadata)
            return
        view.update(id, text=text, image=image, metadata=metadata)
        new = zip((text, seed, n), mine[id], strict=True)
        mine[id] = tuple(old if value is None else value for value, old in new)  # type: ignore[assignment]

    @rule(namespace=namespaces, chosen=st.none() | st.lists(ids, max_size=2), n=st.none() | st.integers(0, 2))
    def delete(self, namespace: str, chosen: list[str] | None, n: int | None) -> None:
        view, mine = self.memory.namespace(namespace), self.expected[namespace]
        if chosen is None and n is None:
            assert view.clear() == len(mine)
            mine.clear()
            return
        gone = [id for id, item in mine.items() if (chosen is None or id in chosen) and n in (None, item[2])]
        assert view.delete(ids=chosen, where=None if n is None else {"n": n}) == len(gone)
        for id in gone:
            del mine[id]

    @rule(namespace=namespaces, text=texts, seed=seeds, k=st.integers(1, 4), n=st.none() | st.integers(0, 2))
    def search(self, namespace: str, text: str | None, seed: int | None, k: int, n: int | None) -> None:
        if text is None and seed is None:
            return
        mine = {id: item for id, item in self.expected[namespace].items() if n in (None, item[2])}
        image, where = None if seed is None else tiny_picture(seed), None if n is None else {"n": n}
        hits = self.memory.namespace(namespace).search(text, image, k=k, where=where)
        assert len(hits) == min(k, len(mine)) == len({hit.id for hit in hits})
        assert all((hit.text, hit.metadata) == (mine[hit.id][0], {"n": mine[hit.id][2]}) for hit in hits)

    @invariant()
    def each_holds_its_own(self) -> None:
        for namespace, mine in self.expected.items():
            view = self.memory.namespace(namespace)
            assert view.count() == len(mine)
            for hit, (text, seed, n) in zip(view.get(list(mine)), mine.values(), strict=True):
                assert (hit.text, hit.metadata) == (text, {"n": n})
                assert hit.image is None if seed is None else same_picture(hit.image, tiny_picture(seed))
        with_picture = sum(item[1] is not None for mine in self.expected.values() for item in mine.values())
        assert len(kept_files(self.memory)) == with_picture


def test_namespaces_never_leak(llava: MemoryEncoder):
    machine = type("Machine", (Namespaces,), {"encoder": llava})
    limits = settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    case = machine.TestCase
    case.settings = limits
    case().runTest()


# Directories and crashes


def test_a_directory_keeps_everything_and_may_move(llava: MemoryEncoder, tmp_path: Path, encoded: list[int]):
    with embedded(llava, tmp_path / "one") as memory:
        memory.add([DOOR, CAT, FLAG])
        before = memory.get(["door", "cat", "flag"])
    (tmp_path / "one").rename(tmp_path / "two")
    with embedded(llava, tmp_path / "two") as memory:
        after = memory.get(["door", "cat", "flag"])
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old.memory_embeddings, new.memory_embeddings)
        assert same_picture(after[1].image, CAT.image)
        memory.answer("cat", mode="text", max_new_tokens=1)
        memory.add([DOOR, CAT, FLAG])
        assert encoded == [3]
        assert memory.search("the blue door", k=1)[0].id == "door"


def test_a_directory_that_is_not_ours(llava: MemoryEncoder, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreLocationError, match="Pass an empty or new directory"):
        embedded(llava, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_second_process_is_told_the_way_out(llava: MemoryEncoder, tmp_path: Path):
    with embedded(llava, tmp_path / "memory") as memory:
        memory.add(DOOR)
        said = run(
            """
            from pathlib import Path
            from helpers.memories import embedded
            from comem_memory.testing import tiny_backbone, tiny_encoder
            from comem_memory.errors import StoreInUseError
            try:
                embedded(tiny_encoder(tiny_backbone("llava")), Path(sys.argv[1]))
            except StoreInUseError as error:
                print(error)
            """,
            tmp_path / "memory",
            forked=True,
        )
        assert "Another process" in said
        assert f"chroma run --path {tmp_path / 'memory' / 'chroma'}" in said
        assert memory.get("door")[0].text == DOOR.text


NURSERY = """
    # Forks workers that are killed; each first inspects what those before it left. Chroma is opened in forks only.
    import json, os, random
    from pathlib import Path
    import torch
    import comem_memory.encoder.prepared as prepared_module
    from comem_memory.testing import tiny_backbone, tiny_encoder
    from helpers.memories import add_for_ever, embedded, fresh, inspect, versioned
    prepared_module.CHUNK = 4
    torch.set_num_threads(1)  # a fork has no other
    encoder, directory, rng = tiny_encoder(tiny_backbone("llava")), Path(sys.argv[1]), random.Random(0)
    fresh(encoder, versioned(1, 1))

    def fork(work):
        readable, writable = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(readable)
                work(lambda text: os.write(writable, text.encode()))
            finally:
                os._exit(1)
        os.close(writable)
        return pid, os.fdopen(readable)

    def worker(say, seed):
        memory = embedded(encoder, directory)
        say(json.dumps(inspect(memory, acknowledged)) + "\\n")
        if seed <= 20:
            add_for_ever(memory, seed, say)

    acknowledged, count, lost, torn = {}, 0, 0, 0
    for seed in range(1, 22):
        pid, lines = fork(lambda say: worker(say, seed))
        found = json.loads(lines.readline())
        lost, torn = lost + found[0], torn + found[1]
        if seed > 20:
            os.waitpid(pid, 0)
            break
        first = lines.readline()  # the first chunk is stored
        time.sleep(rng.uniform(0.0, 0.4))
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        for line in [first, *lines]:
            id, version = line.split()
            acknowledged[id] = int(version)
            count += 1
    print(json.dumps({"kills": 20, "acknowledged": count, "lost": lost, "torn": torn}))
"""


def test_twenty_kills_in_the_middle_of_add_lose_and_tear_nothing(tmp_path: Path):
    found = json.loads(run(NURSERY, tmp_path / "memory", forked=True))
    print(f"\nkill -9, {found}")
    assert found["kills"] == 20
    assert found["acknowledged"] >= 80
    assert (found["lost"], found["torn"]) == (0, 0)


# Other encoders


def test_mixing_encoders_is_refused(filled: ContinuousMemory, other: MemoryEncoder, tmp_path: Path):
    mixed = ContinuousMemory(other, filled.key, filled.store, picture_directory=tmp_path)
    for call in (
        lambda: mixed.add(DOOR),
        lambda: mixed.update("door", text="x"),
        lambda: mixed.search("door"),
        lambda: mixed.answer("door"),
        lambda: mixed.describe("door"),
        lambda: mixed.load(tmp_path),
    ):
        with pytest.raises(EncoderMismatchError) as caught:
            call()
        for part in (str(other.fingerprint), str(filled.encoder.fingerprint), "reencode()"):
            assert part in str(caught.value)
    assert mixed.count() == 3
    assert filled.get("door")[0].text == DOOR.text


def reencoded(memory: ContinuousMemory, other: MemoryEncoder) -> ContinuousMemory:
    return ContinuousMemory(other, memory.key, memory.store, picture_directory=memory._pictures.folder)


def test_reencode_moves_every_namespace(filled: ContinuousMemory, other: MemoryEncoder, capsys: Any):
    bobs = MemoryItem(id="picture", image=tiny_picture(9))
    filled.namespace("bob").add([MemoryItem(id="only", text="Bob's."), bobs])
    filled.add(MemoryItem(id="long", text="word " * 300), truncate=True)
    new, kept = reencoded(filled, other), kept_files(filled)
    assert new.reencode(progress=True) == 6
    assert "re-encoding: 100%|██████████| 6/6" in capsys.readouterr().err
    assert kept_files(new) == kept
    assert same_picture(new.namespace("bob").get("picture")[0].image, bobs.image)
    for item in (DOOR, CAT, FLAG):
        [hit] = new.get(item.id)
        assert_encodes(hit.memory_embeddings, fresh(other, item))
        assert hit.metadata == item.metadata
        assert item.image is None or same_picture(hit.image, item.image)
    assert new.get("long")[0].truncated
    assert not new.get("door")[0].truncated
    assert_encodes(new.namespace("bob").get("only")[0].memory_embeddings, fresh(other, MemoryItem(text="Bob's.")))
    assert new.search("the blue door", k=1)[0].id == "door"
    assert new.answer("door?", max_new_tokens=2).hits
    with pytest.raises(EncoderMismatchError):
        filled.add(DOOR)


def test_reencode_resumes(filled: ContinuousMemory, other: MemoryEncoder, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr(writer_module, "CHUNK", 2)
    filled.add([MemoryItem(id=f"{number}", text=f"Item {number}.") for number in range(7)])
    new, real, calls = reencoded(filled, other), MemoryEncoder.encode, 0

    def interrupted(*arguments: Any, **options: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryEncoder, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new.reencode()
    assert_encodes(filled.get("door")[0].memory_embeddings, fresh(filled.encoder, DOOR))
    assert filled.search("the blue door", k=1)[0].id == "door"
    capsys.readouterr()
    assert new.reencode(progress=True) == 6
    assert "4/10" in capsys.readouterr().err
    assert_encodes(new.get("door")[0].memory_embeddings, fresh(other, DOOR))
    assert new.count() == 10


def test_a_killed_reencode_resumes(llava: MemoryEncoder, other: MemoryEncoder, tmp_path: Path):
    with embedded(llava, tmp_path) as memory:
        memory.add([versioned(id, 1) for id in range(12)])
    moved = run(
        """
        from pathlib import Path
        import comem_memory.store.writer as writer_module
        from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder
        from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key
        writer_module.CHUNK = 3
        other = tiny_encoder(tiny_backbone("llava", seed=3), seed=3)
        store = ChromaStore.embedded(sys.argv[1], identity=None)
        memory = ContinuousMemory(other, tiny_key(), store, picture_directory=Path(sys.argv[1]) / "pictures")
        real, calls = MemoryEncoder.encode, []
        def encode(*arguments, **options):
            calls.append(1)
            if len(calls) == 3:
                print("two chunks", flush=True)
                time.sleep(60)
            return real(*arguments, **options)
        MemoryEncoder.encode = encode
        memory.reencode()
        """,
        tmp_path,
        kill=True,
        forked=True,
    )
    assert moved == "two chunks"
    with embedded(llava, tmp_path) as memory:
        assert inspect(memory, {f"{id:02}": 1 for id in range(12)}) == (0, 0)
        new = reencoded(memory, other)
        assert new.reencode() == 6
        assert inspect(new, {f"{id:02}": 1 for id in range(12)}) == (0, 0)


def test_a_missing_picture_stops_a_reencode_before_anything_is_swapped(
    filled: ContinuousMemory, other: MemoryEncoder, tmp_path: Path
):
    tiny_picture(3).save(tmp_path / "own.png")
    filled.add(MemoryItem(id="zoo", text="The zoo.", image=tmp_path / "own.png"))
    (tmp_path / "own.png").unlink()
    new = reencoded(filled, other)
    with pytest.raises(InvalidItemError, match=r"Item 'zoo': Image .*own.png does not exist. Pass"):
        new.reencode()
    assert filled.store.identity.encoder == filled.encoder.fingerprint
    for item in (DOOR, CAT, FLAG):
        assert_encodes(filled.get(item.id)[0].memory_embeddings, fresh(filled.encoder, item))
    tiny_picture(3).save(tmp_path / "own.png")
    assert new.reencode() == 4
    zoo = MemoryItem(text="The zoo.", image=tiny_picture(3))
    assert_encodes(new.get("zoo")[0].memory_embeddings, fresh(other, zoo))


# Other retrieval keys


def rekeyed(memory: ContinuousMemory) -> ContinuousMemory:
    """The same memory with a key that weighs texts and pictures otherwise."""
    key = RetrievalKey(memory.key.text, memory.key.image, text_weight=0.7)
    return ContinuousMemory(memory.encoder, key, memory.store, picture_directory=memory._pictures.folder)


def all_records(memory: ContinuousMemory) -> list[MemoryRecord]:
    return [one for name in memory.store.namespaces() for batch in memory.store.scan(namespace=name) for one in batch]


def test_rekey_changes_nothing_but_the_keys(
    filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    filled.namespace("bob").add([MemoryItem(id="only", text="Bob's."), MemoryItem(id="picture", image=tiny_picture(9))])
    filled.add(MemoryItem(id="long", text="word " * 300), truncate=True)
    old, kept, new = all_records(filled), kept_files(filled), rekeyed(filled)
    with pytest.raises(EncoderMismatchError, match=r"new keys.* rekey\(\) .*`comem rekey`"):
        new.search("door")
    with monkeypatch.context() as patch:
        patch.setattr(MemoryEncoder, "encode", lambda *_, **__: pytest.fail("a vector was encoded"))
        assert new.rekey(progress=True) == 6
    assert "re-keying: 100%|██████████| 6/6" in capsys.readouterr().err
    assert kept_files(new) == kept
    for before, after in zip(old, all_records(new), strict=True):
        assert (after, after.block, after.text) == (before, before.block, before.text)  # as records compare: not by key
        picture = None if after.image is None else load_image(new._pictures.find(after.image))
        np.testing.assert_allclose(after.key, new.key.item_keys([after.text], [picture])[0], atol=1e-6)
    assert new.search("the blue door", k=1)[0].id == "door"
    assert new.search(image=FLAG.image, k=1)[0].id == "flag"
    with pytest.raises(EncoderMismatchError, match="rekey"):
        filled.add(DOOR)


def test_rekey_resumes(filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(writer_module, "CHUNK", 2)
    filled.add([MemoryItem(id=f"{number}", text=f"Item {number}.") for number in range(7)])
    blocks, new = {one.id: one.block for one in all_records(filled)}, rekeyed(filled)
    real, calls = RetrievalKey.item_keys, 0

    def interrupted(*arguments: Any) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RetrievalKey, "item_keys", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new.rekey()
    assert filled.search("the blue door", k=1)[0].id == "door"
    assert new.rekey(progress=True) == 6
    assert "4/10" in capsys.readouterr().err
    assert {one.id: one.block for one in all_records(new)} == blocks


def test_new_keys_are_no_help_against_another_encoder(filled: ContinuousMemory, other: MemoryEncoder):
    new = reencoded(filled, other)
    with pytest.raises(EncoderMismatchError, match=r"New keys alone do not help.*reencode\(\)"):
        new.rekey()
    assert filled.search("the blue door", k=1)[0].id == "door"


def test_an_item_that_a_key_cannot_find_is_named(filled: ContinuousMemory):
    texts = RetrievalKey(filled.key.text)
    new = ContinuousMemory(filled.encoder, texts, filled.store, picture_directory=filled._pictures.folder)
    with pytest.raises(InvalidItemError, match="Item 'flag' has nothing to be found by"):
        new.rekey()
    store = ChromaStore.in_memory(identity=new._writer.identity)
    with (
        ContinuousMemory(filled.encoder, texts, store) as another,
        pytest.raises(InvalidItemError, match="Item 'flag' has nothing to be found by"),
    ):
        another.add([DOOR, FLAG])


def test_a_missing_picture_stops_a_rekey_before_anything_is_swapped(filled: ContinuousMemory, tmp_path: Path):
    tiny_picture(3).save(tmp_path / "own.png")
    filled.add(MemoryItem(id="zoo", text="The zoo.", image=tmp_path / "own.png"))
    (tmp_path / "own.png").rename(tmp_path / "away.png")
    new = rekeyed(filled)
    with pytest.raises(InvalidItemError, match=r"Item 'zoo': Image .*own.png does not exist"):
        new.rekey()
    assert filled.search("the blue door", k=1)[0].id == "door"
    (tmp_path / "away.png").rename(tmp_path / "own.png")
    assert new.rekey() == 4


# Answering


def test_modes_differ_in_what_the_model_reads(filled: ContinuousMemory):
    none, text, vectors, both = (
        filled.answer("Which key opens the blue door?", k=2, mode=mode, max_new_tokens=6)
        for mode in ("none", "text", "memory", "both")
    )
    assert none.prompt_tokens < vectors.prompt_tokens == none.prompt_tokens + 8 * 2 < text.prompt_tokens
    filled.text_prompts = dict.fromkeys(filled.text_prompts, filled.text_prompts["both"])  # else text has more words
    alike = filled.answer("Which key opens the blue door?", k=2, mode="text", max_new_tokens=6)
    assert both.prompt_tokens == alike.prompt_tokens + 8 * 2
    assert none.hits == []
    assert [hit.id for hit in both.hits] == [hit.id for hit in vectors.hits] == [hit.id for hit in text.hits]
    assert len(text.hits) == 2
    similarities = [hit.similarity for hit in vectors.hits]
    assert similarities == sorted(similarities, reverse=True)
    assert str(text) == text.text
    prompt, _ = filled.prompt("Which?", None, filled.get(["door", "cat"]), "text")
    said = filled.encoder.backbone.prompts.tokenizer.decode(prompt["input_ids"][0])
    assert said.index(CAT.text) < said.index(DOOR.text) < said.index("Which?"), "best last, next to the question"
    assert "pixel_values" in prompt


@pytest.mark.parametrize("picture", [None, tiny_picture(1)])
def test_without_memory_it_is_the_bare_model(filled: ContinuousMemory, picture: Any):
    bare = tiny_backbone("llava")
    parts = [] if picture is None else [{"type": "image", "image": picture}]
    content = [*parts, {"type": "text", "text": "Who?"}]
    prompt = bare.prompts.prompt_inputs([{"role": "user", "content": content}])
    [tokens] = bare.generate([prompt], max_new_tokens=12)
    answer = filled.answer("Who?", picture, mode="none", max_new_tokens=12)
    assert answer.text == bare.decode(tokens)
    assert answer.prompt_tokens == prompt["input_ids"].shape[1]
    empty = filled.namespace("nobody").answer("Who?", picture, max_new_tokens=12)
    assert empty.text == answer.text
    assert empty.prompt_tokens == answer.prompt_tokens


def test_the_most_relevant_item_stands_next_to_the_question(filled: ContinuousMemory):
    _, vectors, hits = filled.prepare("The cat sleeps", k=3)
    assert hits[0].id == "cat"
    assert vectors is not None
    expected = [filled.get(hit.id)[0].memory_embeddings for hit in reversed(hits)]
    assert torch.equal(vectors, torch.cat(expected))
    assert torch.equal(vectors[-8:], hits[0].memory_embeddings)


def test_the_reader_prompt_goes_where_memory_goes(tmp_path: Path):
    bare, key = tiny_backbone("qwen2"), tiny_key()
    encoder = MemoryEncoder.create(tiny_backbone("qwen2"), num_attention_heads=4, num_reader_tokens=3)
    generator = torch.Generator().manual_seed(0)
    for vectors in (encoder.reader_prompt, encoder.restate_prompt):
        torch.nn.init.normal_(vectors, generator=generator)

    def said(content: str, *vectors: torch.Tensor) -> str:
        prompt = bare.prompts.prompt_inputs([{"role": "user", "content": content}])
        return bare.decode(bare.generate([prompt], [torch.cat(vectors)] if vectors else None, max_new_tokens=12)[0])

    with ContinuousMemory(encoder, key, ChromaStore.in_memory(identity=identity_of(encoder, key))) as memory:
        assert memory.answer("The door?", max_new_tokens=12).text == said("The door?"), "nothing is stored"
        memory.add([DOOR, MemoryItem(id="cat", text=CAT.text)])
        best, other = hits = memory.search("The door?")
        prompt, own = encoder.reader_prompt.data, best.memory_embeddings
        told = f"{other.text}\n{best.text}"
        expected = {
            "none": said("The door?"),
            "memory": said("The door?", prompt, other.memory_embeddings, own),
            "text": said(memory.text_prompts["text"].format(context=told, question="The door?"), prompt),
            "both": said(f"{told}\n\nThe door?", prompt, other.memory_embeddings, own),
        }
        assert len(set(expected.values())) == 4
        for mode in get_args(Mode):
            answer = memory.answer("The door?", mode=mode, max_new_tokens=12)
            assert answer.text == expected[mode]
            chat = ChatComem(memory=memory, k=3, mode=mode, max_tokens=12)
            assert chat.invoke("The door?").text == expected[mode]
        assert memory.prepare("The door?", mode="memory")[1].shape == (3 + 8 * len(hits), 64)
        restated = memory.describe(best.id, max_new_tokens=12).restated
        assert restated == said(RESTATE_INSTRUCTION, encoder.restate_prompt.data, own)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_stream_says_what_the_answer_says(filled: ContinuousMemory, mode: Any):
    answer = filled.answer("The door?", tiny_picture(2), mode=mode, max_new_tokens=12)
    assert "".join(filled.stream("The door?", tiny_picture(2), mode=mode, max_new_tokens=12)).strip() == answer.text


def test_memory_changes_the_answer(filled: ContinuousMemory):
    prompt, vectors, _ = filled.prepare("The door?", k=1)
    backbone = filled.encoder.backbone
    with torch.inference_mode():
        with_memory = backbone.logits(backbone.batch([prompt], [vectors]))[0, -1]
        without = backbone.logits(backbone.batch([prompt]))[0, -1]
    assert not torch.allclose(with_memory, without, atol=1e-3)


def test_unknown_modes_are_refused_at_once(filled: ContinuousMemory):
    for call in (filled.answer, filled.stream, filled.prepare):
        with pytest.raises(QueryError, match=r"mode is 'magic'. Use one of memory, text, both, none"):
            call("door", mode="magic")


def test_describe(filled: ContinuousMemory):
    description = filled.describe("flag", max_new_tokens=5)
    assert description.text is None
    assert isinstance(description.restated, str)
    assert filled.describe("door").text == DOOR.text
    with pytest.raises(ItemNotFoundError):
        filled.describe("nothing")


def test_a_model_without_eyes_remembers_texts(tmp_path: Path):
    llama, key = tiny_encoder(tiny_backbone("llama")), tiny_key()
    store = ChromaStore.in_memory(identity=identity_of(llama, key))
    with ContinuousMemory(llama, key, store, picture_directory=tmp_path) as memory:
        memory.add(DOOR)
        with pytest.raises(InvalidItemError, match=r"Item 'cat': .*Use a vision-language model"):
            memory.add(CAT)
        for mode in ("memory", "text", "none"):
            memory.answer("door?", tiny_picture(1), mode=mode, max_new_tokens=2)
        assert memory.search(image=tiny_picture(1))[0].similarity == 0


# Answered by another model


@pytest.fixture
def transferred(tmp_path: Path) -> Iterator[ContinuousMemory]:
    """Written by a model that sees, answered by one that only reads."""
    encoder, key = tiny_encoder(tiny_backbone("qwen2_5_vl")), tiny_key()
    store = ChromaStore.in_memory(identity=identity_of(encoder, key))
    backbone = tiny_backbone("qwen2")
    with ContinuousMemory(encoder, key, store, backbone=backbone, picture_directory=tmp_path) as memory:
        memory.add([DOOR, CAT, FLAG])
        yield memory


def test_another_model_answers_from_the_encoders_vectors(transferred: ContinuousMemory):
    reader = tiny_backbone("qwen2")
    hits = transferred.search("The door?", tiny_picture(2), k=2)
    prompt = reader.prompts.prompt_inputs([{"role": "user", "content": "The door?"}])
    vectors = torch.cat([hit.memory_embeddings for hit in reversed(hits)])
    settings = {"max_new_tokens": 12, "min_new_tokens": 12}
    expected = reader.decode(reader.generate([prompt], [vectors], **settings)[0])

    passes: list[int] = []
    hook = transferred.encoder.backbone.model.base_model.register_forward_hook(lambda *_: passes.append(1))
    answer = transferred.answer("The door?", tiny_picture(2), k=2, **settings)
    assert answer.text == expected
    assert "".join(transferred.stream("The door?", tiny_picture(2), k=2, **settings)).strip() == expected
    assert answer.prompt_tokens == prompt["input_ids"].shape[1] + 16
    transferred.describe("flag", max_new_tokens=2)
    assert not passes, "the model that encodes is not asked"
    transferred.add(MemoryItem(text="New."))
    assert passes
    hook.remove()


def test_a_chat_with_another_model(transferred: ContinuousMemory):
    chat = ChatComem(memory=transferred, k=1, max_tokens=8)
    answer = chat.invoke("The door?")
    assert answer.response_metadata["model_name"] == "tiny-qwen2-0"
    assert answer.text == transferred.answer("The door?", k=1, max_new_tokens=8).text


def test_another_hidden_size_is_refused_before_anything_is_opened(tmp_path: Path):
    folder, adapter = save_tiny(tmp_path / "model")
    small = Qwen2Config(**CHATML.text_config | {"hidden_size": 32})
    Qwen2ForCausalLM(small).save_pretrained(tmp_path / "small")
    tiny_backbone("qwen2").prompts.tokenizer.save_pretrained(tmp_path / "small")
    with pytest.raises(ModelError, match=r"makes vectors of hidden_size 64 .*small reads vectors of 32. Answer with"):
        ContinuousMemory.from_pretrained(
            str(folder),
            adapter,
            tmp_path / "memory",
            answering_model=str(tmp_path / "small"),
            key=tiny_key(),
        )
    assert not (tmp_path / "memory").exists()


def test_a_memory_is_opened_with_an_answering_model(tmp_path: Path):
    folder, adapter = save_tiny(tmp_path / "model")
    tiny_backbone("qwen2").model.save_pretrained(tmp_path / "reader")
    tiny_backbone("qwen2").prompts.tokenizer.save_pretrained(tmp_path / "reader")
    opened = ContinuousMemory.from_pretrained(
        str(folder), adapter, answering_model=str(tmp_path / "reader"), key=tiny_key()
    )
    with opened as memory:
        memory.add(DOOR)
        assert not memory.backbone.prompts.supports_images and memory.encoder.backbone.prompts.supports_images
        prompt = memory.backbone.prompts.prompt_inputs([{"role": "user", "content": "The door?"}])
        [tokens] = tiny_backbone("qwen2").generate(
            [prompt], [memory.get("door")[0].memory_embeddings], max_new_tokens=8
        )
        assert memory.answer("The door?", max_new_tokens=8).text == memory.backbone.decode(tokens)


# Async


def test_async_twins(filled: ContinuousMemory, tmp_path: Path):
    async def use() -> None:
        assert await filled.aadd(MemoryItem(id="new", text="New.")) == ["new"]
        assert [hit.id for hit in await filled.aget(["new", "door"])] == ["new", "door"]
        await filled.aupdate("new", text="Newer.")
        assert (await filled.aget("new"))[0].text == "Newer."
        assert await filled.adelete(ids="new") == 1
        assert await filled.acount() == 3
        assert await filled.aexport(tmp_path / "export") == 3
        assert await filled.namespace("copy").aload(tmp_path / "export") == 3
        assert await filled.namespace("copy").aclear() == 3
        assert await filled.adescribe("door", max_new_tokens=5) == filled.describe("door", max_new_tokens=5)
        assert await filled.areencode() == 3
        assert await filled.arekey() == 3
        assert await filled.asearch("cat", tiny_picture(1), k=2) == filled.search("cat", tiny_picture(1), k=2)
        answer = filled.answer("cat?", k=2, max_new_tokens=8)
        assert await filled.aanswer("cat?", k=2, max_new_tokens=8) == answer
        assert "".join([piece async for piece in filled.astream("cat?", k=2, max_new_tokens=8)]).strip() == answer.text
        with pytest.raises(QueryError):
            await filled.aanswer("cat?", k=0)
        with pytest.raises(QueryError):
            async for _ in filled.astream("cat?", mode="magic"):
                pass

    asyncio.run(use())


AT_THE_END = f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from comem_memory import MemoryItem
from comem_memory.testing import tiny_backbone, tiny_encoder
from helpers.memories import embedded

memory = embedded(tiny_encoder(tiny_backbone("llava")), Path(sys.argv[1]))
long = {{"mode": "none", "max_new_tokens": 900, "min_new_tokens": 900}}

async def work():
    async for _ in memory.astream("cat?", **long):
        break
    asyncio.create_task(memory.aadd([MemoryItem(id=str(n), text=f"Item {{n}}.") for n in range(20)]))
    await asyncio.sleep(0)

asyncio.run(work())
left = memory.stream("cat?", **long)
next(left)
"""


def test_a_process_that_ends_finishes_what_it_began_to_store_and_leaves_answers_alone(
    llava: MemoryEncoder, tmp_path: Path
):
    ended = subprocess.run([sys.executable, "-c", AT_THE_END, tmp_path], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    with embedded(llava, tmp_path) as memory:
        assert memory.count() == 20


def test_the_event_loop_goes_on_while_the_model_works(filled: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    def slow(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            time.sleep(0.8)
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(ChromaStore, "search", slow(ChromaStore.search))
    monkeypatch.setattr(Backbone, "generate", slow(Backbone.generate))

    async def longest_pause(work: Any) -> float:
        longest, last, done = 0.0, time.perf_counter(), asyncio.ensure_future(work)
        while not done.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        await done
        return longest

    async def consume() -> None:
        async for _ in filled.astream("cat?", max_new_tokens=4):
            pass

    assert asyncio.run(longest_pause(filled.aanswer("cat?", max_new_tokens=4))) < 0.7
    assert asyncio.run(longest_pause(consume())) < 0.7


# Opening with a model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def other_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_tiny(tmp_path_factory.mktemp("other"), seed=5)


def test_a_model_without_adapter_is_refused_before_it_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(Backbone, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(AdapterError, match=r"No adapter was given for Qwen/Qwen2.5-VL-7B-Instruct. Pass adapter="):
        ContinuousMemory.from_pretrained("Qwen/Qwen2.5-VL-7B-Instruct")
    with pytest.raises(AdapterError, match=r"lacks config.json, .*save_pretrained"):
        ContinuousMemory.from_pretrained("some/model", tmp_path)
    (tmp_path / "letter.txt").write_text("precious")
    with pytest.raises(StoreLocationError, match="Pass an empty"):
        ContinuousMemory.from_pretrained("some/model", tmp_path, tmp_path)


def test_a_persistent_memory(folders: tuple[Path, Path], tmp_path: Path):
    with ContinuousMemory.from_pretrained(*folders, tmp_path / "memory", key=tiny_key()) as memory:
        memory.add([DOOR, CAT])
        answer = memory.answer("cat?", max_new_tokens=4).text
    with ContinuousMemory.from_pretrained(
        adapter=folders[1], persist_directory=tmp_path / "memory", key=tiny_key()
    ) as memory:
        assert memory.answer("cat?", max_new_tokens=4).text == answer
        assert same_picture(memory.get("cat")[0].image, CAT.image)
        assert (tmp_path / "memory") in Path(memory.get("cat")[0].image or "").parents


def test_collections_in_one_directory_are_apart(folders: tuple[Path, Path], tmp_path: Path):
    def opened(name: str) -> ContinuousMemory:
        return ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key(), collection_name=name)

    with opened("first") as first, opened("second") as second:
        first.add(MemoryItem(id="a", image=tiny_picture(1)))
        second.add(MemoryItem(id="a", image=tiny_picture(2)))
        assert same_picture(first.get("a")[0].image, tiny_picture(1))
        second.clear()
        assert same_picture(first.get("a")[0].image, tiny_picture(1))


def test_a_memory_that_is_there_is_opened_once(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key()) as memory:
        memory.add(DOOR)
    real, opened = directories.embedded_client, []
    monkeypatch.setattr(directories, "embedded_client", lambda path: opened.append(path) or real(path))
    monkeypatch.setattr(opening, "default_key", tiny_key)
    with ContinuousMemory.from_pretrained(*folders, tmp_path) as memory:
        assert memory.count() == 1
    assert opened == [str(tmp_path / "chroma")]
    with pytest.raises(CheckpointError):
        ContinuousMemory.from_pretrained(str(folders[0]), tmp_path / "nothing", tmp_path)
    assert not is_locked(tmp_path)


def test_another_adapter_is_refused_or_migrated(
    folders: tuple[Path, Path], other_folders: tuple[Path, Path], tmp_path: Path
):
    with ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key(), reencode=True) as memory:
        memory.add([DOOR, CAT])
        old = memory.encoder.fingerprint
    with pytest.raises(EncoderMismatchError) as caught:
        ContinuousMemory.from_pretrained(*other_folders, tmp_path, key=tiny_key())
    assert str(old) in str(caught.value)
    assert "reencode()" in str(caught.value)
    picture = next((tmp_path / "pictures").rglob("*.png"))
    picture.rename(tmp_path / "away.png")
    with pytest.raises(InvalidItemError, match="'cat'"):
        ContinuousMemory.from_pretrained(*other_folders, tmp_path, key=tiny_key(), reencode=True)
    (tmp_path / "away.png").rename(picture)
    with ContinuousMemory.from_pretrained(*other_folders, tmp_path, key=tiny_key(), reencode=True) as memory:
        assert_encodes(memory.get("cat")[0].memory_embeddings, fresh(memory.encoder, CAT))
    with pytest.raises(EncoderMismatchError):
        ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key())


def test_a_memory_with_the_earlier_default_key_opens_with_it_and_gets_new_keys_when_asked(
    folders: tuple[Path, Path], other_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    thai = MemoryItem(id="code", text="ตู้เซฟมีรหัส 4711")
    with ContinuousMemory.from_pretrained(*folders, tmp_path, key="all-MiniLM-L6-v2") as memory:
        memory.add([DOOR, CAT, FLAG, thai])
        stored = memory.store.identity
        assert stored.key_name == (
            "0.5 sentence-transformers 8b49528620dc + 0.5 efficientnet-lite0-v1 abcc8d0e 515652b96055"  # as 0.1.0 wrote
        )
        old = {one.id: one for one in all_records(memory)}
    monkeypatch.setattr(MemoryEncoder, "encode", lambda *_, **__: pytest.fail("a vector was encoded"))
    with monkeypatch.context() as patch:
        patch.setitem(opening.KEYS, opening.DEFAULT_KEY, lambda: pytest.fail("the new default key was fetched"))
        patch.setattr(RetrievalKey, "item_keys", lambda *_: pytest.fail("an item was embedded"))
        with ContinuousMemory.from_pretrained(*folders, tmp_path, reencode=True) as memory:
            assert memory.store.identity == stored, "nothing is to be done"
        with ContinuousMemory.from_pretrained(*folders, tmp_path) as memory:
            assert memory.store.identity == stored and memory.key.name == stored.key_name
            assert memory.search("Which metal opens that entrance?", k=1)[0].id == "door"
    with pytest.raises(EncoderMismatchError, match=r"key=.* rekey\(\) .*rekey=True.* `comem rekey`"):
        ContinuousMemory.from_pretrained(*folders, tmp_path, key="multilingual-e5-small")
    with pytest.raises(EncoderMismatchError, match="reencode=True"):
        ContinuousMemory.from_pretrained(*other_folders, tmp_path, rekey=True)
    with ContinuousMemory.from_pretrained(*folders, tmp_path, rekey=True) as memory:
        assert {one.id: one.block for one in all_records(memory)} == {id: one.block for id, one in old.items()}
        assert all((one.key != old[one.id].key).any() for one in all_records(memory) if one.text)
        new = memory.store.identity.key_name
    with ContinuousMemory.from_pretrained(*folders, tmp_path) as memory:
        assert memory.key.name == new != stored.key_name
        assert memory.search("What is the combination of the safe?", k=1)[0].id == "code"
        assert memory.search(image=FLAG.image, k=1)[0].id == "flag"


def test_pictures_of_a_memory_without_directory_go_with_it(folders: tuple[Path, Path]):
    memory = ContinuousMemory.from_pretrained(*folders, key=tiny_key())
    memory.namespace("bob").add(CAT)
    kept = memory._pictures.folder
    assert kept is not None
    assert len(list(kept.rglob("*.png"))) == 1
    memory.close()
    assert not kept.exists()
    memory.close()
    forgotten = ContinuousMemory.from_pretrained(*folders, key=tiny_key())
    kept, view = forgotten._pictures.folder, forgotten.namespace("bob")
    del forgotten
    gc.collect()
    view.add(CAT)
    assert kept is not None
    assert kept.exists()
    holder = [view]
    del view
    with pytest.warns(ResourceWarning):
        holder.clear()
    assert not kept.exists()


def test_the_default_key(folders: tuple[Path, Path]):
    with ContinuousMemory.from_pretrained(*folders) as memory:
        memory.add([DOOR, CAT, FLAG])
        assert memory.search("Which metal opens that entrance?", k=1)[0].id == "door"
        assert memory.search(image=tiny_picture(2), k=1)[0].id == "flag"
        assert memory.key.name == memory.store.identity.key_name


def test_a_memory_on_a_server(folders: tuple[Path, Path], tmp_path: Path):
    with chroma_server(tmp_path / "server") as url:
        options: dict[str, Any] = {"chroma_url": url, "key": tiny_key()}
        with ContinuousMemory.from_pretrained(*folders, tmp_path / "local", **options) as memory:
            memory.add([DOOR, CAT])
            with ContinuousMemory.from_pretrained(*folders, **options) as shared:
                assert shared.search("the blue door", k=1)[0].id == "door"
                assert torch.equal(shared.get("cat")[0].memory_embeddings, memory.get("cat")[0].memory_embeddings)
                with pytest.raises(InvalidItemError, match="persist_directory"):
                    shared.add(FLAG)
                assert shared.namespace("bob").count() == 0
            assert same_picture(memory.get("cat")[0].image, CAT.image)
    with pytest.raises(StoreLocationError, match="chroma run"):
        ContinuousMemory.from_pretrained(*folders, chroma_url="http://127.0.0.1:9", key=tiny_key())


def test_a_directory_that_a_server_took_over(folders: tuple[Path, Path], tmp_path: Path):
    with ContinuousMemory.from_pretrained(*folders, tmp_path, key=tiny_key()) as memory:
        memory.add([DOOR, CAT])
    with (
        chroma_server(tmp_path / "chroma") as url,
        ContinuousMemory.from_pretrained(*folders, tmp_path, chroma_url=url, key=tiny_key()) as memory,
    ):
        assert same_picture(memory.get("cat")[0].image, CAT.image)
        memory.update("cat", text="On a server now.")
        assert same_picture(memory.get("cat")[0].image, CAT.image)


def test_threads_share_a_memory(filled: ContinuousMemory):
    alone = filled.answer("cat?", k=2, max_new_tokens=6).text

    def work(number: int) -> str:
        view = filled.namespace(f"n{number % 3}")
        view.add([MemoryItem(id=f"{number}", text=f"Item {number}.", image=tiny_picture(number))])
        return filled.answer("cat?", k=2, max_new_tokens=6).text

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(12))) == {alone}
    assert [filled.namespace(f"n{number}").count() for number in range(3)] == [4, 4, 4]
