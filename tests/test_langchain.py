"""The LangChain adapters with tiny models, real stores and real agents."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.bare_model import bare_answer
from helpers.scripted import Scripted
from helpers.served import as_opened
from helpers.tools import add
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware, PIIMiddleware, SummarizationMiddleware
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import OutputParserException
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    trim_messages,
)
from langchain_core.prompts import ChatPromptTemplate
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import ItemNotFoundError, ModelError, QueryError
from comem_memory.integrations.langchain import (
    ChatComem,
    ComemChatMessageHistory,
    ComemMiddleware,
    ComemRetriever,
    last_turn,
)
from comem_memory.integrations.langchain.giving import _warn_of_sharing
from comem_memory.integrations.langchain.messages import memory_block, to_messages
from comem_memory.retrieval import RetrievalKey
from comem_memory.store import ChromaStore, identity_of
from comem_memory.testing import tiny_memory, tiny_picture

QUESTION = "What opens the blue door?"


@pytest.fixture(scope="module", params=["here", "served"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("memory")) as memory, as_opened(request.param, memory) as seen:
        yield seen


@pytest.fixture
def memory(shared: ContinuousMemory) -> Iterator[ContinuousMemory]:
    """Three items, two of one user and one of another."""
    shared.namespace("ada").add(
        [
            MemoryItem(id="key", text="The brass key opens the blue door.", metadata={"room": "hall"}),
            MemoryItem(id="flag", text="A flag.", image=tiny_picture(1), metadata={"room": "attic"}),
        ]
    )
    shared.namespace("bob").add(MemoryItem(id="secret", text="Bob's blue door opens with a spoon."))
    yield shared.namespace("ada")
    for name in ("ada", "bob"):
        shared.namespace(name).clear()


@pytest.fixture(scope="module")
def gemma() -> Iterator[ContinuousMemory]:
    with tiny_memory(family="gemma3") as memory:
        yield memory


@pytest.fixture
def chat(memory: ContinuousMemory) -> ChatComem:
    return ChatComem(memory=memory, max_tokens=12)


def png(seed: int) -> str:
    data = BytesIO()
    tiny_picture(seed).save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode()


@dataclass
class Context:
    user_id: str


class TestRecall:
    def test_by_itself_for_the_last_user_turn(self, chat: ChatComem, memory: ContinuousMemory):
        [hit] = memory.search(QUESTION, k=1)
        answer = chat.invoke(QUESTION, k=1)
        assert answer.response_metadata["memory_ids"] == ["key"]
        assert answer.content == bare_answer(memory.backbone, QUESTION, hit.memory_embeddings)

    def test_a_chain_s_prompt_is_searched_by_its_question(self, chat: ChatComem, memory: ContinuousMemory):
        prompt = ChatPromptTemplate.from_template(
            "Answer from the context.\n\nA flag. A flag. A flag.\n\nQuestion: {question}\nHelpful Answer:"
        )
        answer = (prompt | chat.bind(k=1)).invoke({"question": QUESTION})
        assert answer.response_metadata["memory_ids"] == ["key"]

    def test_bound_ids_best_first(self, chat: ChatComem, memory: ContinuousMemory):
        hits = memory.get(["flag", "key"])
        vectors = torch.cat([hit.memory_embeddings for hit in hits])  # the best, the first bound, comes last
        assert chat.bind(memory_ids=["key", "flag"]).invoke(QUESTION).content == bare_answer(
            memory.backbone, QUESTION, vectors
        )

    def test_no_ids_is_the_bare_model(self, chat: ChatComem, memory: ContinuousMemory):
        expected = bare_answer(memory.backbone, QUESTION)
        assert chat.bind(memory_ids=[]).invoke(QUESTION).content == expected
        assert chat.invoke(QUESTION, k=0).content == expected
        assert chat.invoke(QUESTION).content != expected

    def test_a_block_in_a_message_survives_serialisation(self, chat: ChatComem):
        message = HumanMessage([memory_block(["flag"]), {"type": "text", "text": QUESTION}])
        again = load(dumpd(message), allowed_objects="all")
        answer = chat.invoke([again])
        assert answer.response_metadata["memory_ids"] == ["flag"]
        assert answer.content == chat.bind(memory_ids=["flag"]).invoke(QUESTION).content

    def test_blocks_of_forgotten_items_are_left_out_but_bound_ids_must_exist(self, chat: ChatComem):
        message = HumanMessage([memory_block(["gone", "key"]), {"type": "text", "text": QUESTION}])
        assert chat.invoke([message]).response_metadata["memory_ids"] == ["key"]
        with pytest.raises(ItemNotFoundError, match="gone"):
            chat.invoke(QUESTION, memory_ids=["gone"])

    def test_another_user_s_items_cannot_be_named(self, chat: ChatComem):
        with pytest.raises(ItemNotFoundError, match="secret"):
            chat.invoke(QUESTION, memory_ids=["secret"])
        message = HumanMessage([memory_block(["secret"]), {"type": "text", "text": QUESTION}])
        assert chat.invoke([message]).response_metadata["memory_ids"] == []
        assert chat.invoke(QUESTION, namespace="bob").response_metadata["memory_ids"] == ["secret"]

    def test_picture_and_filter(self, chat: ChatComem):
        picture = HumanMessage([{"type": "image", "base64": png(1), "mime_type": "image/png"}])
        assert chat.invoke([picture], k=1).response_metadata["memory_ids"] == ["flag"]
        assert chat.invoke(QUESTION, where={"room": "attic"}).response_metadata["memory_ids"] == ["flag"]

    def test_memory_tokens_are_counted_apart(self, chat: ChatComem):
        usage = chat.invoke(QUESTION, k=2).usage_metadata
        assert usage is not None
        assert usage["input_token_details"] == {"memory": 16}
        without = chat.invoke(QUESTION, k=0).usage_metadata
        assert without is not None and usage["input_tokens"] == without["input_tokens"] + 16


class TestConversation:
    def test_roles_reach_the_template(self, chat: ChatComem, memory: ContinuousMemory):
        assert to_messages([ChatMessage(role="critic", content="Bad.")])[0]["role"] == "critic"
        messages = [SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello"), HumanMessage(QUESTION)]
        roles = ("system", "user", "assistant", "user")
        same = [{"role": role, "content": m.content} for role, m in zip(roles, messages, strict=True)]
        assert chat.invoke(messages, k=0).content == bare_answer(memory.backbone, same)

    def test_pictures_as_base64_and_data_urls(self, chat: ChatComem):
        standard = [{"type": "text", "text": "What?"}, {"type": "image", "base64": png(3), "mime_type": "image/png"}]
        openai = [standard[0], {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png(3)}"}}]
        file = [standard[0], {"type": "file", "base64": png(3), "mime_type": "image/png"}]
        google = [standard[0], {"type": "media", "data": png(3), "mime_type": "image/png"}]
        answers = {chat.invoke([HumanMessage(content)], k=0).text for content in (standard, openai, file, google)}
        assert len(answers) == 1
        assert answers != {chat.invoke("What?", k=0).text}

    def test_urls_and_paths_only_when_allowed(self, chat: ChatComem, tmp_path: Path):
        tiny_picture(3).save(tmp_path / "a.png")
        inline = HumanMessage([{"type": "image", "base64": png(3), "mime_type": "image/png"}])
        for named in ({"path": str(tmp_path / "a.png")}, {"url": (tmp_path / "a.png").as_uri()}):
            message = HumanMessage([{"type": "image", **named}])
            with pytest.raises(ValueError, match="allow_image_urls"):
                chat.invoke([message], k=0)
            allowed = ChatComem(memory=chat.memory, max_tokens=12, allow_image_urls=True)
            assert allowed.invoke([message], k=0).text == chat.invoke([inline], k=0).text

    def test_what_the_model_cannot_read_is_refused(self, chat: ChatComem):
        with pytest.raises(ValueError, match="audio"):
            chat.invoke([HumanMessage([{"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}])])
        with pytest.raises(ValueError, match="base64 is damaged"):
            chat.invoke([HumanMessage([{"type": "image", "base64": "A", "mime_type": "image/png"}])])

    def test_unknown_settings_are_refused(self, memory: ContinuousMemory, tmp_path: Path):
        with pytest.raises(ValueError, match="temprature"):
            ChatComem(memory=memory, temprature=1)  # type: ignore[call-arg]
        (tmp_path / "notes.txt").write_text("not a memory")
        with pytest.raises(ValueError, match="holds files but no memory"):
            ChatComem(persist_directory=str(tmp_path))

    def test_its_settings_are_saved_and_loaded(self, tmp_path: Path):
        chat = ChatComem(persist_directory=str(tmp_path), namespace="ada", k=2, temperature=0.5, stop=["x"])
        again = load(dumpd(chat), allowed_objects=[ChatComem], valid_namespaces=["comem_memory"])
        assert again.model_dump() == chat.model_dump() and again.k == 2 and again.stop == ["x"]

    def test_one_with_an_open_memory_is_not_loaded_without_it(self, memory: ContinuousMemory):
        for adapter in (ChatComem(memory=memory), ComemRetriever(memory=memory, search_kwargs={"k": 1})):
            written = dumps(adapter)
            assert json.loads(written)["type"] == "not_implemented"
            with pytest.raises(NotImplementedError, match="doesn't implement serialization"):
                loads(written, allowed_objects=[ChatComem], valid_namespaces=["comem_memory"])

    def test_one_that_has_opened_its_memory_is_still_its_settings(self, tmp_path: Path):
        ContinuousMemory.from_pretrained(persist_directory=tmp_path).close()
        chat = ChatComem(persist_directory=str(tmp_path), k=2)
        chat.get_num_tokens("Tea.")
        assert chat.memory is not None
        again = loads(dumps(chat), allowed_objects=[ChatComem], valid_namespaces=["comem_memory"])
        assert again.model_dump() == chat.model_dump() and again.memory is None
        chat.memory.close()

    def test_a_call_may_name_stop_texts(self, chat: ChatComem):
        whole = chat.invoke(QUESTION).text
        stop = whole[3:5]
        assert chat.invoke(QUESTION, stop=[stop]).text == whole[: whole.index(stop)].strip()

    def test_tokens_are_counted_as_the_model_reads_them(self, chat: ChatComem, memory: ContinuousMemory):
        said = [HumanMessage(f"Message {i}.") for i in range(5)]
        assert chat.get_num_tokens("Message") == len(memory.backbone.prompts.tokenizer("Message").input_ids)
        one = chat.get_num_tokens_from_messages(said[:1])
        assert one > 5
        assert trim_messages(said, token_counter=chat, max_tokens=2 * one) == said[-2:]


class TestStreaming:
    def test_pieces_add_up_to_the_answer(self, chat: ChatComem):
        chunks = list(chat.stream(QUESTION))
        full = chunks[0]
        for chunk in chunks[1:]:
            full = full + chunk
        answer = chat.invoke(QUESTION)
        assert full.text == answer.text
        assert isinstance(full, AIMessageChunk) and full.usage_metadata == answer.usage_metadata
        assert full.response_metadata == answer.response_metadata

    async def test_async_twins_say_the_same(self, chat: ChatComem):
        expected = chat.invoke(QUESTION)
        answer = await chat.ainvoke(QUESTION)
        assert (answer.text, answer.usage_metadata) == (expected.text, expected.usage_metadata)
        assert "".join([chunk.text async for chunk in chat.astream(QUESTION)]) == expected.text

    async def test_the_event_loop_stays_free(self, chat: ChatComem):
        gaps: list[float] = []

        async def beat() -> None:
            while True:
                start = time.perf_counter()
                await asyncio.sleep(0.005)
                gaps.append(time.perf_counter() - start)

        beating = asyncio.create_task(beat())
        start = time.perf_counter()
        await chat.ainvoke(QUESTION, max_tokens=800, min_new_tokens=800)
        took = time.perf_counter() - start
        beating.cancel()
        print(f"\nanswer {took:.2f} s, longest gap of a 5 ms heartbeat {max(gaps):.3f} s")
        assert max(gaps) < took / 4

    async def test_giving_up_stops_the_model(self, chat: ChatComem):
        pieces = chat.astream(QUESTION, max_tokens=800, min_new_tokens=800)
        await anext(aiter(pieces))
        start = time.perf_counter()
        await pieces.aclose()  # type: ignore[attr-defined]
        first = time.perf_counter() - start
        start = time.perf_counter()
        await chat.ainvoke(QUESTION, max_tokens=800, min_new_tokens=800)
        assert first < (time.perf_counter() - start) / 2

    async def test_a_timeout_is_a_timeout_and_frees_the_model(self, chat: ChatComem):
        held_back = chat.bind_tools([add], tool_choice="any")  # nothing is yielded before the call is whole
        for asked in (chat, held_back):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await asked.ainvoke(QUESTION, max_tokens=800, min_new_tokens=800)
            start = time.perf_counter()
            await chat.ainvoke(QUESTION, max_tokens=1)
            assert time.perf_counter() - start < 0.5

    async def test_a_timeout_ends_waiting_for_the_model(self, chat: ChatComem):
        long = chat.bind(max_tokens=800, min_new_tokens=800)
        answering = asyncio.create_task(long.ainvoke(QUESTION))
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await chat.ainvoke(QUESTION)
        assert not answering.done()
        await answering

    async def test_waiting_answers_hold_up_nothing_else(self, memory: ContinuousMemory, chat: ChatComem):
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        long = chat.bind(max_tokens=400, min_new_tokens=400)
        answering = [asyncio.create_task(long.ainvoke(QUESTION)) for _ in range(4)]
        answering.append(asyncio.create_task(memory.aanswer(QUESTION, max_new_tokens=400, min_new_tokens=400)))
        await asyncio.sleep(0.1)
        assert [hit.id for hit in await memory.asearch(QUESTION, k=1)] == ["key"]
        assert not any(answer.done() for answer in answering)
        await asyncio.gather(*answering)

    def test_a_cache_gives_nobody_another_one_s_answer(self, memory: ContinuousMemory):
        set_llm_cache(InMemoryCache())
        try:
            for name, id in (("ada", "key"), ("bob", "secret")):
                chat = ChatComem(memory=memory.namespace(name), max_tokens=12, k=1)
                assert chat.invoke(QUESTION).response_metadata["memory_ids"] == [id]
        finally:
            set_llm_cache(None)

    def test_16_users_at_once_get_what_one_gets(self, shared: ContinuousMemory):
        users = [f"user {i}" for i in range(16)]
        for user in users:
            shared.namespace(user).add(MemoryItem(text=f"The code of {user} is {hash(user) % 1000}."))
        chat = ChatComem(memory=shared, max_tokens=12, k=1)
        serial = [chat.invoke(QUESTION, namespace=user) for user in users]

        async def together() -> list[AIMessage]:
            return await asyncio.gather(*(chat.ainvoke(QUESTION, namespace=user) for user in users))

        answers = asyncio.run(together())
        assert [a.text for a in answers] == [a.text for a in serial]
        ids = [a.response_metadata["memory_ids"] for a in answers]
        assert ids == [a.response_metadata["memory_ids"] for a in serial]
        assert len({id for [id] in ids}) == 16
        for user in users:
            shared.namespace(user).clear()


def weather(place: str) -> str:
    """The weather."""
    return "sunny"


class TestTools:
    def test_any_forces_a_valid_call(self, chat: ChatComem):
        answer = chat.bind_tools([add, weather], tool_choice="any").invoke("Hi", max_tokens=200)
        [call] = answer.tool_calls
        assert call["name"] in ("add", "weather") and call["id"]
        assert answer.text == "" and answer.response_metadata["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize("choice", ["add", {"type": "function", "function": {"name": "add"}}])
    def test_a_name_forces_that_tool(self, chat: ChatComem, choice: Any):
        answer = chat.bind_tools([add, weather], tool_choice=choice).invoke("Hi", max_tokens=200)
        [call] = answer.tool_calls
        assert call["name"] == "add" and {type(v) for v in call["args"].values()} == {int}

    def test_a_streamed_call_is_the_same(self, chat: ChatComem):
        bound = chat.bind_tools([add], tool_choice="any")
        full: Any = None
        for chunk in bound.stream("Hi", max_tokens=200):
            full = chunk if full is None else full + chunk
        assert full.text == ""
        assert [(c["name"], c["args"]) for c in full.tool_calls] == [
            (c["name"], c["args"]) for c in bound.invoke("Hi", max_tokens=200).tool_calls
        ]

    def test_with_a_schema_the_model_may_still_call(self, chat: ChatComem):
        schema = {"title": "answer", "type": "object", "properties": {"name": {"const": "add"}}, "required": ["name"]}
        wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        answer = chat.bind_tools([add], response_format=wanted).invoke("Go", max_tokens=200)
        assert answer.tool_calls or json.loads(answer.text)["name"] == "add"

    def test_calls_and_results_are_given_to_the_model_as_its_own(self):
        call = {"name": "weather", "args": {"place": "Turin"}, "id": "1", "type": "tool_call"}
        function = {"name": "weather", "arguments": {"place": "Turin"}}
        messages = [HumanMessage("Hi"), AIMessage("", tool_calls=[call]), ToolMessage("sunny", tool_call_id="1")]
        assert to_messages(messages) == [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {
                "role": "assistant",
                "content": [],
                "tool_calls": [{"type": "function", "id": "1", "function": function}],
            },
            {"role": "tool", "content": [{"type": "text", "text": "sunny"}], "tool_call_id": "1", "name": ""},
        ]


class Family(BaseModel):
    name: str
    children: list["Family"]


class TestStructuredOutput:
    @pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
    def test_every_method_fills_a_class(self, chat: ChatComem, method: Any):
        class Friend(BaseModel):
            name: str

        class Person(BaseModel):
            age: int
            friends: list[Friend]

        found = chat.with_structured_output(Person, method=method, max_tokens=200).invoke("Go")
        assert isinstance(found, Person)

    @pytest.mark.parametrize("method", ["json_schema", "function_calling"])
    def test_a_class_that_holds_itself_stays_whole(self, chat: ChatComem, method: Any):
        filled = chat.with_structured_output(Family, method=method, max_tokens=120)
        assert isinstance(filled.invoke("Go"), Family)
        [call] = chat.bind_tools([Family], tool_choice="any").invoke("Go", max_tokens=150).tool_calls
        assert Family.model_validate(call["args"])

    def test_a_model_that_rambles_still_closes(self, chat: ChatComem):
        class Person(BaseModel):
            name: str
            friends: list[str]
            age: int

        found = chat.with_structured_output(Person, include_raw=True, max_tokens=200).invoke("Go")
        assert isinstance(found["parsed"], Person) and found["parsing_error"] is None
        cut = chat.with_structured_output(Person, include_raw=True, max_tokens=20).invoke("Go")
        assert cut["parsed"] is None and isinstance(cut["parsing_error"], OutputParserException)
        assert cut["raw"].response_metadata["finish_reason"] == "length"

    def test_an_unknown_method_is_refused(self, chat: ChatComem):
        schema = {"title": "a", "type": "object", "properties": {}}
        with pytest.raises(ValueError, match="json_schema, function_calling or json_mode"):
            chat.with_structured_output(schema, method="xml")  # type: ignore[arg-type]


class TestRetriever:
    def test_documents_carry_id_score_and_picture(self, memory: ContinuousMemory):
        retriever = ComemRetriever(memory=memory, k=2)
        best, _ = retriever.invoke(QUESTION)
        [hit, _] = memory.search(QUESTION, k=2)
        assert (best.id, best.page_content) == ("key", "The brass key opens the blue door.")
        assert best.metadata["comem.similarity"] == hit.similarity and best.metadata["room"] == "hall"
        assert best.metadata["comem.found_by"] == ["meaning"]
        [flag] = retriever.invoke("", image=tiny_picture(1), k=1)
        assert flag.id == "flag" and Path(flag.metadata["comem.image"]).is_file()

    async def test_choices_at_call_time(self, memory: ContinuousMemory):
        retriever = ComemRetriever(memory=memory)
        assert [d.id for d in retriever.invoke("door", where={"room": "attic"})] == ["flag"]
        assert [d.id for d in await retriever.ainvoke("door", namespace="bob")] == ["secret"]
        with pytest.raises(QueryError, match="namespace '' must be a text that is not empty"):
            retriever.invoke("door", namespace="")
        assert [d.id for d in memory.as_langchain_retriever(k=1).invoke(QUESTION)] == ["key"]

    async def test_it_takes_what_langchain_s_own_retriever_does(self, memory: ContinuousMemory):
        def ids(asked: str = QUESTION, **search_kwargs: Any) -> list[str | None]:
            return [d.id for d in ComemRetriever(memory=memory, search_kwargs=search_kwargs).invoke(asked)]

        best, second = (hit.similarity or 0.0 for hit in memory.search(QUESTION, k=2))
        assert ids(k=1) == ["key"]
        assert ids(filter={"room": "attic"}) == ids(where={"room": "attic"}) == ["flag"]
        assert ids(score_threshold=(best + second) / 2) == ids(min_similarity=best) == ["key"]
        assert ids(score_threshold=second, k=5) == ["key", "flag"]
        retriever = ComemRetriever(memory=memory, k=5, search_kwargs={"score_threshold": best})
        assert [d.id for d in await retriever.ainvoke(QUESTION, score_threshold=second)] == ["key", "flag"]
        for wrong in ({"filters": {}}, {"memory": memory}):
            with pytest.raises(ValueError, match="no option '.*'. Use .*filter, .*score_threshold"):
                ids(**wrong)
        with pytest.raises(QueryError, match="no option 'K'"):
            retriever.invoke(QUESTION, K=1)


class TestMiddleware:
    def ask(self, agent: Any, text: str, user: str, **config: Any) -> BaseMessage:
        said = {"messages": [HumanMessage(text)]}
        return agent.invoke(said, context=Context(user), config={"configurable": config})["messages"][-1]

    def test_an_agent_remembers_across_restarts_and_users_stay_apart(self, tmp_path: Path):
        def agent(memory: ContinuousMemory) -> Any:
            chat = ChatComem(memory=memory, max_tokens=12)
            return create_agent(
                chat, middleware=[ComemMiddleware(memory, tools=False, remember=last_turn)], context_schema=Context
            )

        with tiny_memory(tmp_path) as memory:
            first = self.ask(agent(memory), "My cat is called Tom.", "ada")
            assert first.response_metadata["memory_ids"] == []
        with tiny_memory(tmp_path) as memory:
            again = self.ask(agent(memory), "What is my cat called?", "ada")
            [id] = again.response_metadata["memory_ids"]
            [hit] = memory.namespace("ada").get(id)
            assert hit.text == f"User: My cat is called Tom.\nAssistant: {first.text}".strip()
            assert self.ask(agent(memory), "What is my cat called?", "bob").response_metadata["memory_ids"] == []
            assert memory.namespace("ada").count() == 2

    def test_checkpointed_conversations_go_on(self, memory: ContinuousMemory):
        chat = ChatComem(memory=memory, max_tokens=12)
        middleware = ComemMiddleware(memory, remember=lambda messages: None)
        agent = create_agent(chat, middleware=[middleware], context_schema=Context, checkpointer=InMemorySaver())
        self.ask(agent, "Hi", "ada", thread_id="1")
        answer = self.ask(agent, QUESTION, "ada", thread_id="1")
        assert answer.response_metadata["memory_ids"][0] == "key"
        assert memory.count() == 2  # `remember` said no
        held = agent.get_state({"configurable": {"thread_id": "1"}}).values["messages"]
        assert [m.type for m in held] == ["human", "ai", "human", "ai"]

    def test_the_user_stands_in_the_config_too_and_is_never_guessed(self, memory: ContinuousMemory):
        chat = ChatComem(memory=memory, max_tokens=4)
        agent = create_agent(chat, middleware=[ComemMiddleware(memory, tools=False, remember=lambda _: None)])
        said = {"messages": [HumanMessage(QUESTION)]}
        answer = agent.invoke(said, config={"configurable": {"user_id": "bob"}})["messages"][-1]
        assert answer.response_metadata["memory_ids"] == ["secret"]
        assert agent.invoke(said)["messages"][-1].response_metadata["memory_ids"] == ["key", "flag"]  # the memory's own
        for nobody in ({"userid": "bob"}, Context(None)):  # type: ignore[arg-type]
            with pytest.raises(QueryError, match="does not say whose memory this is. Give it a user_id"):
                agent.invoke(said, context=nobody)

    def test_a_thread_without_a_user_is_warned_of_once(
        self, memory: ContinuousMemory, caplog: pytest.LogCaptureFixture
    ):
        _warn_of_sharing.cache_clear()
        chat, said = ChatComem(memory=memory, max_tokens=4), {"messages": [HumanMessage(QUESTION)]}
        agent = create_agent(chat, middleware=[ComemMiddleware(memory, tools=False, remember=lambda _: None)])
        agent.invoke(said, config={"configurable": {"thread_id": "1", "user_id": "bob"}})
        agent.invoke(said)
        assert "thread_id" not in caplog.text
        for thread in ("1", "2"):
            agent.invoke(said, config={"configurable": {"thread_id": thread}})
        assert caplog.text.count("all users share one memory. Pass config=") == 1

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_user_can_be_required_before_anything_is_read_or_written(
        self, memory: ContinuousMemory, is_async: bool
    ):
        model = Scripted(answers=[AIMessage("Ok."), AIMessage("Ok.")])
        middleware = ComemMiddleware(memory, require_user=True)
        agent = create_agent(model, middleware=[middleware], context_schema=Context)
        said: Any = {"messages": [HumanMessage("I live in Turin.")]}
        count = memory.count()
        for nobody in ({}, {"configurable": {"thread_id": "1"}}):
            config: Any = nobody
            with pytest.raises(QueryError, match="the middleware requires it. Pass a context with a user_id"):
                await agent.ainvoke(said, config) if is_async else agent.invoke(said, config)
        assert (model.seen, memory.count()) == ([], count)
        config = {"configurable": {"thread_id": "1", "user_id": "eve"}}
        await agent.ainvoke(said, config) if is_async else agent.invoke(said, config)
        assert memory.count() == count and memory.namespace("eve").count() == 1
        memory.namespace("eve").clear()

    def test_a_model_with_settings_around_it_is_still_ours(self, memory: ContinuousMemory):
        memory.namespace("default").add(MemoryItem(text="Everyone's blue door opens with a fork."))
        chat = ChatComem(memory=memory.namespace("default"), max_tokens=4)
        for model in (chat.bind(seed=1), chat.with_config(tags=["x"]), chat.bind(seed=1).with_config(tags=["x"])):
            agent = create_agent(model, middleware=[ComemMiddleware(memory, tools=False, remember=lambda _: None)])
            assert self.ask(agent, QUESTION, "bob").response_metadata["memory_ids"] == ["secret"]
        memory.namespace("default").clear()

    def test_what_is_forgotten_before_the_model_reads_is_left_out(self, memory: ContinuousMemory):
        class Forgetting(AgentMiddleware):  # stands for another request of the same user
            def wrap_model_call(self, request: Any, handler: Any) -> Any:
                memory.delete(ids="key")
                return handler(request)

        chat = ChatComem(memory=memory, max_tokens=4)
        agent = create_agent(chat, middleware=[ComemMiddleware(memory, tools=False), Forgetting()])
        answer = agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"][-1]
        assert answer.response_metadata["memory_ids"] == ["flag"]

    async def test_a_model_that_is_not_ours_gets_text(self, memory: ContinuousMemory):
        model = Scripted(answers=[AIMessage("With the brass key.")])
        agent = create_agent(
            model, system_prompt="Be brief.", middleware=[ComemMiddleware(memory, k=1, remember=last_turn)]
        )
        await agent.ainvoke({"messages": [HumanMessage(QUESTION)]})
        [[system, human]] = model.seen
        assert system.text.startswith("Be brief.") and "The brass key opens the blue door." in system.text
        assert human.text == QUESTION
        stored = [hit.text for hit in memory.scan()]
        assert f"User: {QUESTION}\nAssistant: With the brass key." in stored

    @pytest.mark.parametrize("tell", [False, True])
    async def test_a_model_is_told_that_nothing_is_known_where_that_is_wanted(
        self, memory: ContinuousMemory, tell: bool
    ):
        model = Scripted(answers=[AIMessage("I do not know.")] * 3)
        settings = {"tools": False, "remember": lambda _: None, "tell_nothing_known": tell}
        empty = memory.namespace("nobody")
        for one, prompt in ((empty, None), (empty, "Be brief."), (memory, "Be brief.")):
            agent = create_agent(model, system_prompt=prompt, middleware=[ComemMiddleware(one, **settings)])
            await agent.ainvoke({"messages": [HumanMessage("What is my dog's name?")]})
        first, second, known = ([m.text for m in seen if m.type == "system"] for seen in model.seen)
        told = "You remember nothing about this."
        assert first == ([told] if tell else [])
        assert second == ([f"Be brief.\n\n{told}"] if tell else ["Be brief."])
        assert told not in known[0] and "The brass key opens the blue door." in known[0]

    def test_ours_is_told_too_and_is_the_bare_model_else(self, memory: ContinuousMemory):
        empty, settings = memory.namespace("nobody"), {"tools": False, "remember": lambda _: None}
        chat = ChatComem(memory=empty, max_tokens=12)
        for tell, system in ((False, []), (True, [{"role": "system", "content": "You remember nothing about this."}])):
            middleware = ComemMiddleware(empty, tell_nothing_known=tell, **settings)
            answer = create_agent(chat, middleware=[middleware]).invoke({"messages": [HumanMessage(QUESTION)]})
            expected = bare_answer(memory.backbone, [*system, {"role": "user", "content": QUESTION}])
            assert answer["messages"][-1].content == expected

    def test_a_memory_that_fails_or_shows_its_turns_already_is_not_said_to_know_nothing(
        self, memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch
    ):
        model = Scripted(answers=[AIMessage("Fine."), AIMessage("Still."), AIMessage("Hm.")])
        user = memory.namespace("eve")
        middleware = ComemMiddleware(user, tools=False, tell_nothing_known=True)
        agent = create_agent(model, middleware=[middleware], checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "one"}}
        for said in ("My dog is Luna.", "What is my dog's name?"):
            agent.invoke({"messages": [HumanMessage(said)]}, config)
        monkeypatch.setattr(ChromaStore, "search", lambda *_, **__: 1 / 0)
        agent.invoke({"messages": [HumanMessage("And my cat's?")]}, config)
        assert [[m.type for m in seen if m.type == "system"] for seen in model.seen] == [["system"], [], []]
        user.clear()

    def test_tools_remember_recall_and_forget_for_the_user(self, memory: ContinuousMemory):
        def call(name: str, **args: str) -> AIMessage:
            return AIMessage("", tool_calls=[{"name": name, "args": args, "id": name, "type": "tool_call"}])

        script = [
            call("remember", text="Ada likes mint tea."),
            call("recall", query="What does Ada like?"),
            call("forget", id="key"),
            AIMessage("Done."),
        ]
        middleware = ComemMiddleware(memory, remember=lambda messages: None)
        agent = create_agent(Scripted(answers=script), middleware=[middleware], context_schema=Context)
        messages = agent.invoke({"messages": [HumanMessage("Go")]}, context=Context("ada"))["messages"]
        results = [m.text for m in messages if isinstance(m, ToolMessage)]
        assert results[0].startswith("Stored with id ")
        assert "Ada likes mint tea." in results[1]
        assert results[2] == "Forgotten."
        assert {hit.text for hit in memory.scan()} == {"A flag.", "Ada likes mint tea."}
        assert memory.namespace("bob").count() == 1

    def test_a_bad_call_is_answered_not_raised(self, memory: ContinuousMemory):
        names = {"remember": {"text": " "}, "recall": {"query": ""}}
        calls = [{"name": n, "args": a, "id": n, "type": "tool_call"} for n, a in names.items()]
        model = Scripted(answers=[AIMessage("", tool_calls=calls), AIMessage("Done.")])
        agent = create_agent(model, middleware=[ComemMiddleware(memory)])
        messages = agent.invoke({"messages": [HumanMessage("Go")]})["messages"]
        results = [m.text for m in messages if isinstance(m, ToolMessage)]
        assert "neither text nor image" in results[0] and "nothing to search for" in results[1]

    def test_a_block_that_cannot_be_read_stops_nothing(self, memory: ContinuousMemory):
        said = HumanMessage([{"type": "text", "text": QUESTION}, {"type": "image", "url": "https://example.org/a.png"}])
        agent = create_agent(
            Scripted(answers=[AIMessage("Brass.")]), middleware=[ComemMiddleware(memory, remember=last_turn)]
        )
        agent.invoke({"messages": [said]})
        assert f"User: {QUESTION}\nAssistant: Brass." in [hit.text for hit in memory.scan()]

    def test_users_stay_apart_whatever_wraps_the_model_or_stands_in_for_it(self, memory: ContinuousMemory):
        middleware = ComemMiddleware(memory, k=1, tools=False, remember=lambda _: None)
        chat, broken = ChatComem(memory=memory, max_tokens=4), Scripted(answers=[])
        agents = [
            create_agent(chat.with_retry(), middleware=[middleware]),
            create_agent(chat.with_fallbacks([broken]), middleware=[middleware]),
            create_agent(broken, middleware=[middleware, ModelFallbackMiddleware(chat)]),
            create_agent(broken, middleware=[ModelFallbackMiddleware(chat), middleware]),
        ]
        for agent in agents:
            said = {"messages": [HumanMessage(QUESTION)]}
            answer = agent.invoke(said, config={"configurable": {"user_id": "bob"}})["messages"][-1]
            assert answer.response_metadata["memory_ids"] == ["secret"]
        assert chat.invoke(QUESTION, k=1).response_metadata["memory_ids"] == ["key"], "afterwards it searches again"

    def test_users_stay_apart_where_the_context_is_lost(self, memory: ContinuousMemory):
        class InAPool(AgentMiddleware):
            def wrap_model_call(self, request: Any, handler: Any) -> Any:
                with ThreadPoolExecutor(1) as pool:
                    return pool.submit(handler, request).result()

        chat = ChatComem(memory=memory, max_tokens=4)
        middleware = [ComemMiddleware(memory, k=1, tools=False, remember=lambda _: None), InAPool()]
        for model in (chat, chat.with_retry(), chat.bind(seed=1)):
            said = {"messages": [HumanMessage(QUESTION)]}
            config = {"configurable": {"user_id": "bob"}}
            answer = create_agent(model, middleware=middleware).invoke(said, config=config)["messages"][-1]
            assert answer.response_metadata["memory_ids"] == ["secret"]
        assert chat.namespace is None

    def test_a_second_turn_prefills_what_it_adds(self, memory: ContinuousMemory):
        chat = ChatComem(memory=memory, max_tokens=4, k=0)
        middleware = ComemMiddleware(memory, k=0, tools=False, remember=lambda _: None)
        agent = create_agent(chat, middleware=[middleware], checkpointer=InMemorySaver())
        seen: list[int] = []
        embeddings = memory.backbone.model.get_input_embeddings()
        handle = embeddings.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
        prefilled, lengths = [], []
        for said in (QUESTION * 4, "And?"):
            seen.clear()
            config = {"configurable": {"thread_id": "1"}}
            answer = agent.invoke({"messages": [HumanMessage(said)]}, config=config)["messages"][-1]
            prefilled.append(max(seen))
            lengths.append(answer.usage_metadata["input_tokens"])
        handle.remove()
        assert prefilled[0] == lengths[0]
        assert prefilled[1] <= lengths[1] - lengths[0]

    def test_a_memory_block_is_read_beside_what_is_recalled(self, memory: ContinuousMemory):
        middleware = ComemMiddleware(memory, k=1, tools=False, remember=lambda _: None)
        agent = create_agent(ChatComem(memory=memory, max_tokens=4), middleware=[middleware])
        for block, ids in (([], ["key"]), (["flag"], ["flag", "key"])):
            said = [HumanMessage([memory_block(block)]), HumanMessage(QUESTION)]
            answer = agent.invoke({"messages": said})["messages"][-1]
            assert answer.response_metadata["memory_ids"] == ids

    def test_what_another_middleware_hides_is_not_remembered(self, memory: ContinuousMemory):
        calls = [AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": i}, "id": str(i)}]) for i in range(4)]
        model, summary = Scripted(answers=[*calls, AIMessage("Hi.")]), Scripted(answers=[AIMessage("A sum.")] * 4)
        hide = PIIMiddleware("email", strategy="redact")
        summarize = SummarizationMiddleware(summary, trigger=("messages", 6), keep=("messages", 4))
        agent = create_agent(
            model, tools=[add], middleware=[hide, summarize, ComemMiddleware(memory, tools=False, remember=last_turn)]
        )
        result = agent.invoke({"messages": [HumanMessage("I am ada@example.com")]})
        assert result.keys() == {"messages"}
        assert "User: I am [REDACTED_EMAIL]\nAssistant: Hi." in [hit.text for hit in memory.scan()]

    def test_another_model_can_stand_in_for_ours(self, memory: ContinuousMemory):
        chat, stand_in = ChatComem(memory=memory), Scripted(answers=[AIMessage("Brass.")])
        middleware = [ComemMiddleware(memory, tools=False), ModelFallbackMiddleware(stand_in)]
        beyond_the_window = HumanMessage("What? " * 10_000)
        assert create_agent(chat, middleware=middleware).invoke({"messages": [beyond_the_window]})
        assert [m.content for m in stand_in.seen[0]] == [beyond_the_window.content]

    def test_a_turn_that_a_summary_takes_out_is_remembered(self, memory: ContinuousMemory):
        calls = [AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": i}, "id": str(i)}]) for i in range(4)]
        model, summary = Scripted(answers=[*calls, AIMessage("42.")]), Scripted(answers=[AIMessage("A sum.")] * 4)
        summarize = SummarizationMiddleware(summary, trigger=("messages", 6), keep=("messages", 4))
        agent = create_agent(
            model, tools=[add], middleware=[summarize, ComemMiddleware(memory, k=1, tools=False, remember=last_turn)]
        )
        agent.invoke({"messages": [HumanMessage("The blue door is mine. What is the answer?")]})
        system, first, *_ = model.seen[-1]
        assert "summary" in first.text and "The brass key opens the blue door." in system.text
        assert "User: The blue door is mine. What is the answer?\nAssistant: 42." in [hit.text for hit in memory.scan()]
        assert memory.count() == 3

    def test_a_system_turn_keeps_its_blocks(self, memory: ContinuousMemory):
        block = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
        model = Scripted(answers=[AIMessage("Brass.")])
        middleware = [ComemMiddleware(memory, k=1, tools=False)]
        agent = create_agent(model, system_prompt=SystemMessage([block]), middleware=middleware)
        agent.invoke({"messages": [HumanMessage(QUESTION)]})
        kept, told = model.seen[0][0].content
        assert kept == block and "The brass key opens the blue door." in told["text"]

    def test_a_picture_that_cannot_be_kept_or_searched_with_stops_nothing(self, memory: ContinuousMemory):
        store = ChromaStore.in_memory(identity=memory.store.identity)
        nowhere = ContinuousMemory(memory.encoder, memory.key, store)  # as on a server without persist_directory
        picture = {"type": "image", "base64": png(1), "mime_type": "image/png"}
        said = HumanMessage([{"type": "text", "text": "What is this?"}, picture])
        agent = create_agent(
            Scripted(answers=[AIMessage("A flag.")]), middleware=[ComemMiddleware(nowhere, remember=last_turn)]
        )
        agent.invoke({"messages": [said]})
        ComemChatMessageHistory(nowhere, "s1").add_messages([said])
        assert [hit.text for hit in nowhere.scan(where={"comem.chat.role": {"$ne": "user"}})] == [
            "User: What is this?\nAssistant: A flag."
        ]
        assert ComemChatMessageHistory(nowhere, "s1", older=0).messages == [said]
        key = RetrievalKey(memory.key.text)
        of_texts = ContinuousMemory(
            memory.encoder, key, ChromaStore.in_memory(identity=identity_of(memory.encoder, key))
        )
        answer = ChatComem(memory=of_texts, max_tokens=4).invoke([HumanMessage([picture])])
        assert answer.response_metadata["memory_ids"] == []
        for one in (nowhere, of_texts):
            one.close()

    async def test_remembering_waits_in_a_thread_of_its_own(self, memory: ContinuousMemory):
        tools = {tool.name: tool for tool in ComemMiddleware(memory).tools}
        call = {"name": "remember", "args": {"text": "Ada likes tea."}, "id": "1", "type": "tool_call"}
        model = Scripted(answers=[AIMessage("", tool_calls=[call]), AIMessage("Done.")])
        asyncio.get_running_loop().set_default_executor(pool := ThreadPoolExecutor(1))
        agent = create_agent(model, middleware=[ComemMiddleware(memory, k=0, remember=lambda _: None)])
        with memory.backbone.lock:
            asked = asyncio.create_task(agent.ainvoke({"messages": [HumanMessage("Remember it.")]}))
            await asyncio.sleep(1)
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 1) == "free"
            assert not asked.done()
        await asked
        assert set(tools) == {"remember", "recall", "forget"}
        assert "Ada likes tea." in [hit.text for hit in memory.scan()]
        pool.shutdown()

    def test_a_chat_model_with_another_memory_gets_text(self, memory: ContinuousMemory):
        other = tiny_memory(family="llama")
        agent = create_agent(
            ChatComem(memory=other, max_tokens=12), middleware=[ComemMiddleware(memory, k=1, tools=False)]
        )
        answer = agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"][-1]
        assert answer.response_metadata["memory_ids"] == []
        assert answer.usage_metadata["input_tokens"] > 100  # the item's text is in the prompt, byte by byte


class TestHistory:
    def test_the_newest_stay_text_and_the_older_become_vectors(self, memory: ContinuousMemory):
        history = ComemChatMessageHistory(memory, "s1", recent=2)
        said = [HumanMessage("My cat is Tom."), AIMessage("Nice."), HumanMessage("And a dog."), AIMessage("Fine.")]
        history.add_messages(said[:2])
        assert history.messages == [HumanMessage([memory_block([])]), *said[:2]]
        history.add_messages(said[2:])
        _old, *newest = history.messages
        assert newest == said[2:]
        chat = ChatComem(memory=memory, max_tokens=12)
        answer = chat.invoke([*history.messages, HumanMessage("Who is Tom?")])
        texts = [hit.text for hit in memory.get(answer.response_metadata["memory_ids"])]
        assert texts == ["Assistant: Nice.", "User: My cat is Tom."]  # the newest first, next to the question

    def test_a_history_s_window_begins_with_the_user(self, gemma: ContinuousMemory):
        history = ComemChatMessageHistory(gemma, "s1", recent=3)
        said = [HumanMessage("1"), AIMessage("2"), HumanMessage("3"), AIMessage("4"), HumanMessage("5"), AIMessage("6")]
        history.add_messages(said)
        assert history.messages[1:] == said[2:]
        assert ChatComem(memory=gemma, max_tokens=3).invoke([*history.messages, HumanMessage("7")]).usage_metadata
        history.clear()

    def test_sessions_stay_apart_and_clear_clears_one(self, memory: ContinuousMemory):
        first, second = (ComemChatMessageHistory(memory, session) for session in ("s1", "s2"))
        first.add_user_message("One")
        second.add_user_message("Two")
        chat = ChatComem(memory=memory, max_tokens=2)
        for history, said in ((first, ["One"]), (second, ["Two"])):
            block, *messages = history.messages
            assert [m.text for m in messages] == said
            # nor is anything else of the namespace recalled
            answer = chat.invoke([block, *messages, HumanMessage(QUESTION)])
            assert answer.response_metadata["memory_ids"] == []
        first.clear()
        assert ComemChatMessageHistory(memory, "s1", older=0).messages == []
        assert ComemChatMessageHistory(memory, "s2", older=0).messages == second.messages[1:]
        assert memory.get("key")

    async def test_messages_are_added_without_blocking(self, memory: ContinuousMemory):
        history = ComemChatMessageHistory(memory, "7")
        await history.aadd_messages([HumanMessage("Hi")])
        assert [m.text for m in ComemChatMessageHistory(memory, "7", older=0).messages] == ["Hi"]
        history.clear()

    def test_what_json_does_not_hold_costs_no_message(self, memory: ContinuousMemory, caplog: pytest.LogCaptureFixture):
        cyclic: dict[str, Any] = {}
        cyclic["self"] = cyclic
        odd = [
            HumanMessage("My cat \ud83d is \ud83d\ude42 Tom."),
            ToolMessage("3", tool_call_id="1", artifact=object()),
            AIMessage("Nice.", response_metadata={"at": datetime(2026, 1, 2), "raw": b"\xff", "ids": {1}}),
            AIMessage("Cyclic.", additional_kwargs=cyclic, id="a1"),
        ]
        history = ComemChatMessageHistory(memory, "s1", older=0)
        history.add_messages(odd)
        kept = history.messages
        assert [m.text for m in kept] == ["My cat \ufffd is 🙂 Tom.", "3", "Nice.", "Cyclic."]
        assert [m.type for m in kept] == ["human", "tool", "ai", "ai"] and kept[3].id == "a1"
        assert kept[2].response_metadata == {"at": "2026-01-02 00:00:00", "raw": "/w==", "ids": "{1}"}
        assert "kept as text" in caplog.text and "only its text is kept" in caplog.text
        assert ChatComem(memory=memory, max_tokens=2).invoke([*kept, HumanMessage("Who?")]).usage_metadata
        history.clear()


def test_halves_of_characters_end_no_run(memory: ContinuousMemory):
    half, whole = "What opens \ud83d it?", "What opens \ufffd it?"
    chat = ChatComem(memory=memory, max_tokens=4)
    assert chat.invoke(half).text == chat.invoke(whole).text
    tools = [{"type": "function", "function": {"name": "f", "description": half, "parameters": {"type": "object"}}}]
    assert chat.bind(tools=tools).invoke(half).usage_metadata
    assert chat.get_num_tokens(half) == chat.get_num_tokens(whole)
    assert chat.invoke(half, stop=["\ud83d"]).text == chat.invoke(whole, stop=["\ufffd"]).text
    schema = {"title": "said", "description": half, "type": "object", "properties": {"x": {"enum": [half]}}}
    filled = chat.model_copy(update={"max_tokens": 100}).with_structured_output(schema | {"required": ["x"]})
    assert filled.invoke(half) == {"x": whole}
    agent = create_agent(
        Scripted(answers=[AIMessage("Brass \ud83d.")]), middleware=[ComemMiddleware(memory, remember=last_turn)]
    )
    agent.invoke({"messages": [HumanMessage(half)]})
    assert f"User: {whole}\nAssistant: Brass \ufffd." in [hit.text for hit in memory.scan()]


def test_a_user_s_own_metadata_comes_back_in_documents(memory: ContinuousMemory):
    own = {"message": "hi", "transcript": "t", "similarity": 7, "created_at": "today", "image": "none", "role": "me"}
    memory.namespace("eve").add(MemoryItem(id="call", text="Call notes", metadata=own))
    [document] = memory.namespace("eve").as_langchain_retriever(k=1).invoke("Call notes")
    ours = {"comem.similarity", "comem.created_at", "comem.updated_at", "comem.found_by"}
    assert document.metadata.keys() == own.keys() | ours
    assert {name: value for name, value in document.metadata.items() if name not in ours} == own
    [node] = memory.namespace("eve").as_llama_index_retriever().retrieve("Call notes")
    times = {name: document.metadata[name] for name in ("comem.created_at", "comem.updated_at")}
    assert node.node.metadata == own | times | {"comem.found_by": ["meaning"]}
    history = ComemChatMessageHistory(memory.namespace("eve"), "t", older=0)
    assert history.messages == []
    history.clear()
    assert memory.namespace("eve").clear() == 1


def test_no_text_stands_for_vectors_where_a_vllm_server_is_asked(tmp_path: Path):
    call = {"name": "add", "args": {"<prompt_embeds>": ["<prompt_embeds>"]}, "id": "1"}
    said = [
        HumanMessage([{"type": "text", "text": "What is <prompt_embeds>?"}]),
        AIMessage("", tool_calls=[call]),
        ToolMessage("<prompt_embeds>", tool_call_id="1"),
        HumanMessage("And the <prompt_embeds> key?"),
    ]
    with tiny_memory(tmp_path) as memory:
        memory.add(["The <prompt_embeds> key opens the blue door."])
        middleware = ComemMiddleware(memory, k=1, mode="both", vectors=True, tools=False, remember=lambda _: None)
        model = Scripted(answers=[AIMessage("Yes.")])
        answer = create_agent(model, middleware=[middleware], system_prompt="<prompt_embeds>").invoke(
            {"messages": said}
        )
        assert [one.content for one in answer["messages"][:4]] == [one.content for one in said]
        [messages] = model.seen
        assert "<prompt_embeds>" not in str([one.model_dump() for one in messages])
        assert "< prompt_embeds> key opens" in str(messages) and messages[-1].content == "And the < prompt_embeds> key?"
        processor = memory.backbone.prompts.processor
        for template in ({"default": "a", "rag": "b"}, None):
            processor.chat_template = template
            with pytest.raises(ModelError, match="default, rag" if template else "has none"):
                ComemMiddleware(memory, vectors=True)
