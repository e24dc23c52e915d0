"""A conversation's next turn with tiny models: answers, streams, sampling, tools, and templates with rules."""

import itertools
import re
import threading
from typing import Any, ClassVar

import pytest
import torch
from helpers.bare_model import bare_answer
from helpers.tools import ADD, WEATHER
from transformers import LogitsProcessor

from comem_memory.chat import Chat, ChatSettings, Reply, text_of
from comem_memory.chat.chat import _alternating
from comem_memory.chat.tool_calls import BEGIN, END, write_call
from comem_memory.errors import GrammarError, InvalidItemError, ModelError, PromptTooLongError
from comem_memory.model import Backbone, Message, ModelInputs
from comem_memory.testing import HIDDEN_SIZE, tiny_backbone, tiny_picture


def turn(role: str, text: str) -> Message:
    return {"role": role, "content": text}


QUESTION = "What opens the blue door?"
ASKED = [turn("user", QUESTION)]
MEMORY = torch.randn(16, HIDDEN_SIZE, generator=torch.Generator().manual_seed(0))
CALL = write_call("add", {"a": 1, "b": 2})
HERMES = f"{BEGIN}{CALL}{END}"


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(tiny_backbone("llava"))


@pytest.fixture(scope="module")
def gemma() -> Chat:
    return Chat(tiny_backbone("gemma3"))


class Says(LogitsProcessor):
    """Makes a model say a text, whatever it was asked."""

    def __init__(self, backbone: Backbone, text: str) -> None:
        self.tokens = [*backbone.prompts.tokenizer(text, add_special_tokens=False).input_ids, backbone.stops()[0]]
        self.said = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        others = torch.ones_like(scores, dtype=torch.bool)
        others[:, self.tokens[self.said]] = False
        self.said += 1
        return scores.masked_fill(others, float("-inf"))


def saying(chat: Chat, text: str, **settings: Any) -> ChatSettings:
    says = {"logits_processor": [Says(chat.backbone, text)]}
    return ChatSettings(max_tokens=len(text.encode()) + 1, generation_kwargs=says, **settings)


def streamed(chat: Chat, settings: ChatSettings) -> tuple[list[str], Reply]:
    *pieces, reply = chat.stream(ASKED, settings=settings)
    assert isinstance(reply, Reply)
    assert "".join(pieces) == reply.text
    return pieces, reply


def as_read(chat: Chat, prompt: ModelInputs) -> str:
    return str(chat.backbone.prompts.tokenizer.decode(prompt["input_ids"][0]))


