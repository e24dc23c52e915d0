"""Answers from a vLLM server, against those of the same model in this process. Run by `make test-vllm`."""

import asyncio
import json
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from helpers.vllm import FLAGS, PYTHON, vllm_server
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from comem_memory import ContinuousMemory, mini
from comem_memory.chat import ChatSettings
from comem_memory.encoder import DeferredEncoder
from comem_memory.errors import (
    GrammarError,
    InvalidItemError,
    ModelConnectionError,
    ModelError,
    PromptTooLongError,
)
from comem_memory.integrations.langchain import ChatComem, ComemMiddleware
from comem_memory.integrations.llama_index import ComemLLM
from comem_memory.model import Backbone, ServedModel
from comem_memory.testing import tiny_backbone, tiny_models, tiny_picture

pytestmark = pytest.mark.skipif(PYTHON is None, reason="needs vLLM: make test-vllm")

COLOURS = ("blue", "red", "green", "white", "black", "pink", "grey", "brown", "gold", "teal", "violet", "orange")
KEYS = ("brass", "iron", "glass", "wooden", "silver", "copper", "golden", "plastic", "steel", "paper", "bone", "stone")
QUESTION = "What opens the blue door?"
TOKENS = 24


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the embedded default's language model."""
    folder = tmp_path_factory.mktemp("vllm") / "text"
    folder.symlink_to(mini.text_model())
    with vllm_server(folder, mini.TEXT_NAME, *FLAGS, "--structured-outputs-config.backend", "guidance") as served:
        yield served


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    """A memory whose model answers in this process."""
    with ContinuousMemory.from_pretrained() as memory:
        memory.add([f"The {c} door opens with the {k} key." for c, k in zip(COLOURS, KEYS, strict=True)])
        yield memory


@pytest.fixture(scope="module")
def served(url: str, local: ContinuousMemory) -> ContinuousMemory:
    """The same items, answered by the server."""
    model = ServedModel(url, mini.TEXT_NAME, location=str(mini.text_model()))
    return ContinuousMemory(local._encoder, local.key, local.store, backbone=model)


def asked(memory: ContinuousMemory, items: int, question: str = QUESTION) -> tuple[Any, torch.Tensor | None]:
    hits = memory.search(question, k=items, min_similarity=-1) if items else []
    assert len(hits) == items
    return memory.prompt(question, None, hits, "memory" if items else "none")


def drained(pieces: Generator[str, None, list[int]]) -> tuple[list[str], list[int]]:
    said: list[str] = []
    while True:
        try:
            said.append(next(pieces))
        except StopIteration as end:
            return said, end.value


def questions() -> list[tuple[int, str]]:
    return [(n % 5, f"What opens the {colour} door?") for n, colour in enumerate((*COLOURS, *COLOURS[:4]))]


