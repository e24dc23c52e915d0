"""A memory that a server in another process owns, used as one that is opened here."""

import asyncio
import json
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.memories import CAT, DOOR, FLAG, same_picture
from helpers.processes import run
from helpers.proxy import one_answer_per_connection
from helpers.server_process import server_process
from helpers.tools import ADD

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.answers import Answer, Replied
from comem_memory.chat import ChatSettings, NamedItems
from comem_memory.content import locations_of, with_texts
from comem_memory.errors import (
    AccessError,
    ComemError,
    DuplicateIdError,
    ItemTooLongError,
    LimitError,
    NotPicklableError,
    NotServedError,
    QueryError,
    RateLimitError,
    RequestError,
    StoreClosedError,
    StoreConnectionError,
    TokenError,
)
from comem_memory.integrations.failures import deliver
from comem_memory.server.tokens import new_token
from comem_memory.testing import tiny_memory, tiny_picture
from comem_memory.types import with_notes

QUESTION = "What opens the blue door?"
ASKED = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server_process(tmp_path_factory.mktemp("served") / "memory", window=16384) as server:
        yield server.url


@pytest.fixture
def memory(url: str) -> Iterator[ContinuousMemory]:
    with ContinuousMemory.connect(url) as memory:
        for name in memory.namespaces():
            memory.namespace(name).clear()
        yield memory


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    """The same memory, opened here: what each method gives is compared with it."""
    with tiny_memory(tmp_path_factory.mktemp("local")) as memory:
        memory.encoder.backbone.model.config.get_text_config().max_position_embeddings = 16384
        yield memory


@pytest.fixture
def both(memory: ContinuousMemory, local: ContinuousMemory) -> tuple[ContinuousMemory, ContinuousMemory]:
    """The one of the server and the one here, with the same items."""
    for name in local.namespaces():
        local.namespace(name).clear()
    for one in (memory, local):
        one.add([DOOR, CAT.model_copy(update={"image": None}), MemoryItem(id="tea", text="Ada drinks green tea.")])
    return memory, local


def told(hits: Any) -> Any:
    """What hits say, without times."""
    return [
        (hit.id, hit.text, hit.metadata, hit.notes, hit.found_by, hit.similarity, hit.similarity_of_texts)
        for hit in hits
    ]