class TestReply:
    @pytest.mark.parametrize("memory", [None, MEMORY])
    def test_it_is_what_the_model_says_after_its_memory(self, chat: Chat, memory: torch.Tensor | None):
        reply = chat.reply(ASKED, memory, ChatSettings(max_tokens=12))
        assert reply.text == bare_answer(chat.backbone, QUESTION, memory)
        assert reply.memory_tokens == (0 if memory is None else 16)
        assert reply.prompt_tokens == chat.prompt(ASKED)["input_ids"].shape[1] + reply.memory_tokens
        assert reply.tool_calls == []

    def test_an_answer_that_is_cut_says_so(self, chat: Chat):
        whole = chat.reply(ASKED, settings=saying(chat, "Brass."))
        assert (whole.text, whole.completion_tokens, whole.finish_reason) == ("Brass.", 6, "stop")
        cut = chat.reply(ASKED, settings=ChatSettings(max_tokens=3))
        assert (cut.completion_tokens, cut.finish_reason) == (3, "length")

    def test_too_long_is_said_before_generating(self, chat: Chat):
        long = [turn("user", "word " * 300)]
        with pytest.raises(PromptTooLongError, match="1024"):
            chat.reply(long)
        with pytest.raises(PromptTooLongError, match="1024"):
            chat.stream(long)  # before anything is asked of the stream

    def test_a_picture_for_a_model_without_eyes_is_refused(self):
        shown = {"role": "user", "content": [{"type": "image", "image": tiny_picture(1)}]}
        with pytest.raises(InvalidItemError, match="text-only and takes no pictures"):
            Chat(tiny_backbone("llama")).reply([shown])

    def test_stop_texts_end_the_answer(self, chat: Chat):
        whole = chat.reply(ASKED, MEMORY, ChatSettings(max_tokens=12)).text
        stop = whole[3:5]
        expected = whole[: whole.index(stop)].strip()
        settings = ChatSettings(max_tokens=12, stop=[stop])
        assert chat.reply(ASKED, MEMORY, settings).text == expected
        *pieces, reply = chat.stream(ASKED, MEMORY, settings)
        assert "".join(pieces) == reply.text == expected

    def test_sampling_samples_whatever_the_model_s_own_settings(self, chat: Chat, monkeypatch: pytest.MonkeyPatch):
        for name, value in {"top_k": 1, "top_p": 0.001, "temperature": 0.01}.items():  # as Qwen2-VL has them
            monkeypatch.setattr(chat.backbone.model.generation_config, name, value)

        def said(seed: int, **more: Any) -> str:
            settings = ChatSettings(max_tokens=12, temperature=1.0, seed=seed, generation_kwargs=more)
            return chat.reply(ASKED, settings=settings).text

        assert len({said(seed) for seed in range(4)}) > 1
        assert len({said(seed, top_k=1) for seed in range(4)}) == 1, "what is asked for counts"

    def test_a_seed_repeats_and_leaves_the_caller_s_numbers_alone(self, chat: Chat):
        torch.manual_seed(7)
        expected = torch.rand(1)
        torch.manual_seed(7)
        first, again, other = (
            chat.reply(ASKED, settings=ChatSettings(max_tokens=12, temperature=1.0, seed=seed)).text
            for seed in (1, 1, 2)
        )
        assert first == again != other
        assert torch.rand(1) == expected


class TestStream:
    def test_pieces_add_up_to_the_reply(self, chat: Chat):
        settings = ChatSettings(max_tokens=30)
        *pieces, reply = chat.stream(ASKED, MEMORY, settings)
        assert reply == chat.reply(ASKED, MEMORY, settings)
        assert "".join(pieces) == reply.text

    def test_text_comes_before_the_answer_ends(self, chat: Chat):
        pieces, reply = streamed(chat, saying(chat, "The brass key opens it."))
        assert len(pieces) > 2 and reply.text == "The brass key opens it."

    @pytest.mark.parametrize("said", [HERMES, CALL, f"```json\n{CALL}\n```"])
    def test_a_call_is_held_back(self, chat: Chat, said: str):
        pieces, reply = streamed(chat, saying(chat, said, tools=[ADD]))
        assert (pieces, reply.text, reply.finish_reason) == ([], "", "tool_calls")
        assert [(call.name, call.arguments) for call in reply.tool_calls] == [("add", {"a": 1, "b": 2})]

    def test_text_before_a_call_is_told_and_the_call_is_not(self, chat: Chat):
        pieces, reply = streamed(chat, saying(chat, f"Let me add them. {HERMES}", tools=[ADD]))
        assert len(pieces) > 1 and reply.text == "Let me add them."
        assert [call.name for call in reply.tool_calls] == ["add"]

    @pytest.mark.parametrize("said", ['{"sum": 3} is what it is.', f"{BEGIN}of nothing{END} and more"])
    def test_what_was_held_back_and_is_no_call_comes_at_the_end(self, chat: Chat, said: str):
        assert streamed(chat, saying(chat, said, tools=[ADD]))[0] == [said]

    @pytest.mark.parametrize("settings", [{}, {"tools": [ADD], "tool_choice": "none"}])
    def test_where_no_tool_may_be_called_nothing_is_held_back(self, chat: Chat, settings: dict[str, Any]):
        said = f"Say {HERMES} now."
        pieces, reply = streamed(chat, saying(chat, said, **settings))
        assert len(pieces) > 2 and reply.text == said and reply.tool_calls == []

    def test_a_stop_text_is_not_told_in_part(self, chat: Chat):
        pieces, reply = streamed(chat, saying(chat, "One two THE END three", stop=["HE END", "never"]))
        assert reply.text == "One two T" and reply.finish_reason == "stop"
        pieces, reply = streamed(chat, saying(chat, "One two THE EN three", stop=["THE END"]))
        assert reply.text == "One two THE EN three"
        assert not any(piece.endswith("THE") for piece in pieces), "it might have become the stop text"

    def test_an_answer_can_be_stopped(self, chat: Chat):
        stopped = threading.Event()
        stopped.set()
        *_, reply = chat.stream(ASKED, settings=saying(chat, "word " * 50), stopped=stopped)
        assert reply.completion_tokens <= 1


