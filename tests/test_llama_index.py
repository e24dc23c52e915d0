"""The LlamaIndex adapters with tiny models, real stores, and the framework's own engines, agents and memory."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from helpers.bare_model import bare_answer
from helpers.served import as_opened
from helpers.tools import add
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, DocumentBlock, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.chat_engine import CondensePlusContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.memory import Memory
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import ImageNode, MetadataMode, QueryBundle
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context
from pydantic import BaseModel, ValidationError

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import ItemNotFoundError, QueryError
from comem_memory.integrations.langchain import ChatComem
from comem_memory.integrations.llama_index import ComemLLM, ComemMemory, ComemMemoryBlock, ComemRetriever
from comem_memory.integrations.llama_index.messages import MEMORY_IDS, remembered
from comem_memory.testing import tiny_memory, tiny_picture

QUESTION = "What opens the blue door?"


@pytest.fixture(scope="module", params=["here", "served"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("memory")) as memory:
        memory.encoder.backbone.model.config.get_text_config().max_position_embeddings = 16384  # prompts, in bytes
        with as_opened(request.param, memory) as seen:
            yield seen


@pytest.fixture
def memory(shared: ContinuousMemory) -> Iterator[ContinuousMemory]:
    shared.add(
        [
            MemoryItem(id="key", text="The brass key opens the blue door.", metadata={"room": "hall"}),
            MemoryItem(id="flag", text="A flag.", image=tiny_picture(1), metadata={"room": "attic"}),
        ]
    )
    shared.namespace("bob").add(MemoryItem(id="secret", text="Bob's blue door opens with a spoon."))
    yield shared
    for name in ("default", "bob"):
        shared.namespace(name).clear()


@pytest.fixture
def llm(memory: ContinuousMemory) -> ComemLLM:
    return ComemLLM(memory=memory, max_tokens=12)


class Family(BaseModel):
    name: str
    children: list["Family"]


class Home(BaseModel):
    family: Family


class TestLLM:
    def test_a_tools_result_is_not_what_is_searched_with(self, llm: ComemLLM, memory: ContinuousMemory):
        said = [
            ChatMessage(QUESTION),
            ChatMessage("Thought: ...", role="assistant"),
            ChatMessage("Observation: A flag."),
        ]
        assert llm.chat(said[2:], k=1).raw["memory_ids"], "unless it is all there is"
        assert llm.chat(said, k=1).raw["memory_ids"] == [memory.search(QUESTION, k=1)[0].id] == ["key"]

    def test_it_recalls_by_itself_or_as_told(self, llm: ComemLLM, memory: ContinuousMemory):
        [hit] = memory.search(QUESTION, k=1)
        expected = bare_answer(memory.backbone, QUESTION, hit.memory_embeddings)
        assert llm.complete(QUESTION, k=1).text == expected
        assert llm.complete(QUESTION, memory_ids=["key"]).text == expected
        assert llm.complete(QUESTION, memory_ids=[]).text == bare_answer(memory.backbone, QUESTION) != expected
        assert llm.complete(QUESTION, namespace="bob").raw["memory_ids"] == ["secret"]
        with pytest.raises(ItemNotFoundError, match="secret"):
            llm.complete(QUESTION, memory_ids=["secret"])

    async def test_every_way_to_ask_says_the_same(self, llm: ComemLLM):
        asked = [ChatMessage(QUESTION)]
        expected = llm.chat(asked)
        text = expected.message.content
        assert expected.raw["memory_tokens"] == 16
        streamed = list(llm.stream_chat(asked))
        assert streamed[-1].message.content == text and streamed[-1].raw == expected.raw
        assert "".join(response.delta or "" for response in streamed) == text
        assert llm.complete(QUESTION).text == list(llm.stream_complete(QUESTION))[-1].text == text
        assert (await llm.achat(asked)).raw == expected.raw
        assert [r async for r in await llm.astream_chat(asked)][-1].message.content == text
        assert (await llm.acomplete(QUESTION)).text == text
        assert [r async for r in await llm.astream_complete(QUESTION)][-1].text == text

    def test_items_of_another_memory_are_read_as_text_beside_its_own(self, llm: ComemLLM):
        other = llm.memory.namespace("bob")
        mine, theirs = (remembered(memory, memory.search(QUESTION, k=1)) for memory in (llm.memory, other))
        asked = ChatMessage(QUESTION)
        alone, both = llm.chat([mine, asked]).raw, llm.chat([mine, theirs, asked]).raw
        assert alone["memory_ids"] == both["memory_ids"] == ["key"]
        assert both["prompt_tokens"] > alone["prompt_tokens"] + len("Bob's blue door opens with a spoon.")

    def test_pictures_as_bytes_and_paths_only_when_allowed(self, llm: ComemLLM, tmp_path: Path):
        data = BytesIO()
        tiny_picture(3).save(data, format="PNG")
        (tmp_path / "a.png").write_bytes(data.getvalue())
        inline = ChatMessage(role="user", blocks=[TextBlock(text="What?"), ImageBlock(image=data.getvalue())])
        named = ChatMessage(role="user", blocks=[TextBlock(text="What?"), ImageBlock(path=tmp_path / "a.png")])
        with pytest.raises(ValueError, match="allow_image_urls"):
            llm.chat([named], k=0)
        allowed = ComemLLM(memory=llm.memory, max_tokens=12, allow_image_urls=True)
        answer = llm.chat([inline], k=0).message.content
        assert allowed.chat([named], k=0).message.content == answer != llm.complete("What?", k=0).text

    def test_forced_calls_are_valid_and_read_back(self, llm: ComemLLM):
        tool = FunctionTool.from_defaults(add)
        response = llm.chat_with_tools([tool], "Go", tool_required=True, max_tokens=200)
        [call] = llm.get_tool_calls_from_response(response)
        assert call.tool_name == "add" and {type(v) for v in call.tool_kwargs.values()} == {int}
        said = [ChatMessage("Go"), response.message, ChatMessage("7", role="tool")]
        assert llm.chat(said, k=0).raw["prompt_tokens"] > llm.chat(said[:1], k=0).raw["prompt_tokens"] + 60
        with pytest.raises(ValueError, match="tool_required"):
            llm.get_tool_calls_from_response(llm.chat([ChatMessage("Go")]))

    def test_a_class_that_holds_itself_stays_whole(self, llm: ComemLLM):
        structured = ComemLLM(memory=llm.memory, max_tokens=150).as_structured_llm(Home)
        found = structured.chat([ChatMessage("Go")]).raw
        assert isinstance(found, Home)

    def test_structured_output(self, llm: ComemLLM):
        class Person(BaseModel):
            """A person."""

            name: str
            age: int

        structured = ComemLLM(memory=llm.memory, max_tokens=250).as_structured_llm(Person)
        found = structured.chat([ChatMessage("Go")]).raw
        assert isinstance(found, Person)


class TestRetriever:
    def test_nodes_carry_id_score_and_picture(self, memory: ContinuousMemory):
        retriever = ComemRetriever(memory, similarity_top_k=1)
        [found] = retriever.retrieve(QUESTION)
        [hit] = memory.search(QUESTION, k=1)
        assert (found.node.node_id, found.score) == ("key", hit.similarity)
        times = {"comem.created_at": hit.created_at, "comem.updated_at": hit.updated_at}
        assert found.node.metadata == {"room": "hall", "comem.found_by": ["meaning"], **times}
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert found.node.get_metadata_str(mode) == "room: hall"
        with pytest.raises(QueryError, match="recency is 7"):
            ComemRetriever(memory, search_kwargs={"recency": 7}).retrieve(QUESTION)
        stored = memory.get("flag")[0].image
        [flag] = retriever.retrieve(QueryBundle("", image_path=stored))
        assert isinstance(flag.node, ImageNode) and flag.node.image_path == stored
        [only] = memory.as_llama_index_retriever(where={"room": "attic"}).retrieve("door")
        assert only.node.node_id == "flag"
        assert [n.node.node_id for n in ComemRetriever(memory, namespace="bob").retrieve("door")] == ["secret"]
        asked = QueryBundle("Which?", custom_embedding_strs=["The brass key opens the blue door."])  # as HyDE asks
        assert retriever.retrieve(asked)[0].score == memory.search(asked.custom_embedding_strs[0], k=1)[0].similarity

    async def test_in_engines(self, memory: ContinuousMemory):
        retriever = ComemRetriever(memory)
        llm = ComemLLM(memory=memory, k=0, max_tokens=12)
        engine = RetrieverQueryEngine.from_args(retriever, llm=llm)
        answer = await engine.aquery(QUESTION)
        assert [n.node.node_id for n in answer.source_nodes] == ["key", "flag"]
        fusion = QueryFusionRetriever([retriever, retriever], llm=MockLLM(), num_queries=1, similarity_top_k=2)
        assert [n.node.node_id for n in fusion.retrieve(QUESTION)] == ["key", "flag"]

    def test_both_frameworks_recall_the_same(self, memory: ContinuousMemory, llm: ComemLLM):
        documents = memory.as_langchain_retriever().invoke(QUESTION)
        nodes = memory.as_llama_index_retriever().retrieve(QUESTION)
        assert [d.id for d in documents] == [n.node.node_id for n in nodes]
        chat = ChatComem(memory=memory, max_tokens=12)
        assert chat.invoke(QUESTION).text == llm.complete(QUESTION).text


class TestMemoryBlock:
    async def test_it_stores_and_recalls_within_the_session(self, memory: ContinuousMemory):
        block = ComemMemoryBlock(memory=memory.namespace("ada"))
        for session, name in (("s1", "Tom"), ("s2", "Rex")):
            said = [ChatMessage(f"My pet is called {name}."), ChatMessage("Nice.", role="assistant")]
            await block.aput(said, from_short_term_memory=True, session_id=session)
        question = [ChatMessage("What is my pet called?")]
        for session, name in (("s1", "Tom"), ("s2", "Rex"), ("s1", "Tom")):  # asking leaves nothing behind
            [message] = await block.aget(question, session_id=session)
            hits = memory.namespace("ada").get(message.additional_kwargs[MEMORY_IDS])
            assert [hit.text for hit in hits] == [f"My pet is called {name}."]
        everywhere = ComemMemoryBlock(memory=memory.namespace("ada"), across_sessions=True, k=9)
        [message] = await everywhere.aget(question, session_id="s3")
        assert len(message.additional_kwargs[MEMORY_IDS]) == 2
        memory.namespace("ada").clear()

    async def test_the_same_words_in_two_sessions_are_two_items(self, memory: ContinuousMemory):
        block = ComemMemoryBlock(memory=memory.namespace("eve"))
        for session in ("s1", "s2", "s\ud83d"):
            await block.aput([ChatMessage("I like tea.")], session_id=session)
        for session in ("s1", "s2", "s\ud83d"):
            assert len(await block.aget([ChatMessage("tea")], session_id=session)) == 1
        memory.namespace("eve").clear()

    async def test_our_model_reads_vectors_and_others_read_text(self, memory: ContinuousMemory, llm: ComemLLM):
        block = ComemMemoryBlock(memory=memory, k=1)
        [message] = await block.aget([ChatMessage(QUESTION)])
        assert "The brass key opens the blue door." in (message.content or "")
        asked = [ChatMessage.model_validate_json(message.model_dump_json()), ChatMessage(QUESTION)]
        [hit] = memory.get("key")
        assert llm.chat(asked).message.content == bare_answer(memory.backbone, QUESTION, hit.memory_embeddings)
        stranger = ComemLLM(memory=tiny_memory(family="llama"), max_tokens=12)
        assert stranger.chat(asked).raw["memory_tokens"] == 0
        assert stranger.chat(asked).raw["prompt_tokens"] > 100  # the item's text, byte by byte

    async def test_in_a_memory_and_an_agent_across_restarts(self, tmp_path: Path):
        async def talk(text: str) -> Any:
            with tiny_memory(tmp_path) as memory:
                chats = Memory.from_defaults(
                    session_id="ada",
                    token_limit=60,
                    chat_history_token_ratio=0.1,
                    token_flush_size=10,
                    memory_blocks=[ComemMemoryBlock(memory=memory)],
                    tokenizer_fn=lambda said: said.split(),
                )
                agent = FunctionAgent(llm=ComemLLM(memory=memory, max_tokens=8), tools=[])
                for line in (text, "Well?"):
                    output = await agent.run(line, memory=chats)
                return output.raw["memory_ids"], [hit.text for hit in memory.scan()]

        _, first = await talk("My cat is called Tom and he likes the warm oven in the kitchen.")
        assert any("My cat is called Tom" in text for text in first)
        ids, stored = await talk("What is my cat called? I forgot it again, tell me now please.")
        assert ids and set(first) < set(stored)

    async def test_what_cannot_be_read_stops_nothing(self, memory: ContinuousMemory):
        block = ComemMemoryBlock(memory=memory.namespace("eve"))
        odd = ChatMessage(role="user", blocks=[TextBlock(text="I like tea."), DocumentBlock(data=b"%PDF-1.4")])
        call = ToolCallBlock(tool_name="look", tool_kwargs="{not json")
        await block.aput([odd, ChatMessage(role="assistant", blocks=[call])], session_id="s1")
        [message] = await block.aget([odd, ChatMessage("tea")], session_id="s1")
        assert "- I like tea." in (message.content or "")
        memory.namespace("eve").clear()

    async def test_where_nothing_is_remembered_nothing_is_searched(self, memory: ContinuousMemory):
        """In the block's stead the model would search the whole namespace, other sessions' items included."""
        llm = ComemLLM(memory=memory, max_tokens=2)
        assert llm.complete(QUESTION).raw["memory_ids"]
        [nothing] = await ComemMemoryBlock(memory=memory).aget([ChatMessage(QUESTION)], session_id="new")
        assert nothing.content == "You remember nothing about this."  # for models that are not ours
        output = await FunctionAgent(llm=llm, tools=[]).run(
            QUESTION, memory=Memory.from_defaults(session_id="new", memory_blocks=[ComemMemoryBlock(memory=memory)])
        )
        assert output.raw["memory_ids"] == []
        for k in (0, 3):
            output = await FunctionAgent(llm=llm, tools=[]).run(
                QUESTION, memory=ComemMemory(memory=memory, session_id="new", k=k, recent=20)
            )
            assert output.raw["memory_ids"] == []
        ComemMemory(memory=memory, session_id="new").reset()


class TestMemory:
    async def test_a_context_is_kept_without_it(self, memory: ContinuousMemory):
        agent = FunctionAgent(llm=ComemLLM(memory=memory, max_tokens=4), tools=[])
        kept = ComemMemory(memory=memory.namespace("ada"), session_id="s1")
        context = Context(agent)
        await agent.run("Hi", ctx=context, memory=kept)
        restored = Context.from_dict(agent, context.to_dict())
        await agent.run("Again", ctx=restored, memory=kept)
        assert [m.content for m in kept.get_all() if m.role.value == "user"] == ["Hi", "Again"]
        kept.reset()

    def test_what_is_misspelt_is_refused_and_sessions_are_new(self, memory: ContinuousMemory):
        with pytest.raises(ValidationError, match="sesion_id"):
            ComemMemory(memory=memory, sesion_id="ada")
        assert ComemMemory(memory=memory).session_id != ComemMemory(memory=memory).session_id

    def test_a_call_and_its_result_stay_together(self, memory: ContinuousMemory):
        kept = ComemMemory(memory=memory.namespace("ada"), session_id="s1", recent=2)
        call = ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_call_id="1", tool_name="look")])
        result = ChatMessage("sunny", role="tool", additional_kwargs={"tool_call_id": "1"})
        kept.put_messages([ChatMessage("Weather?"), call, result, ChatMessage("Sunny.", role="assistant")])
        assert [m.role.value for m in kept.get("Weather?")[1:]] == ["user", "assistant", "tool", "assistant"]
        kept.reset()

    def test_other_messages_take_the_place_of_the_old_ones(self, memory: ContinuousMemory):
        kept = ComemMemory(memory=memory.namespace("ada"), session_id="s1")
        kept.put(ChatMessage("One"))
        kept.set([ChatMessage("Two"), ChatMessage("Three", role="assistant")])
        assert [m.content for m in kept.get_all()] == ["Two", "Three"]
        [document] = memory.namespace("ada").as_langchain_retriever(k=1).invoke("Two")
        ours = ("similarity", "created_at", "updated_at", "found_by")
        assert document.metadata.keys() == {f"comem.{name}" for name in ours}
        kept.reset()

    def test_older_messages_become_vectors(self, memory: ContinuousMemory):
        kept = ComemMemory(memory=memory.namespace("ada"), session_id="s1", recent=1, k=1)
        said = [ChatMessage("My cat is Tom."), ChatMessage("Nice.", role="assistant"), ChatMessage("And a dog.")]
        kept.put_messages(said)
        assert kept.get_all() == said
        recalled, *newest = kept.get("Who is Tom, my cat?")
        assert newest == said[2:]
        [hit] = memory.namespace("ada").get(recalled.additional_kwargs[MEMORY_IDS])
        assert hit.text == "User: My cat is Tom."
        other = ComemMemory(memory=memory.namespace("ada"), session_id="s2", recent=2)
        other.set([ChatMessage("One"), ChatMessage("Two"), ChatMessage("Three")])
        kept.reset()
        assert kept.get_all() == [] and len(other.get_all()) == 3
        assert ComemMemory.from_defaults(memory=memory.namespace("ada"), session_id="s2").get_all() == other.get_all()
        other.reset()

    async def test_in_a_chat_engine(self, memory: ContinuousMemory):
        view = memory.namespace("eva")
        engine = CondensePlusContextChatEngine.from_defaults(
            retriever=ComemRetriever(memory),
            llm=ComemLLM(memory=view, k=0, max_tokens=8),
            memory=ComemMemory(memory=view, session_id="s1", recent=1),
        )
        engine.chat("My cat is called Tom.")
        answer = await engine.achat("What is my cat called?")
        assert [n.node.node_id for n in answer.source_nodes]
        said = [message.content for message in ComemMemory(memory=view, session_id="s1").get_all()]
        assert said[0] == "My cat is called Tom." and len(said) == 4
        view.clear()

    def test_what_json_does_not_hold_costs_no_message(self, memory: ContinuousMemory, caplog: pytest.LogCaptureFixture):
        kept = ComemMemory(memory=memory.namespace("ada"), session_id="s1")
        odd = [
            ChatMessage("My cat \ud83d is Tom."),
            ChatMessage("3", role="tool", additional_kwargs={"tool_call_id": "1", "raw": object(), "bytes": b"\xff"}),
            ChatMessage("Nice.", role="assistant"),
        ]
        kept.put_messages(odd)
        assert [m.content for m in kept.get_all()] == ["My cat \ufffd is Tom.", "3", "Nice."]
        assert kept.get_all()[1].additional_kwargs["bytes"] == "/w=="
        assert "kept as text" in caplog.text
        assert ComemLLM(memory=memory, max_tokens=2).chat([*kept.get("\ud83d"), odd[0]]).raw["prompt_tokens"]
        kept.reset()