class TestItems:
    def test_an_item_comes_back_as_it_was_given(self, memory: ContinuousMemory, local: ContinuousMemory):
        item = MemoryItem(
            id="a/door #1?",
            text="The blue door.",
            image=tiny_picture(1),
            metadata={"year": 2020, "author": {"name": "Ada"}, "tags": ["a"], "open": True},
            said_at="2026-05-03T18:30:00+02:00",
            expires=timedelta(days=1),
        )
        assert memory.add(with_notes(item, {"comem.chat.role": "user"})) == ["a/door #1?"]
        [hit] = memory.get("a/door #1?")
        assert (hit.text, hit.metadata, hit.notes) == (item.text, item.metadata, {"comem.chat.role": "user"})
        assert hit.said_at == "2026-05-03T18:30:00.000000+02:00" and hit.created_at < (hit.expires or "")
        assert same_picture(hit.image, item.image)
        made = local.encode(item)
        assert memory.encode(item).content_hashes == made.content_hashes
        torch.testing.assert_close(memory.encode(item).vectors, made.vectors)
        np.testing.assert_array_equal(memory.encode(item).keys, made.keys)
        torch.testing.assert_close(hit.memory_embeddings, made.vectors[0], atol=0.02, rtol=0.02)
        assert memory.same_content([item, MemoryItem(text="Other.")]) == [["a/door #1?"], []]
        copied = pickle.loads(pickle.dumps(hit))
        assert copied.image == hit.image and torch.equal(copied.memory_embeddings, hit.memory_embeddings)

    def test_pictures_travel_both_ways_whatever_they_are_given_as(self, memory: ContinuousMemory, tmp_path: Path):
        path = tmp_path / "flag.png"
        tiny_picture(2).save(path)
        for id, image in (("path", path), ("bytes", path.read_bytes()), ("opened", tiny_picture(2))):
            memory.add(MemoryItem(id=id, image=image))
        hits = memory.search(image=path, k=3)
        assert {hit.id for hit in hits} == {"path", "bytes", "opened"}
        assert all(str(hit.image_location).startswith("http") for hit in hits)
        assert [str(one) for one in Path(hits[0].image or "").parent.iterdir()] == [hits[0].image]  # no other came
        assert all(same_picture(hit.image, FLAG.image) and hit.image != str(path) for hit in hits)
        memory.update("path", image=tiny_picture(3))
        [changed] = memory.get("path")
        assert same_picture(changed.image, tiny_picture(3))
        kept = Path(changed.image or "")
        memory.close()
        assert not kept.exists()

    def test_items_of_several_parts_are_those_of_the_memory_itself(
        self, memory: ContinuousMemory, local: ContinuousMemory, tmp_path: Path
    ):
        path = tmp_path / "home.png"
        tiny_picture(1).save(path)
        content = ["Home.", path, tiny_picture(2), {"type": "text", "text": "Click Orders."}, path.read_bytes()]
        item = MemoryItem(id="steps", text="Return a lamp", content=content, metadata={"year": 2026})
        long = MemoryItem(id="long", content=[tiny_picture(1), *(f"Click number {n}." for n in range(99))], thin=True)
        before = list(Path(memory.source.folder).iterdir())  # type: ignore[attr-defined]
        for one in (memory, local):
            one.clear()
            assert one.add([item, long]) == ["steps", "long"]
        assert memory.encode([item, long]).content_hashes == local.encode([item, long]).content_hashes
        assert memory.same_content([item]) == local.same_content([item]) == [["steps"]]
        assert told(memory.search("Return a lamp", k=2, min_similarity=-1)) == told(
            local.search("Return a lamp", k=2, min_similarity=-1)
        )
        for hit, wanted in zip(memory.get(["steps", "long"]), local.get(["steps", "long"]), strict=True):
            assert (hit.full_text, hit.left_out, hit.truncated) == (wanted.full_text, wanted.left_out, wanted.truncated)
            assert bool(hit.left_out) == (hit.id == "long")
            assert [part["type"] for part in hit.content_locations or ()] == [
                part["type"] for part in wanted.content_locations or ()
            ]
            assert list(Path(memory.source.folder).iterdir()) == before  # type: ignore[attr-defined]  # none came
            assert len(hit.content or ()) == len(wanted.content or ())
            for part, other in zip(hit.content or (), wanted.content or (), strict=True):
                assert part == other if isinstance(other, str) else same_picture(part, other)
            assert same_picture(hit.image, wanted.image)
            torch.testing.assert_close(hit.memory_embeddings, wanted.memory_embeddings)
            assert pickle.loads(pickle.dumps(hit)).content == hit.content
            renamed = replace(hit, text="Renamed.")
            assert renamed.content == hit.content and renamed.image_location == renamed.image == hit.image
            assert renamed.content_locations == locations_of(hit.content)
            assert renamed.full_text == with_texts("Renamed.", hit.content or ())
            before = list(Path(memory.source.folder).iterdir())  # type: ignore[attr-defined]
        for mode in ("text", "both", "memory"):
            answers = [one.answer("What is clicked?", k=1, mode=mode, max_new_tokens=4) for one in (memory, local)]
            assert answers[0].text == answers[1].text and answers[0].prompt_tokens == answers[1].prompt_tokens
        for one in (memory, local):
            with pytest.raises(ItemTooLongError):
                one.update("steps", content=long.content)
            one.update("steps", content=long.content, thin=True)
            assert one.get("steps")[0].left_out
            one.update("steps", content=[tiny_picture(3), "Done.", "Well."])
        [hit], [wanted] = memory.get("steps"), local.get("steps")
        assert hit.text == wanted.text and hit.full_text == wanted.full_text
        assert same_picture((hit.content or ())[0], tiny_picture(3)) and (hit.content or ())[1:] == ("Done.", "Well.")

    def test_finding_counting_changing_and_forgetting(
        self, both: tuple[ContinuousMemory, ContinuousMemory], monkeypatch: pytest.MonkeyPatch
    ):
        for one in both:
            one.update("tea", text="Ada drinks black tea.", metadata={"year": 2022})
            one.add(MemoryItem(id="milk", text="Ada drinks milk now.", supersedes="tea"))
        memory, local = both
        for ask in (
            {"text": QUESTION, "k": 2},
            {"text": "Ada drinks", "where": {"year": {"$gte": 2021}}, "min_similarity": -1.0},
            {"text": "Ada drinks", "k": 3, "diversity": 0.5, "candidates": 3, "min_similarity": -1.0},
        ):
            assert told(memory.search(**ask)) == told(local.search(**ask)) != []
        assert memory.search_turn(ASKED, k=1)[0].id == "door"
        assert memory.ids() == local.ids() and memory.ids(history=True) == local.ids(history=True)
        assert memory.ids(where={"year": 2020}) == ["door"]
        assert memory.count() == local.count() == 3
        assert told(memory.scan()) == told(local.scan())
        assert [hit.id for hit in memory.newest()] == [hit.id for hit in local.newest()] == ["milk", "cat", "door"]
        beyond = memory.newest(limit=1, offset=1, where={"year": 2020})
        assert beyond == [] and beyond.total == 1
        with monkeypatch.context() as patch:
            patch.setattr("comem_memory.client.remote_memory.PAGE", 2)
            assert told(memory.newest()) == told(local.newest())
            assert memory.newest().total == local.newest(limit=1).total == 3
            assert told(memory.newest(limit=2, offset=1)) == told(local.newest(limit=2, offset=1)) != []
        assert [hit.id for hit in memory.history("milk")] == ["tea", "milk"]
        assert [hit.superseded_by for hit in memory.get(["tea", "milk", "none"], skip_missing=True)] == ["milk", None]
        assert memory.get([]) == []
        assert memory.delete(ids=["door", "none"]) == 1 and memory.delete(where={"year": 2021}) == 1
        assert memory.clear() == 2 and memory.count() == 0

    def test_numbers_of_numpy(self, memory: ContinuousMemory):
        memory.add(DOOR)
        memory.update("door", metadata={"year": np.int64(2021), "open": np.bool_(True)})
        assert memory.count(where={"year": {"$gt": np.float32(2020.5)}}) == 1
        assert memory.get("door")[0].metadata == {"year": 2021, "open": True}

    def test_namespaces_stay_apart(self, memory: ContinuousMemory):
        ada, below = memory.namespace("ada"), memory.namespace("ada/notes")
        ada.add("Ada's secret.")
        below.add("A note.")
        assert memory.count() == 0 and ada.count() == 1
        assert memory.namespaces() == ["ada", "ada/notes"] and ada.namespaces_below() == ["ada/notes"]
        with pytest.raises(QueryError, match="sees namespace 'ada' alone"):
            ada.namespaces()
        ada.close()
        assert ada.count() == 1, "closing a view leaves the connection open"

    def test_more_items_than_a_request_takes(self, tmp_path: Path):
        with (
            server_process(tmp_path / "few", settings={"max_items": 3}) as server,
            ContinuousMemory.connect(server.url) as memory,
        ):
            ids = memory.add(f"Note {number}." for number in range(8))
            assert len(set(ids)) == 8 and memory.count() == 8
            assert memory.encode([f"Note {number}." for number in range(8)]).ids == ids
            assert [hit.id for hit in memory.get(ids)] == ids
            texts = [f"Note {number}." for number in range(8)]
            assert memory.same_content([MemoryItem(text=text) for text in texts]) == [[id] for id in ids]
            np.testing.assert_array_equal(memory.embed(texts)[7], memory.embed(texts[7:])[0])
            given = [MemoryItem(id="a", text=str(number)) for number in range(4)]
            with pytest.raises(DuplicateIdError, match="two items|Two items"):
                memory.add(given)
            with pytest.raises(DuplicateIdError, match="Two items of this call have the id 'b'"):
                memory.add([MemoryItem(id="b", text="1"), "2", "3", MemoryItem(id="b", text="4")])

    def test_more_bytes_than_a_request_takes(self, tmp_path: Path):
        with (
            server_process(tmp_path / "small", settings={"max_body_bytes": 20_000}) as server,
            ContinuousMemory.connect(server.url) as memory,
        ):
            ids = memory.add((f"Note {number}. " * 500 for number in range(8)), truncate=True)
            assert len(set(ids)) == 8 and memory.count() == 8

    def test_a_picture_that_many_threads_look_at(self, memory: ContinuousMemory):
        memory.add(FLAG)
        hits = [memory.get(str(FLAG.id))[0] for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            paths = list(threads.map(lambda hit: hit.image, hits))
        assert len(set(paths)) == 1 and same_picture(paths[0], FLAG.image)

    def test_what_else_adapters_ask(self, both: tuple[ContinuousMemory, ContinuousMemory]):
        memory, local = both
        assert memory.info == local.info and memory.mode == local.mode and memory.keeps_pictures
        assert memory.order == local.order == "best_last"
        assert (memory.name, memory.namespace("bob").name, memory.precision) == ("default", "bob", "int8")
        np.testing.assert_array_equal(memory.embed(["tea"]), local.embed(["tea"]))
        assert memory.token_ids("Message") == local.token_ids("Message")
        twice = [MemoryItem(id="a", text="Ada drinks green tea."), MemoryItem(id="a", text="Other.")]
        assert memory.same_content(twice) == local.same_content(twice) == [["tea"], []]
        assert memory.next_moment() > time.time() * 1e6 - 60e6
        assert memory.source is memory.namespace("bob").source is not local.source
        memory.add(MemoryItem(id="soon", text="Soon.", expires=timedelta(seconds=30)))
        memory.postpone(["soon", "door"], timedelta(days=2))
        soon, door = memory.get(["soon", "door"])
        assert soon.expires is not None and soon.expires > door.created_at and door.expires is None


class TestAnswers:
    def test_they_are_those_of_the_model_itself(self, both: tuple[ContinuousMemory, ContinuousMemory]):
        memory, local = both
        for mode in ("memory", "text", "both", "none"):
            answer, expected = (one.answer(QUESTION, k=2, mode=mode, max_new_tokens=8) for one in both)
            tokens, wanted = ((one.prompt_tokens, one.completion_tokens) for one in (answer, expected))
            assert (answer.text, tokens) == (expected.text, wanted) and answer.completion_tokens
            assert [hit.id for hit in answer.hits] == [hit.id for hit in expected.hits]
            assert "".join(memory.stream(QUESTION, k=2, mode=mode, max_new_tokens=8)).strip() == expected.text
        *said, whole = memory.stream_answer(QUESTION, max_new_tokens=8)
        assert isinstance(whole, Answer) and "".join(said).strip() == whole.text  # type: ignore[arg-type]
        sampled = {"do_sample": True, "temperature": 2.0, "seed": 3, "max_new_tokens": 8}
        assert memory.answer(QUESTION, **sampled).text == local.answer(QUESTION, **sampled).text
        described = memory.describe("door", max_new_tokens=8)
        assert described == local.describe("door", max_new_tokens=8) and described.text == DOOR.text

    def test_a_conversation_with_pictures_tools_and_named_items(self, both: tuple[ContinuousMemory, ContinuousMemory]):
        turns = [
            {"role": "user", "content": [{"type": "image", "image": tiny_picture(5)}, {"type": "text", "text": "Hm?"}]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "id": "1", "function": {"name": "add", "arguments": {"a": 1}}}],
            },
            {"role": "tool", "content": "1", "tool_call_id": "1", "name": "add"},
            {"role": "user", "content": [], "named": NamedItems(("tea", "gone"), "Tea.", "both")},
            *ASKED,
        ]
        settings = ChatSettings(max_tokens=8, tools=[ADD], stop=["never"])
        replied, expected = (one.reply(turns, settings) for one in both)
        assert replied.reply == expected.reply and [hit.id for hit in replied.hits] == ["tea"]
        *said, whole = both[0].stream_reply(turns, settings)
        assert isinstance(whole, Replied) and whole.reply == expected.reply
        assert "".join(said).strip() == whole.reply.text  # type: ignore[arg-type]
        forced = ChatSettings(max_tokens=200, tools=[ADD], tool_choice="add", seed=1)
        made, wanted = (one.reply(ASKED, forced, k=0).reply for one in both)
        assert made.finish_reason == "tool_calls" and made.tool_calls[0].arguments == wanted.tool_calls[0].arguments
        schema = ChatSettings(max_tokens=40, schema={"type": "object", "properties": {"a": {"type": "integer"}}})
        assert (
            both[0].reply(ASKED, schema, ids=["door"]).reply.text
            == both[1].reply(ASKED, schema, ids=["door"]).reply.text
        )

    def test_giving_up_stops_the_model(self, memory: ContinuousMemory):
        memory.add(DOOR)
        long: dict[str, Any] = {"max_new_tokens": 1000, "min_new_tokens": 1000}
        started = time.monotonic()
        stopped = threading.Event()
        pieces = memory.stream(QUESTION, stopped=stopped, **long)
        assert next(pieces)
        stopped.set()
        list(pieces)
        abandoned = memory.stream(QUESTION, **long)
        assert next(abandoned)
        abandoned.close()  # type: ignore[attr-defined]
        stopped = threading.Event()
        threading.Timer(0.5, stopped.set).start()
        assert isinstance(memory.answer(QUESTION, stopped=stopped, **long), Answer)
        taken = time.monotonic() - started
        whole = time.monotonic()
        memory.answer(QUESTION, **long)
        assert taken < 3 * (time.monotonic() - whole), "three that were given up cost less than three whole ones"

    async def test_a_task_that_is_cancelled_stops_the_model(self, memory: ContinuousMemory):
        memory.add(DOOR)
        long: dict[str, Any] = {"max_new_tokens": 1000, "min_new_tokens": 1000}
        waiting = [asyncio.create_task(memory.aanswer(QUESTION, **long)) for _ in range(4)]
        await asyncio.sleep(0.5)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        started = time.monotonic()
        await memory.aanswer(QUESTION, max_new_tokens=2)
        quick = time.monotonic() - started
        started = time.monotonic()
        await memory.aanswer(QUESTION, **long)
        assert quick < time.monotonic() - started

    async def test_async_twins(self, memory: ContinuousMemory):
        [id] = await memory.aadd("The brass key opens the blue door.")
        assert (await memory.aget(id))[0].id == (await memory.asearch(QUESTION))[0].id == id
        assert await memory.acount() == len(await memory.anewest()) == 1 and await memory.anamespaces() == ["default"]
        text = (await memory.aanswer(QUESTION, max_new_tokens=4)).text
        assert "".join([piece async for piece in memory.astream(QUESTION, max_new_tokens=4)]).strip() == text
        replied = await memory.areply(ASKED, ChatSettings(max_tokens=4))
        assert [piece async for piece in memory.astream_reply(ASKED, ChatSettings(max_tokens=4))][-1] == replied
        assert (await memory.adescribe(id, max_new_tokens=4)).text is not None
        assert await memory.adelete(ids=id) == 1 and await memory.aclear() == 0