class TestTools:
    def test_an_unknown_choice_is_refused(self, chat: Chat):
        with pytest.raises(GrammarError, match=r"tool_choice is 'subtract', but the tools are add, weather\. Use one"):
            chat.reply(ASKED, settings=ChatSettings(tools=[ADD, WEATHER], tool_choice="subtract"))

    def test_only_the_chosen_tool_is_called(self, chat: Chat):
        settings = ChatSettings(max_tokens=200, tools=[ADD, WEATHER], tool_choice="add")
        [call] = chat.reply(ASKED, settings=settings).tool_calls
        assert call.name == "add" and {type(value) for value in call.arguments.values()} == {int}

    def test_with_a_schema_the_model_may_still_call(self, chat: Chat):
        schema = {"type": "object", "properties": {"name": {"const": "add"}}, "required": ["name"]}
        both = {"tools": [ADD], "schema": schema}
        answer = chat.reply(ASKED, settings=saying(chat, '{"name": "add"}', **both))
        assert (answer.text, answer.tool_calls) == ('{"name": "add"}', []), "JSON outside of tags is the answer"
        called = chat.reply(ASKED, settings=saying(chat, HERMES, **both))
        assert (called.text, [call.name for call in called.tool_calls]) == ("", ["add"])

    def test_what_may_be_called_and_answered_stands_in_the_system_turn(self, chat: Chat):
        schema = {"type": "object", "properties": {"sum": {"type": "integer"}}}
        asked = [turn("system", "Be brief."), *ASKED]
        for messages, begin in ((asked, "Be brief.\n\nYou can call"), (ASKED, "You can call")):
            text = as_read(chat, chat.prompt(messages, ChatSettings(tools=[ADD], schema=schema)))
            system, _, rest = text.partition("<|im_end|>")
            assert system.startswith(f"<|im_start|>system\n{begin}")
            assert '"name": "add"' in system and '{"sum": {"type": "integer"}}' in system
            assert "system" not in rest
        assert asked[0] == turn("system", "Be brief."), "the caller's stays"

    def test_calls_and_results_reach_a_template_without_tools(self, chat: Chat):
        call = {"type": "function", "id": "1", "function": {"name": "weather", "arguments": {"place": "Turin"}}}
        result = turn("tool", "sunny") | {"tool_call_id": "1"}
        messages = [turn("user", "Hi"), {"role": "assistant", "content": [], "tool_calls": [call]}, result]
        written = '<tool_call>\n{"name": "weather", "arguments": {"place": "Turin"}}\n</tool_call>'
        response = "<tool_response>\nsunny\n</tool_response>"
        same = [turn("user", "Hi"), turn("assistant", written), turn("user", response)]
        assert as_read(chat, chat.prompt(messages)) == as_read(chat, chat.prompt(same))
        assert chat.reply(messages, settings=ChatSettings(max_tokens=12)).text == bare_answer(chat.backbone, same)
        messages[1]["content"] = "Let me look."
        assert f"Let me look.\n{written}" in as_read(chat, chat.prompt(messages))

    def test_markers_may_be_tokens_of_their_own(self):
        backbone = tiny_backbone("llava")
        backbone.prompts.tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
        backbone.model.resize_token_embeddings(len(backbone.prompts.tokenizer), mean_resizing=False)
        chat = Chat(backbone)
        [call] = chat.reply(
            [turn("user", "Go")], settings=ChatSettings(max_tokens=200, tools=[ADD], tool_choice="any")
        ).tool_calls
        assert call.name == "add"
        called = {"type": "function", "function": {"name": "add", "arguments": call.arguments}}
        said = [turn("user", "Say <tool_call>"), turn("assistant", "") | {"tool_calls": [called]}, turn("tool", "3")]
        shown: list[str] = []
        render = backbone.prompts.tokenize
        backbone.prompts.tokenize = lambda text, images: (shown.append(text), render(text, images))[1]  # type: ignore[method-assign]
        chat.prompt(said, ChatSettings(tools=[ADD]))
        [text] = shown
        assert text.count("<tool_call>\n{") == 2  # in the instructions and in the call; not in what the user said
        assert "Say < tool_call>" in text

    def test_a_template_that_knows_tools_gets_them(self):
        backbone = tiny_backbone("llava")
        tools = "{% for tool in tools or [] %}May call {{ tool['function']['name'] }}.\n{% endfor %}"
        processor = backbone.prompts.processor
        processor.chat_template = tools + processor.chat_template
        chat = Chat(backbone)
        text = as_read(chat, chat.prompt(ASKED, ChatSettings(tools=[ADD])))
        assert text.startswith("May call add.\n<|im_start|>user") and "You can call" not in text
        assert as_read(chat, chat.prompt(ASKED)).startswith("<|im_start|>user")
        # it does not name the Hermes tags, so that a forced call is plain JSON
        forced = saying(chat, CALL, tools=[ADD], tool_choice="any")
        assert [call.name for call in chat.reply(ASKED, settings=forced).tool_calls] == ["add"]