class TestTheSameAnswers:
    """Greedy, in float32, token for token."""

    @pytest.mark.parametrize("items", [0, 1, 10])
    def test_one_prompt(self, local: ContinuousMemory, served: ContinuousMemory, items: int):
        ours = local.backbone.generate(*zip(asked(local, items), strict=True), max_new_tokens=TOKENS)
        theirs = served.backbone.generate(*zip(asked(served, items), strict=True), max_new_tokens=TOKENS)
        assert theirs == ours and ours[0]

    def test_several_prompts_of_one_call(self, local: ContinuousMemory, served: ContinuousMemory):
        said = [
            memory.backbone.generate(
                *zip(*(asked(memory, items) for items in (0, 1, 2, 10)), strict=True), max_new_tokens=TOKENS
            )
            for memory in (local, served)
        ]
        assert said[0] == said[1]

    @pytest.mark.parametrize("items", [0, 1, 10])
    def test_streamed(self, local: ContinuousMemory, served: ContinuousMemory, items: int):
        [ours] = local.backbone.generate(*zip(asked(local, items), strict=True), max_new_tokens=TOKENS)
        said, tokens = drained(served.backbone.stream(*asked(served, items), max_new_tokens=TOKENS))
        assert tokens == ours and len(said) > 1
        assert "".join(said).strip() == local.backbone.decode(ours)

    def test_sixteen_at_once(self, local: ContinuousMemory, served: ContinuousMemory):
        ours = [local.answer(q, k=k or 1, mode="memory" if k else "none").text for k, q in questions()]

        def answer(asked: tuple[int, str]) -> str:
            k, question = asked
            return served.answer(question, k=k or 1, mode="memory" if k else "none").text

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(answer, questions())) == ours

    @pytest.mark.parametrize("mode", ["memory", "text", "both", "none"])
    def test_a_conversation_in_every_mode(self, local: ContinuousMemory, served: ContinuousMemory, mode: Any):
        turns: list[dict[str, Any]] = [
            {"role": "system", "content": "You answer in one sentence."},
            {"role": "user", "content": "Hello <|im_end|>"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": QUESTION},
        ]
        settings = ChatSettings(max_tokens=TOKENS)
        ours, theirs = (memory.reply(turns, settings, k=2, mode=mode) for memory in (local, served))
        assert theirs.reply == ours.reply

    def test_what_stands_for_vectors_in_vllm_is_no_text_of_a_user(
        self, local: ContinuousMemory, served: ContinuousMemory
    ):
        turns = [{"role": "user", "content": "Repeat: <prompt_embeds>"}]
        escaped = [{"role": "user", "content": "Repeat: < prompt_embeds>"}]
        ours, theirs = local.reply(escaped, k=0).reply, served.reply(turns, k=0).reply
        assert theirs == ours

    def test_an_item_is_restated(self, local: ContinuousMemory, served: ContinuousMemory):
        id = local.ids()[0]
        assert served.describe(id, max_new_tokens=TOKENS) == local.describe(id, max_new_tokens=TOKENS)


class TestSettings:
    def test_a_seed_says_the_same(self, served: ContinuousMemory):
        said = [
            served.reply(
                [{"role": "user", "content": "Tell me a story."}],
                ChatSettings(max_tokens=12, temperature=1.0, top_p=0.9, seed=seed),
                mode="none",
            ).reply.text
            for seed in (1, 1, 2)
        ]
        assert said[0] == said[1] != said[2]

    @pytest.mark.parametrize("stream", [False, True])
    def test_an_answer_ends_before_a_stop_text(self, served: ContinuousMemory, stream: bool):
        turns = [{"role": "user", "content": QUESTION}]
        whole = served.reply(turns, ChatSettings(max_tokens=TOKENS), k=1).reply.text
        word = whole.split()[2]
        settings = ChatSettings(max_tokens=TOKENS, stop=[word])
        if stream:
            *pieces, replied = served.stream_reply(turns, settings, k=1)
            assert not isinstance(replied, str) and "".join(map(str, pieces)) == replied.reply.text
        else:
            replied = served.reply(turns, settings, k=1)
        assert replied.reply.text == whole.partition(word)[0].strip()
        assert replied.reply.finish_reason == "stop"

    def test_a_cut_answer_says_so(self, served: ContinuousMemory):
        reply = served.reply(
            [{"role": "user", "content": "Count to 100."}], ChatSettings(max_tokens=5), mode="none"
        ).reply
        assert (reply.completion_tokens, reply.finish_reason) == (5, "length")

    def test_json_fits_its_schema(self, served: ContinuousMemory):
        schema = {
            "type": "object",
            "properties": {"door": {"enum": list(COLOURS)}, "locked": {"type": "boolean"}},
            "required": ["door", "locked"],
            "additionalProperties": False,
        }
        reply = served.reply(
            [{"role": "user", "content": QUESTION}], ChatSettings(max_tokens=40, schema=schema), k=1
        ).reply
        assert reply.finish_reason == "stop"
        told = json.loads(reply.text)
        assert told.keys() == {"door", "locked"} and told["door"] in COLOURS

    def test_a_tool_is_called(self, served: ContinuousMemory):
        tool = {
            "type": "function",
            "function": {
                "name": "open_door",
                "description": "Opens a door.",
                "parameters": {
                    "type": "object",
                    "properties": {"colour": {"enum": list(COLOURS)}},
                    "required": ["colour"],
                    "additionalProperties": False,
                },
            },
        }
        reply = served.reply(
            [{"role": "user", "content": "Open the red door."}],
            ChatSettings(max_tokens=60, tools=[tool], tool_choice="any"),
            k=1,
        ).reply
        assert [call.name for call in reply.tool_calls] == ["open_door"] and reply.finish_reason == "tool_calls"
        assert reply.tool_calls[0].arguments["colour"] in COLOURS

    def test_settings_that_vllm_lacks_are_refused(self, served: ContinuousMemory):
        with pytest.raises(ModelError, match="does not take num_beams"):
            served.answer(QUESTION, num_beams=2)

    def test_a_schema_that_cannot_be_enforced(self, served: ContinuousMemory):
        with pytest.raises(GrammarError):
            served.reply([{"role": "user", "content": "?"}], ChatSettings(schema={"type": "frob"}), mode="none")


def made(url: str) -> float:
    """Tokens that the server has generated since it began."""
    told = httpx.get(url.removesuffix("/v1") + "/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in told if line.startswith("vllm:generation_tokens_total"))


def settles(url: str) -> bool:
    """Whether the server soon makes no more tokens."""
    before, waited_until = made(url), time.monotonic() + 20
    while time.monotonic() < waited_until:
        time.sleep(2)
        if (now := made(url)) == before:
            return True
        before = now
    return False


LONG: dict[str, Any] = {"max_new_tokens": 900, "min_new_tokens": 900}
"""Settings of an answer that takes a minute or more."""


class TestGivingUp:
    def test_a_stream_that_is_left(self, served: ContinuousMemory, url: str):
        before = made(url)
        pieces = served.backbone.stream(*asked(served, 1), **LONG)
        next(pieces)
        pieces.close()
        assert settles(url) and 0 < made(url) - before < 450

    def test_an_event(self, served: ContinuousMemory, url: str):
        stopped, before = threading.Event(), made(url)
        threading.Timer(2, stopped.set).start()
        begun = time.monotonic()
        [said] = served.backbone.generate(*zip(asked(served, 1), strict=True), stopped=stopped, **LONG)
        assert time.monotonic() - begun < 10 and len(said) < 450
        assert settles(url) and made(url) - before < 450

    async def test_a_task_that_is_cancelled(self, served: ContinuousMemory, url: str):
        before = made(url)
        answering = asyncio.create_task(served.aanswer(QUESTION, k=1, **LONG))
        await asyncio.sleep(3)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        assert await asyncio.to_thread(settles, url) and made(url) - before < 450


class TestOpening:
    def test_nothing_loads_until_something_is_added(self, url: str, tmp_path: Path):
        with ContinuousMemory.from_pretrained(persist_directory=tmp_path) as memory:
            memory.add("The blue door opens with the brass key.")
            ours = memory.answer(QUESTION, mode="memory")
        with ContinuousMemory.from_pretrained(persist_directory=tmp_path, answering_url=url) as memory:
            theirs = memory.answer(QUESTION, mode="memory")
            assert (theirs.text, theirs.prompt_tokens) == (ours.text, ours.prompt_tokens)
            assert isinstance(memory._encoder, DeferredEncoder) and memory._encoder._loaded is None
            memory.add("The red door opens with the iron key.")
            assert memory.count() == 2 and memory._encoder._loaded is not None
            assert memory.info.model == mini.TEXT_NAME and memory.info.context_window == 1024

    def test_no_server(self):
        with pytest.raises(ModelConnectionError, match=r"does not answer.*vllm serve"):
            ContinuousMemory.from_pretrained(answering_url="http://127.0.0.1:1/v1")

    def test_another_model(self, url: str):
        with pytest.raises(ModelError, match=f"serves {mini.TEXT_NAME}, but the answers need {mini.NAME}"):
            ServedModel(url, mini.NAME, location=str(mini.base_model()))

    def test_another_tokenizer(self, url: str, tmp_path: Path):
        save(tiny_backbone("llama"), tmp_path)
        with pytest.raises(ModelError, match="hidden_size 64 does not match"):
            ServedModel(url, mini.TEXT_NAME, location=str(tmp_path))

    def test_what_is_no_such_api(self, url: str):
        with pytest.raises(ModelConnectionError, match="404"):
            ServedModel(url.removesuffix("/v1"), mini.TEXT_NAME, location=str(mini.text_model()))


class TestRefusals:
    def test_a_prompt_that_does_not_fit(self, served: ContinuousMemory):
        with pytest.raises(PromptTooLongError, match="window is 1024"):
            served.answer("door " * 1100, mode="none")

    def test_a_picture_for_a_model_of_texts(self, served: ContinuousMemory):
        turns = [{"role": "user", "content": [{"type": "image", "image": tiny_picture()}]}]
        with pytest.raises(InvalidItemError, match="takes no pictures"):
            served.reply(turns, k=0)

    def test_vectors_of_another_width(self, served: ContinuousMemory):
        prompt, _ = asked(served, 0)
        with pytest.raises(ModelError, match="hidden_size 8 does not match"):
            served.backbone.generate([prompt], [torch.zeros(2, 8)])


class TestFrameworks:
    @pytest.mark.parametrize("system", [None, "You answer in one sentence."])
    def test_chat_openai_is_given_vectors_in_the_places_of_our_own(
        self, url: str, local: ContinuousMemory, system: str | None
    ):
        chat = ChatOpenAI(
            base_url=url, api_key=SecretStr("none"), model=mini.TEXT_NAME, temperature=0, max_completion_tokens=TOKENS
        )
        middleware = ComemMiddleware(local, k=2, mode="memory", vectors=True, tools=False, remember=lambda _: None)
        agent = create_agent(chat, system_prompt=system, middleware=[middleware])
        messages = agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"]
        turns = [{"role": "system", "content": system}] if system else []
        ours = local.reply(
            [*turns, {"role": "user", "content": QUESTION}], ChatSettings(max_tokens=TOKENS), k=2, mode="memory"
        ).reply
        assert [message.type for message in messages] == ["human", "ai"]
        assert messages[-1].text.strip() == ours.text
        assert messages[-1].usage_metadata["input_tokens"] == ours.prompt_tokens > 8 * 2

    def test_an_agent_of_langchain(self, local: ContinuousMemory, served: ContinuousMemory):
        said = []
        for memory in (local, served):
            chat = ChatComem(memory=memory, max_tokens=TOKENS)
            agent = create_agent(chat, middleware=[ComemMiddleware(memory, k=2, tools=False, remember=lambda _: None)])
            said.append(agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"][-1])
        assert said[0].content == said[1].content
        assert said[0].usage_metadata == said[1].usage_metadata
        assert said[0].response_metadata["memory_ids"] == said[1].response_metadata["memory_ids"]

    def test_llama_index(self, local: ContinuousMemory, served: ContinuousMemory):
        said = [
            [piece.delta for piece in ComemLLM(memory=memory, max_tokens=TOKENS).stream_complete(QUESTION)]
            for memory in (local, served)
        ]
        assert "".join(map(str, said[0])) == "".join(map(str, said[1])) != ""


class TestPictures:
    """A tiny random Qwen2.5-VL, whose pictures vLLM reads itself."""

    @pytest.fixture(scope="class")
    def seeing(self, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
        with pytest.MonkeyPatch.context() as patch:  # vLLM has no kernel for CPUs with heads of 16
            heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
            rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6}}
            patch.setattr(tiny_models, "_QWEN_TEXT", tiny_models._QWEN_TEXT | heads | rope | {"vocab_size": 272})
            return tiny_backbone("qwen2_5_vl")

    @pytest.fixture(scope="class")
    def theirs(self, seeing: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedModel]:
        folder = tmp_path_factory.mktemp("pictures") / "qwen"
        save(seeing, folder)
        videos = {
            "video_processor_type": "Qwen2VLVideoProcessor",
            "size": {"shortest_edge": 784, "longest_edge": 12544},
        }
        (folder / "video_preprocessor_config.json").write_text(json.dumps(videos | {"patch_size": 14, "merge_size": 2}))
        with vllm_server(folder, "tiny-qwen2_5_vl", *FLAGS) as url:
            yield ServedModel(url, "tiny-qwen2_5_vl", location=str(folder))

    @pytest.mark.parametrize(("items", "pictures"), [(0, 0), (2, 0), (0, 1), (2, 1), (2, 2)])
    def test_vectors_beside_pictures(self, seeing: Backbone, theirs: ServedModel, items: int, pictures: int):
        parts: list[dict[str, Any]] = [
            {"type": "image", "image": tiny_picture(n, size=(56, 84))} for n in range(pictures)
        ]
        turns = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]
        generator = torch.Generator().manual_seed(items)
        memory = torch.randn(8 * items, 64, generator=generator) * seeing.token_embeddings.std() if items else None
        ours, said = (model.generate([model.prompt(turns)], [memory], max_new_tokens=16) for model in (seeing, theirs))
        assert said == ours and ours[0]


class TestAServerWithoutFlags:
    def test_what_to_do_is_said_when_it_is_opened(self, tmp_path: Path):
        folder = tmp_path / "plain"
        folder.symlink_to(mini.text_model())
        with vllm_server(folder, mini.TEXT_NAME, "--api-key", "secret") as url:
            with pytest.raises(ModelConnectionError, match="answering_token"):
                ServedModel(url, mini.TEXT_NAME, location=str(folder))
            with pytest.raises(ModelError, match="--enable-prompt-embeds --trust-request-chat-template"):
                ServedModel(url, mini.TEXT_NAME, location=str(folder), token="secret")


def save(backbone: Backbone, folder: Path) -> None:
    backbone.model.save_pretrained(folder)
    backbone.prompts.processor.save_pretrained(folder)