def test_agents_of_both_frameworks_load_no_model(url: str):
    script = """
        import asyncio, gc, json
        import torch
        from langchain.agents import create_agent
        from llama_index.core.base.llms.types import ChatMessage
        from llama_index.core.memory import Memory
        from comem_memory import ContinuousMemory
        from comem_memory.integrations.langchain import ChatComem, ComemMiddleware
        from comem_memory.integrations.llama_index import ComemLLM, ComemMemoryBlock

        with ContinuousMemory.connect(sys.argv[1], namespace="agents") as memory:
            agent = create_agent(ChatComem(memory=memory, max_tokens=4), middleware=[ComemMiddleware(memory)])
            agent.invoke({"messages": [{"role": "user", "content": "The brass key opens the blue door."}]})
            asked = {"messages": [{"role": "user", "content": "What opens the blue door?"}]}
            given = agent.invoke(asked)["messages"][-1].response_metadata["memory_ids"]
            block = ComemMemoryBlock(memory=memory)
            recalled = asyncio.run(block.aget([ChatMessage("What opens the blue door?")]))
            told = ComemLLM(memory=memory, max_tokens=4).chat(recalled + [ChatMessage("What opens it?")])
            weights = sum(one.numel() for one in gc.get_objects() if isinstance(one, torch.nn.Parameter))
            print(json.dumps([given == memory.ids() == told.raw["memory_ids"], len(given), weights]))
    """
    assert json.loads(run(script, url).splitlines()[-1]) == [True, 1, 0]