class TestTemplatesWithRules:
    """Shapes that agents and histories bring; some templates, as Gemma's, take roles that alternate only."""

    CALLED: ClassVar[Message] = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "id": "1", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}],
    }
    SHAPES: ClassVar[dict[str, list[Message]]] = {
        "two questions": [turn("user", "One"), turn("user", "Two")],
        "begun by the model": [turn("assistant", "Hello."), turn("user", "Two")],
        "begun by the model after a system turn": [
            turn("system", "Brief."),
            turn("assistant", "Hello."),
            turn("user", "Two"),
        ],
        "a late system turn": [
            turn("user", "One"),
            turn("assistant", "Fine."),
            turn("system", "Brief."),
            turn("user", "Two"),
        ],
        "two system turns": [turn("system", "Brief."), turn("system", "Kind."), turn("user", "Two")],
        "a tool's results": [turn("user", "Add"), CALLED, turn("tool", "3"), turn("user", "Two")],
        "a last word of the model": [turn("user", "One"), turn("assistant", "Two")],
    }

    @pytest.mark.parametrize("shape", SHAPES)
    def test_every_shape_is_read_whole(self, gemma: Chat, shape: str):
        said = self.SHAPES[shape]
        prompt = gemma.prompt(said)
        text = as_read(gemma, prompt)
        places = [text.index(text_of(message)) for message in said if text_of(message)]
        assert places == sorted(places)
        roles = re.findall(r"<start_of_turn>(\w+)", text)
        assert all(one != next for one, next in itertools.pairwise(roles[:-1])) and roles[0] == "user"
        assert gemma.reply(said, settings=ChatSettings(max_tokens=3)).prompt_tokens == prompt["input_ids"].shape[1]

    def test_joining_turns_keeps_every_call_and_result(self):
        call = {"type": "function", "function": {"name": "add", "arguments": {}}}
        results = [turn("tool", "3"), turn("tool", "4")]
        called = turn("assistant", "") | {"tool_calls": [call, call]}
        said = [turn("user", "One"), turn("user", "Two"), turn("assistant", "Let me see."), called, *results]
        user, assistant, *rest = _alternating(said)
        assert [part["text"] for part in user["content"]] == ["One", "\n\n", "Two"]
        assert "".join(part["text"] for part in assistant["content"]) == "Let me see."
        assert assistant["tool_calls"] == [call, call] and rest == results

    def test_a_template_that_refuses(self, gemma: Chat, monkeypatch: pytest.MonkeyPatch):
        template = "{{ raise_exception('No critics.') }}"
        monkeypatch.setattr(gemma.backbone.prompts.processor, "chat_template", template)
        with pytest.raises(ModelError, match=r"this conversation: No critics.. Pass turns of user and assistant"):
            gemma.reply([turn("critic", "Bad.")])
