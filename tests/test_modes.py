"""One road from recall to prompt: whoever asks, in whichever mode, the model reads and answers the same."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from helpers.saved import save_tiny
from helpers.scripted import Scripted
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.base.llms.types import ChatMessage
from typer.testing import CliRunner

from comem_memory import ChromaStore, ContinuousMemory, MemoryItem, RetrievalKey, opening
from comem_memory.chat import memory_of, text_of
from comem_memory.cli import app as cli
from comem_memory.config import Mode
from comem_memory.errors import QueryError
from comem_memory.integrations.langchain import ChatComem, ComemChatMessageHistory, ComemMiddleware, memory_block
from comem_memory.integrations.llama_index import ComemLLM, ComemMemory, ComemMemoryBlock
from comem_memory.model import PromptItem, as_text
from comem_memory.store import identity_of
from comem_memory.testing import LetterEmbedder, tiny_key, tiny_memory, tiny_picture

MODES: tuple[Mode, ...] = get_args(Mode)
QUESTION = "What opens the blue door?"
ITEMS = [
    MemoryItem(id="door", text="The blue door opens with the brass key.", image=tiny_picture(1)),
    MemoryItem(id="key", text="The brass key hangs behind the blue door."),
    MemoryItem(id="cat", text="Zzz."),
]
Told = tuple[str, int]
"""An answer, and the tokens of its prompt."""


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("memory")) as memory:
        memory.add(ITEMS)
        yield memory


def answered(memory: ContinuousMemory, mode: Mode | None) -> Told:
    answer = memory.answer(QUESTION, k=2, mode=mode, max_new_tokens=12)
    assert answer.text
    return answer.text, answer.prompt_tokens


def chat_model(memory: ContinuousMemory, mode: Mode) -> Told:
    said = ChatComem(memory=memory, k=2, mode=mode, max_tokens=12).invoke(QUESTION)
    return said.text, said.usage_metadata["input_tokens"]


def bound_chat_model(memory: ContinuousMemory, mode: Mode) -> Told:
    said = ChatComem(memory=memory, k=2, max_tokens=12).bind(mode=mode).invoke(QUESTION)
    return said.text, said.usage_metadata["input_tokens"]


def streamed_chat_model(memory: ContinuousMemory, mode: Mode) -> Told:
    *pieces, last = ChatComem(memory=memory, k=2, max_tokens=12).stream(QUESTION, mode=mode)
    return "".join(piece.text for piece in (*pieces, last)), last.usage_metadata["input_tokens"]


def memory_block_in_a_message(memory: ContinuousMemory, mode: Mode) -> Told:
    ids = [hit.id for hit in memory.search(QUESTION, k=2)]
    block = HumanMessage([memory_block(ids, mode=mode), {"type": "text", "text": QUESTION}])
    said = ChatComem(memory=memory, max_tokens=12).invoke([block])
    return said.text, said.usage_metadata["input_tokens"]


def agent(memory: ContinuousMemory, mode: Mode) -> Told:
    middleware = ComemMiddleware(memory, k=2, mode=mode, tools=False, remember=lambda messages: None)
    graph = create_agent(ChatComem(memory=memory, max_tokens=12), middleware=[middleware])
    said = graph.invoke({"messages": [{"role": "user", "content": QUESTION}]})["messages"][-1]
    return said.text, said.usage_metadata["input_tokens"]


def agent_whose_model_has_the_mode(memory: ContinuousMemory, mode: Mode) -> Told:
    middleware = ComemMiddleware(memory, k=2, tools=False, remember=lambda messages: None)
    graph = create_agent(ChatComem(memory=memory, max_tokens=12, mode=mode), middleware=[middleware])
    said = graph.invoke({"messages": [{"role": "user", "content": QUESTION}]})["messages"][-1]
    return said.text, said.usage_metadata["input_tokens"]


def llm(memory: ContinuousMemory, mode: Mode) -> Told:
    said = ComemLLM(memory=memory, k=2, mode=mode, max_tokens=12).complete(QUESTION)
    return said.text, said.raw["prompt_tokens"]


def llm_per_call(memory: ContinuousMemory, mode: Mode) -> Told:
    said = ComemLLM(memory=memory, k=2, max_tokens=12).chat([ChatMessage(QUESTION)], mode=mode)
    return said.message.content, said.raw["prompt_tokens"]


def llm_with_memory_block(memory: ContinuousMemory, mode: Mode) -> Told:
    block = ComemMemoryBlock(memory=memory, k=2, mode=mode)
    recalled = asyncio.run(block.aget([ChatMessage(QUESTION)]))
    said = ComemLLM(memory=memory, max_tokens=12).chat([*recalled, ChatMessage(QUESTION)])
    return said.message.content, said.raw["prompt_tokens"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "ask",
    [
        chat_model,
        bound_chat_model,
        streamed_chat_model,
        memory_block_in_a_message,
        agent,
        agent_whose_model_has_the_mode,
        llm,
        llm_per_call,
        llm_with_memory_block,
    ],
)
def test_every_way_to_ask_is_memory_answer(
    memory: ContinuousMemory, ask: Callable[[ContinuousMemory, Mode], Told], mode: Mode
):
    assert ask(memory, mode) == answered(memory, mode)


def test_the_modes_are_different_prompts(memory: ContinuousMemory):
    tokens = {mode: answered(memory, mode)[1] for mode in MODES}
    vectors = 2 * 8
    assert tokens["memory"] == tokens["none"] + vectors
    assert tokens["text"] > tokens["both"] - vectors > tokens["none"]  # text alone is asked in more words


@pytest.mark.parametrize("mode", MODES)
def test_the_command_line(tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening, "default_key", tiny_key)
    base, adapter = save_tiny(tmp_path)
    options = ["--model", str(base), "--adapter", str(adapter), "-d", str(tmp_path / "memory")]
    with ContinuousMemory.from_pretrained(str(base), adapter, tmp_path / "memory") as memory:
        memory.add(ITEMS[1:])
        expected = memory.answer(QUESTION, k=1, mode=mode)
    done = CliRunner().invoke(cli.app, [*options, "ask", QUESTION, "-k", "1", "--mode", mode, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["answer"], told["prompt_tokens"]) == (expected.text, expected.prompt_tokens)


@pytest.mark.parametrize("mode", MODES)
def test_unless_told_otherwise_all_do_as_the_memory(mode: Mode):
    with tiny_memory() as plain:
        memory = ContinuousMemory(plain.encoder, plain.key, plain.store, mode=mode)
        memory.add(ITEMS[1:])
        expected = answered(memory, None)
        assert expected == answered(memory, mode)
        for ask in (chat_model, agent, llm, llm_with_memory_block):
            assert ask(memory, None) == expected  # type: ignore[arg-type]


def test_a_memory_follows_its_encoders_recommendation():
    with tiny_memory() as memory:
        assert memory.mode == "memory"
        config = memory.encoder.encoder_config
        memory.encoder.encoder_config = config.model_copy(update={"recommended_mode": "both"})
        assert ContinuousMemory(memory.encoder, memory.key, memory.store).mode == "both"
        assert ContinuousMemory(memory.encoder, memory.key, memory.store, mode="text").mode == "text"


@pytest.mark.parametrize(("order", "first"), [("best_last", 1), ("best_first", 0)])
def test_a_model_reads_items_in_its_encoders_order(order: str, first: int):
    with tiny_memory() as memory:
        memory.add(ITEMS[1:])
        memory.encoder.encoder_config = memory.encoder.encoder_config.model_copy(update={"order": order})
        prompt, vectors, hits = memory.prepare(QUESTION, k=2, mode="both")
        assert [hit.id for hit in hits] == [hit.id for hit in memory.search(QUESTION, k=2)], "hits come best first"
        read = [hits[first], hits[1 - first]]
        assert vectors is not None and torch.equal(vectors, torch.cat([hit.memory_embeddings for hit in read]))
        text = memory.backbone.prompts.tokenizer.decode(prompt["input_ids"][0])
        assert text.index(read[0].text) < text.index(read[1].text)  # type: ignore[arg-type]

        scripted = Scripted(answers=[AIMessage("Luna.")])
        keep = ComemMiddleware(memory, k=2, tools=False, remember=lambda messages: None)
        create_agent(scripted, middleware=[keep]).invoke({"messages": [{"role": "user", "content": QUESTION}]})
        [block] = asyncio.run(ComemMemoryBlock(memory=memory, k=2).aget([ChatMessage(QUESTION)]))
        place = order.removeprefix("best_")
        expected = "\n- ".join([f"What you remember, the most relevant {place}:", *(str(hit.text) for hit in read)])
        assert [scripted.seen[0][0].content, block.content] == [expected] * 2


def test_an_unknown_mode_is_refused_at_once(memory: ContinuousMemory):
    with pytest.raises(QueryError, match="mode is 'vectors'. Use one of memory, text, both, none"):
        ContinuousMemory.from_pretrained("no-such-model", mode="vectors")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="mode is 'vectors'"):
        memory.answer(QUESTION, mode="vectors")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="mode is 'vectors'"):
        ComemMiddleware(memory, mode="vectors")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="mode is 'vectors'"):
        ComemChatMessageHistory(memory, "a", mode="vectors")  # type: ignore[arg-type]
    for model in (ChatComem, ComemLLM, ComemMemoryBlock, ComemMemory):
        with pytest.raises(ValueError, match=r"(?s)mode\n.*'memory', 'text', 'both' or 'none'"):
            model(memory=memory, mode="vectors")


def shown(memory: ContinuousMemory, **settings: Any) -> str:
    """The prompt as text."""
    prompt, _, _ = memory.prepare(QUESTION, k=2, **settings)
    return memory.backbone.prompts.tokenizer.decode(prompt["input_ids"][0])


def test_own_text_prompts():
    with tiny_memory() as plain:
        memory = ContinuousMemory(
            plain.encoder, plain.key, plain.store, text_prompt="Asked: {question} Known: {context}!"
        )
        memory.add(ITEMS[1:])
        [first, second] = memory.search(QUESTION, k=2)
        for mode in ("text", "both"):
            assert f"Asked: {QUESTION} Known: {second.text}\n{first.text}!" in shown(memory, mode=mode)
        assert "Asked" not in shown(memory, mode="memory")
        assert "Asked" not in shown(memory, mode="none")


@pytest.mark.parametrize("template", ["{question}", "{context}", "{context} {context} {question}", ""])
def test_a_text_prompt_has_both_places(template: str, memory: ContinuousMemory):
    with pytest.raises(QueryError, match=r"needs \{context\} and \{question\}, once each"):
        ContinuousMemory(memory.encoder, memory.key, memory.store, text_prompt=template)
    with pytest.raises(QueryError, match="once each"):
        ContinuousMemory.from_pretrained("no-such-model", text_prompt=template)


def test_texts_go_into_the_last_question_of_a_conversation(memory: ContinuousMemory):
    turns = [
        {"role": "user", "content": "Good morning!"},
        {"role": "assistant", "content": "Good morning."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "Thought: I have to look.\nAction: look"},
        {"role": "user", "content": "Observation: a key"},
    ]
    recalled = memory.recall(turns, k=1, mode="both")
    [hit] = recalled.hits
    assert recalled.memory is not None and (recalled.memory == memory_of([hit])).all()
    said = [text_of(turn) for turn in recalled.messages]
    assert hit.text in said[2] and QUESTION in said[2]
    assert [said[n] for n in (0, 1, 3, 4)] == [turns[n]["content"] for n in (0, 1, 3, 4)]
    assert turns[2] == {"role": "user", "content": QUESTION}  # the caller's stays


def test_a_picture_of_an_item_is_shown_beside_its_text(memory: ContinuousMemory):
    assert shown(memory, mode="text").count("<image>") == shown(memory, mode="both").count("<image>") > 0
    assert "<image>" not in shown(memory, mode="memory")


def test_a_call_decides_before_a_message_and_a_message_before_the_model(memory: ContinuousMemory):
    def tokens(model_mode: Mode | None, block_mode: Mode | None, call_mode: Mode | None) -> int:
        ids = [hit.id for hit in memory.search(QUESTION, k=2)]
        block = HumanMessage([memory_block(ids, mode=block_mode), {"type": "text", "text": QUESTION}])
        call = {} if call_mode is None else {"mode": call_mode}
        said = ChatComem(memory=memory, mode=model_mode, max_tokens=1).invoke([block], **call)
        return said.usage_metadata["input_tokens"]

    expected = {mode: answered(memory, mode)[1] for mode in MODES}
    assert tokens("both", "text", "none") == expected["none"]
    assert tokens("both", "text", None) == expected["text"]
    assert tokens("both", None, None) == expected["both"]
    block = asyncio.run(ComemMemoryBlock(memory=memory, k=2, mode="memory").aget([ChatMessage(QUESTION)]))
    said = ComemLLM(memory=memory, mode="both", max_tokens=1).chat([*block, ChatMessage(QUESTION)])
    assert said.raw["prompt_tokens"] == expected["memory"]


@pytest.mark.parametrize("mode", ["memory", "text", "both"])
def test_what_the_system_turn_tells_already_is_not_told_again(memory: ContinuousMemory, mode: Mode):
    """Whether a model with fallbacks is ours cannot be seen from outside: it is told the texts, and told them once."""
    chat = ChatComem(memory=memory, max_tokens=1)
    middleware = ComemMiddleware(memory, k=1, mode=mode, tools=False, remember=lambda messages: None)
    graph = create_agent(chat.with_fallbacks([chat]), middleware=[middleware])
    said = graph.invoke({"messages": [{"role": "user", "content": QUESTION}]})["messages"][-1]
    [hit] = memory.search(QUESTION, k=1)
    told = as_text([PromptItem(hit.text, hit.image)])
    turns = [{"role": "system", "content": told}, {"role": "user", "content": QUESTION}]
    prompt = memory.backbone.prompts.prompt_inputs(turns)
    vectors = memory_of([hit]) if mode != "text" else None
    assert said.usage_metadata["input_tokens"] == memory.backbone.prompt_length(prompt, vectors)


def test_models_of_others_are_told_the_day_on_which_something_was_said():
    with tiny_memory() as memory:
        memory.add(MemoryItem(text="My dog is called Luna.", said_at="2026-05-03T23:30:00+02:00"))
        told = "What you remember, the most relevant last:\n- on 3 May 2026: My dog is called Luna."
        scripted = Scripted(answers=[AIMessage("Luna.")])
        create_agent(scripted, middleware=[ComemMiddleware(memory, tools=False)]).invoke(
            {"messages": [{"role": "user", "content": "What is my dog called?"}]}
        )
        assert scripted.seen[0][0].content == told
        [block] = asyncio.run(ComemMemoryBlock(memory=memory, k=1).aget([ChatMessage("What is my dog called?")]))
        assert block.content == told


def test_no_more_of_a_long_item_is_told_than_was_encoded(tmp_path: Path):
    with tiny_memory(tmp_path) as memory:
        window = memory.encoder.encoder_config.max_length
        memory.add(MemoryItem(id="long", text="door " * window), truncate=True)
        for mode in ("text", "both"):
            answer = memory.answer(QUESTION, k=1, mode=mode, max_new_tokens=1)
            assert answer.hits[0].text == "door " * window
            assert answer.prompt_tokens < window + 200


def test_a_picture_that_is_gone_stops_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    picture = tmp_path / "door.png"
    tiny_picture(1).save(picture)
    with tiny_memory(tmp_path / "memory") as memory:
        memory.add(MemoryItem(text="The blue door.", image=picture))
        with_picture = memory.answer(QUESTION, k=1, mode="text", max_new_tokens=1).prompt_tokens
        picture.unlink()
        assert memory.answer(QUESTION, k=1, mode="text", max_new_tokens=1).prompt_tokens < with_picture
        assert "without its picture" in caplog.text and "door.png" in caplog.text


def test_nothing_to_search_with_is_said(memory: ContinuousMemory):
    with pytest.raises(QueryError, match="k is 0"):
        memory.answer(QUESTION, k=0, mode="both")
    assert memory.answer(QUESTION, k=0, mode="none", max_new_tokens=1).hits == []
    texts_only = RetrievalKey(text=LetterEmbedder())
    with tiny_memory() as plain:
        store = ChromaStore.in_memory(identity=identity_of(plain.encoder, texts_only))
        unseeing = ContinuousMemory(plain.encoder, texts_only, store)
        with pytest.raises(QueryError, match="embeds texts only"):
            unseeing.answer("", tiny_picture(1))
        unseeing.close()


class TestMargin:
    """What is much less similar to the question than the best item is found, and yet not given to the model."""

    FAR = 0.05

    @pytest.fixture
    def narrow(self) -> Iterator[ContinuousMemory]:
        with tiny_memory() as plain:
            memory = ContinuousMemory(plain.encoder, plain.key, plain.store, margin=self.FAR)
            memory.add([*ITEMS[1:], MemoryItem(id="twin", text="The brass key hangs behind the blue door!")])
            yield memory

    def test_what_is_given(self, narrow: ContinuousMemory):
        hits = narrow.search(QUESTION, k=3)
        assert [hit.id for hit in hits][2:] == ["cat"], "a search finds all"
        best, twin, cat = (float(hit.similarity or 0) for hit in hits)
        assert best - twin < self.FAR < best - cat
        assert [hit.id for hit in narrow.near_first(hits)] == [hit.id for hit in hits[:2]]
        assert [hit.id for hit in narrow.answer(QUESTION, k=3, max_new_tokens=2).hits] == [hit.id for hit in hits[:2]]
        turns = [{"role": "user", "content": QUESTION}]
        for named in ({"ids": ["key", "cat"]}, {"found": ["key", "cat"]}):
            assert [hit.id for hit in narrow.recall(turns, **named).hits] == ["key", "cat"], "these were asked for"

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("ask", [chat_model, agent, llm, llm_with_memory_block])
    def test_every_way_to_ask(
        self, narrow: ContinuousMemory, ask: Callable[[ContinuousMemory, Mode], Told], mode: Mode
    ):
        narrow.delete(ids="twin")
        expected = narrow.answer(QUESTION, k=1, mode=mode, max_new_tokens=12)
        assert ask(narrow, mode) == (expected.text, expected.prompt_tokens), "the second of two is too far"

    def test_other_models_get_all(self, narrow: ContinuousMemory):
        scripted = Scripted(answers=[AIMessage("Luna.")])
        keep = ComemMiddleware(narrow, k=3, tools=False, remember=lambda messages: None)
        create_agent(scripted, middleware=[keep]).invoke({"messages": [{"role": "user", "content": QUESTION}]})
        assert "Zzz." in scripted.seen[0][0].text
        [block] = asyncio.run(ComemMemoryBlock(memory=narrow, k=3).aget([ChatMessage(QUESTION)]))
        assert "Zzz." in str(block.content)

    def test_a_question_with_a_picture_gets_all(self, narrow: ContinuousMemory):
        assert len(narrow.answer(QUESTION, tiny_picture(1), k=3, max_new_tokens=2).hits) == 3

    def test_an_encoder_says_it_and_a_memory_may_say_another(self):
        with tiny_memory() as memory:
            assert memory.margin is None
            config = memory.encoder.encoder_config
            memory.encoder.encoder_config = config.model_copy(update={"margin": 0.1})
            assert ContinuousMemory(memory.encoder, memory.key, memory.store).margin == 0.1
            assert ContinuousMemory(memory.encoder, memory.key, memory.store, margin=2).margin == 2
            for wrong in (-0.1, 2.1, "0.1"):
                with pytest.raises(QueryError, match="from 0"):
                    ContinuousMemory(memory.encoder, memory.key, memory.store, margin=wrong)  # type: ignore[arg-type]