class TestErrors:
    @pytest.mark.parametrize(
        "call",
        [
            lambda one: one.get("none"),
            lambda one: one.get(3),
            lambda one: one.search(),
            lambda one: one.search("tea", k=0),
            lambda one: one.search("tea", recency=2),
            lambda one: one.newest(limit=0),
            lambda one: one.newest(offset=-1),
            lambda one: one.search("tea", min_similarity=5),
            lambda one: one.search("tea", where={"year": {"$near": 1}}),
            lambda one: one.search(image="nothing.png"),
            lambda one: one.add("x" * 100_000),
            lambda one: one.add(MemoryItem(id="new", text="New.", supersedes="none")),
            lambda one: one.add([MemoryItem(id="same", text="1"), MemoryItem(id="same", text="2")]),
            lambda one: one.update("none", text="New."),
            lambda one: one.delete(),
            lambda one: one.history("none"),
            lambda one: one.describe("none"),
            lambda one: one.answer(" "),
            lambda one: one.answer(QUESTION, k=0),
            lambda one: one.answer(QUESTION, mode="all"),
            lambda one: one.reply(ASKED, mode="all"),
            lambda one: one.reply(ASKED, ids=["none"]),
            lambda one: one.reply(ASKED, ChatSettings(tools=[ADD], tool_choice="other")),
            lambda one: one.reply([{"role": "user", "content": ""}]),
            lambda one: one.reply([{"role": "user", "content": "long " * 20_000}], k=0),
            lambda one: one.namespace(""),
        ],
    )
    def test_they_are_the_same_as_here(self, both: tuple[ContinuousMemory, ContinuousMemory], call: Any):
        raised = []
        for one in both:
            with pytest.raises(ComemError) as error:
                call(one)
            raised.append((error.type, str(error.value)))
        assert raised[0] == raised[1]

    def test_what_only_the_owner_can_do(self, memory: ContinuousMemory):
        for call in (memory.reencode, memory.rekey, lambda: memory.prepare(QUESTION), lambda: memory.recall(ASKED)):
            with pytest.raises(NotServedError, match="Open the memory where it lies, with ContinuousMemory.from_pretr"):
                call()
        for name in ("encoder", "key", "store", "backbone"):
            with pytest.raises(NotServedError, match=f"A server does not give the memory's {name}"):
                getattr(memory, name)
        assert not hasattr(memory, "nothing")
        with pytest.raises(QueryError, match="A server takes no 'logits_processor'"):
            memory.answer(QUESTION, logits_processor=[])
        with pytest.raises(NotPicklableError, match="connect there"):
            pickle.dumps(memory)

    def test_tokens_open_what_they_say(self, tmp_path: Path):
        file = tmp_path / "tokens.json"
        ada = new_token(file, name="ada", namespaces=["ada", "ada/*"], writes=True)
        guest = new_token(file, name="guest", namespaces=["ada"], writes=False)
        with server_process(tmp_path / "memory", tokens=file) as server:
            url = server.url
            with ContinuousMemory.connect(url, ada) as memory:
                assert memory.name == "ada"
                memory.add("Ada's secret.")
                memory.namespace("ada/notes").add("A note.")
                assert memory.namespaces() == ["ada", "ada/notes"]
                with pytest.raises(AccessError, match="does not open the namespace 'bob'"):
                    memory.namespace("bob").count()
            with ContinuousMemory.connect(url, guest) as memory:
                assert memory.count() == 1
                with pytest.raises(AccessError, match="for reading only"):
                    memory.add("Mine.")
            with pytest.raises(AccessError, match="does not open"):
                ContinuousMemory.connect(url, guest, namespace="bob")
            for token in (None, "wrong"):
                with pytest.raises(TokenError, match="wants a token|unknown"):
                    ContinuousMemory.connect(url, token)
            with pytest.raises(QueryError, match="as comem token printed it"):
                ContinuousMemory.connect(url, "wr\nong")

    def test_addresses_that_are_none(self, tmp_path: Path):
        for wrong in ("memory", "ftp://127.0.0.1", "http://"):
            with pytest.raises(QueryError, match="is no URL"):
                ContinuousMemory.connect(wrong)
        started = time.monotonic()
        with pytest.raises(StoreConnectionError, match=r"http://127.0.0.1:9 does not answer.*comem serve runs there"):
            ContinuousMemory.connect("http://127.0.0.1:9")
        assert time.monotonic() - started < 15

    def test_a_closed_memory(self, memory: ContinuousMemory):
        memory.close()
        memory.close()
        for call in (memory.count, lambda: memory.answer(QUESTION)):
            with pytest.raises(StoreClosedError, match="Connect again"):
                call()

    def test_what_is_too_large(self, tmp_path: Path):
        limits = {"max_body_bytes": 100_000, "max_picture_bytes": 2000, "max_new_tokens": 4}
        with (
            server_process(tmp_path / "memory", settings=limits) as server,
            ContinuousMemory.connect(server.url) as memory,
        ):
            with pytest.raises(LimitError):
                memory.add(MemoryItem(text="long " * 30_000), truncate=True)
            with pytest.raises(LimitError, match="Scale it down"):
                memory.add(MemoryItem(image=tiny_picture(1, size=(640, 480))))
            reply = memory.reply(ASKED, ChatSettings(max_tokens=64, generation_kwargs={"min_new_tokens": 4})).reply
            assert (reply.completion_tokens, reply.finish_reason) == (4, "length")


class TestFailures:
    def test_what_may_be_told_twice_is_where_connections_break(self, url: str):
        with one_answer_per_connection(url) as broken, ContinuousMemory.connect(broken, namespace="broken") as memory:
            for number in range(4):
                memory.add(f"Note {number}.")
            assert memory.count() == 4 and len(memory.search("Note", k=4, min_similarity=-1.0)) == 4
            memory.update(memory.ids()[0], metadata={"year": 2020})
            with pytest.raises(StoreConnectionError, match="does not answer"):
                memory.delete(where={"year": 2020})
            assert memory.delete(where={"year": 2020}) == 1, "it had not been told"

    def test_a_server_that_is_gone(self, tmp_path: Path):
        with server_process(tmp_path / "memory") as server:
            memory = ContinuousMemory.connect(server.url)
            memory.add(DOOR)
            server.signal(signal.SIGKILL)
            with memory, pytest.raises(StoreConnectionError, match="Check the URL, and that comem serve runs there"):
                memory.search(QUESTION)
        with server_process(tmp_path / "memory") as server, ContinuousMemory.connect(server.url) as memory:
            assert memory.ids() == ["door"], "what it acknowledged is there"

    def test_one_that_is_asked_too_often_for_now(self, tmp_path: Path):
        with (
            server_process(tmp_path / "memory", settings={"rate": "4/second"}) as server,
            ContinuousMemory.connect(server.url) as memory,
        ):
            started = time.monotonic()
            assert [memory.count() for _ in range(10)] == [0] * 10
            assert time.monotonic() - started > 1, "it waited as it was told"

    def test_what_was_to_be_stored_waits_for_one_that_has_no_time(self, tmp_path: Path):
        def stored(memory: ContinuousMemory) -> None:
            memory.add("Ada drinks green tea.")

        with (
            server_process(tmp_path / "memory", settings={"rate": "3/year"}) as server,
            ContinuousMemory.connect(server.url) as memory,
        ):
            with pytest.raises(RateLimitError):
                [memory.count() for _ in range(4)]
            assert not deliver(memory, {"tea": stored}, "log")
            assert not deliver(memory, {}, "log"), "it waits, and is not dropped"

    def test_one_that_is_too_slow(self, url: str):
        with ContinuousMemory.connect(url, timeout=0.3) as memory, pytest.raises(StoreConnectionError, match="in time"):
            memory.answer(QUESTION, mode="none", max_new_tokens=1000, min_new_tokens=1000)

    def test_one_that_is_no_server_of_ours(self, server_url: str):
        with pytest.raises(RequestError, match="not as a comem server does"):
            ContinuousMemory.connect(server_url)
