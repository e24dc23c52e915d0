"""A conversation's later turns prefill only what they add, and answer as if they had prefilled everything."""

import gc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import torch
from helpers.recorder import Recorder
from transformers import DynamicCache, LogitsProcessor, MistralConfig, MistralForCausalLM

from comem_memory.chat import Chat, ChatSettings, Reply
from comem_memory.encoder import MemoryEncoder
from comem_memory.model import Backbone, Message, ModelInputs, PrefixCache
from comem_memory.testing import tiny_backbone, tiny_picture

QUESTIONS = ["What is behind the blue door?", "And where is the key?", "Who has it?"]


@dataclass
class Forwards:
    """Of each pass of the model, how many positions it ran, and its key-value cache."""

    positions: list[int] = field(default_factory=list)
    caches: list[Any] = field(default_factory=list)

    @property
    def prefilled(self) -> int:
        return self.positions[0]


@contextmanager
def watched(backbone: Backbone) -> Iterator[Forwards]:
    seen = Forwards()

    def note(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        given = kwargs["inputs_embeds"] if kwargs.get("inputs_embeds") is not None else kwargs["input_ids"]
        seen.positions.append(given.shape[1])
        seen.caches.append(weakref.ref(kwargs["past_key_values"]) if kwargs.get("past_key_values") else None)

    hook = backbone.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def user(text: str, picture: Any = None) -> Message:
    parts = [{"type": "image", "image": picture}] if picture is not None else []
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def random_memory(backbone: Backbone, items: int, *, seed: int = 0) -> torch.Tensor:
    scale = backbone.model.get_input_embeddings().weight.std()
    return torch.randn(8 * items, backbone.hidden_size, generator=torch.Generator().manual_seed(seed)) * scale


def letters(backbone: Backbone) -> dict[str, Any]:
    """Settings under which a random model writes letters, which are the same tokens when they are read again."""
    allowed = set(backbone.prompts.tokenizer.convert_tokens_to_ids(list("abcdefghijklmnopqrstuvwxyz")))
    vocabulary = range(backbone.model.get_input_embeddings().weight.shape[0])
    return {"suppress_tokens": [i for i in vocabulary if i not in allowed], "max_new_tokens": 6, "min_new_tokens": 6}


@dataclass
class Turn:
    prompt: ModelInputs
    tokens: list[int]
    logits: list[torch.Tensor]
    prefilled: int


def ask(
    backbone: Backbone, messages: list[Message], memory: torch.Tensor | None, prefix: PrefixCache | None, **more: Any
) -> Turn:
    prompt, recorder = backbone.prompts.prompt_inputs(messages), Recorder()
    settings = letters(backbone) | {"logits_processor": [recorder]} | more
    with watched(backbone) as seen:
        [tokens] = backbone.generate([prompt], [memory], prefix=prefix, **settings)
    return Turn(prompt, tokens, recorder.logits, seen.prefilled)


def converse(
    backbone: Backbone, memory: torch.Tensor | None, picture: Any, prefix: PrefixCache | None
) -> Iterator[Turn]:
    messages: list[Message] = []
    for question in QUESTIONS:
        messages.append(user(question, None if messages else picture))
        turn = ask(backbone, messages, memory, prefix)
        messages.append(assistant(backbone.decode(turn.tokens)))
        yield turn


def assert_same(ours: Turn, stock: Turn) -> None:
    assert ours.tokens == stock.tokens
    for one, other in zip(ours.logits, stock.logits, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def slides(backbone: Backbone) -> bool:
    """Whether some layers keep a window only, here shorter than the prompts: then nothing can be cut back."""
    return "sliding_attention" in (getattr(backbone.model.config.get_text_config(), "layer_types", None) or [])


# -- exact ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_picture", [False, True])
@pytest.mark.parametrize("items", [0, 3])
def test_a_conversation_answers_the_same_and_prefills_what_it_adds(backbone: Backbone, items: int, with_picture: bool):
    if with_picture and not backbone.prompts.supports_images:
        pytest.skip("a text-only model")
    memory = random_memory(backbone, items)
    picture = tiny_picture() if with_picture else None
    stock = list(converse(backbone, memory, picture, None))
    assert [turn.prefilled for turn in stock] == [backbone.prompt_length(turn.prompt, memory) for turn in stock]
    ours = list(converse(backbone, memory, picture, PrefixCache()))
    for one, other in zip(ours, stock, strict=True):
        assert_same(one, other)
    assert ours[0].prefilled == stock[0].prefilled
    assert all(torch.equal(a, b) for a, b in zip(ours[0].logits, stock[0].logits, strict=True))
    for before, turn in pairwise(ours):
        # All but the last token of an answer was run, and is known where the template writes answers as they were made.
        run = before.prompt["input_ids"][0].tolist() + before.tokens[:-1]
        now = turn.prompt["input_ids"][0].tolist()
        common = next(i for i, token in enumerate(now) if i == len(run) or token != run[i])
        assert common > before.prompt["input_ids"].shape[1] - 3  # LLaVA-OneVision writes no line break before it
        known = 8 * items + common
        assert turn.prefilled == backbone.prompt_length(turn.prompt, memory) - known


def test_the_second_turn_costs_the_same_for_any_number_of_items(backbone: Backbone):
    second = set()
    for items in (1, 3, 10, 50):
        turns = list(converse(backbone, random_memory(backbone, items), None, PrefixCache()))
        assert turns[0].prefilled > 8 * items
        second.add(turns[1].prefilled)
    assert len(second) == 1 and second.pop() < 60


@pytest.mark.parametrize("with_picture", [False, True])
def test_an_edited_history_is_reused_up_to_the_edit(backbone: Backbone, with_picture: bool):
    picture = tiny_picture() if with_picture and backbone.prompts.supports_images else None
    prefix, memory = PrefixCache(), random_memory(backbone, 2)
    first = [user(QUESTIONS[0], picture), assistant("a brass key"), user(QUESTIONS[1])]
    edited = [user(QUESTIONS[0], picture), assistant("a brown fox"), user(QUESTIONS[1])]
    before = ask(backbone, first, memory, prefix)
    ours, stock = ask(backbone, edited, memory, prefix), ask(backbone, edited, memory, None)
    assert_same(ours, stock)
    one, other = before.prompt["input_ids"][0].tolist(), ours.prompt["input_ids"][0].tolist()
    common = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    assert backbone.prompts.tokenizer.decode(one[:common]).endswith("a br")
    reused = 0 if slides(backbone) else len(memory) + common
    assert ours.prefilled == backbone.prompt_length(ours.prompt, memory) - reused


def test_the_same_prompt_again_runs_its_last_token(backbone: Backbone):
    messages = [user(QUESTIONS[0], tiny_picture() if backbone.prompts.supports_images else None)]
    prefix, memory = PrefixCache(), random_memory(backbone, 1)
    first, again = (ask(backbone, messages, memory, prefix) for _ in range(2))
    assert_same(again, first)
    assert again.prefilled == (first.prefilled if slides(backbone) else 1)


def test_other_memory_reuses_nothing(backbone: Backbone):
    messages = [user(QUESTIONS[0])]
    memories = [random_memory(backbone, 2), random_memory(backbone, 2, seed=1), random_memory(backbone, 3), None]
    prefix = PrefixCache()
    for memory in [*memories, memories[0].clone(), torch.zeros(0, backbone.hidden_size)]:
        ours, stock = ask(backbone, messages, memory, prefix), ask(backbone, messages, memory, None)
        assert ours.prefilled == stock.prefilled
        assert ours.tokens == stock.tokens
        assert all(torch.equal(a, b) for a, b in zip(ours.logits, stock.logits, strict=True))
    changed = memories[0]
    ask(backbone, messages, changed, prefix)
    changed *= -1
    assert ask(backbone, messages, changed, prefix).prefilled == backbone.prompt_length(
        backbone.prompts.prompt_inputs(messages), changed
    )


def test_other_pictures_reuse_nothing(backbone: Backbone):
    if not backbone.prompts.supports_images:
        pytest.skip("a text-only model")
    prefix, memory = PrefixCache(), random_memory(backbone, 1)
    for seed in (1, 2):
        messages = [user(QUESTIONS[0], tiny_picture(seed)), assistant("so"), user(QUESTIONS[1])]
        ours, stock = ask(backbone, messages, memory, prefix), ask(backbone, messages, memory, None)
        assert ours.prefilled == stock.prefilled
        assert_same(ours, stock)
    # One that comes later, whether or not it is the same.
    for earlier, later in ((tiny_picture(2), tiny_picture(3)), (None, tiny_picture(2)), (None, tiny_picture(3))):
        messages = [user(QUESTIONS[0], earlier), assistant("so"), user(QUESTIONS[1], later)]
        ours, stock = ask(backbone, messages, memory, prefix), ask(backbone, messages, memory, None)
        assert ours.prefilled == stock.prefilled
        assert_same(ours, stock)
    # The same one, after a token that differs.
    for question in ("What?", "Who?"):
        messages = [user(question), assistant("so"), user(QUESTIONS[1], tiny_picture(2))]
        ours, stock = ask(backbone, messages, memory, prefix), ask(backbone, messages, memory, None)
        assert ours.prefilled == stock.prefilled
        assert_same(ours, stock)
    # Two that are in what was answered.
    messages = [user(QUESTIONS[0], tiny_picture(2)), assistant("so"), user(QUESTIONS[1], tiny_picture(3))]
    ask(backbone, messages, memory, prefix)
    messages += [assistant("well"), user(QUESTIONS[2])]
    ours, stock = ask(backbone, messages, memory, prefix), ask(backbone, messages, memory, None)
    assert ours.prefilled == stock.prefilled if slides(backbone) else ours.prefilled < 60 < stock.prefilled
    assert_same(ours, stock)


def test_encoding_and_training_between_turns(encoder: MemoryEncoder):
    backbone, prefix = encoder.backbone, PrefixCache()
    picture = tiny_picture(4, size=(96, 56)) if backbone.prompts.supports_images else None
    memory = random_memory(backbone, 2)
    stock = list(converse(backbone, memory, picture, None))
    weight = next(p for name, p in encoder.named_parameters() if "lora_B" in name)
    trained = weight.detach().clone()
    try:
        for ours, expected in zip(converse(backbone, memory, picture, prefix), stock, strict=True):
            assert_same(ours, expected)
            assert ours is not stock[0] and (expected is stock[0] or ours.prefilled < 60)
            encoder.encode([encoder.inputs("A fact.", tiny_picture(5) if backbone.prompts.supports_images else None)])
            weight.data.add_(0.1)
    finally:
        weight.data.copy_(trained)


# -- through Chat --------------------------------------------------------------------------------------------


def test_chat_and_streams_share_what_was_answered(backbone: Backbone):
    memory = random_memory(backbone, 2)
    settings = ChatSettings(max_tokens=6, generation_kwargs=letters(backbone))
    messages, chat = [user(QUESTIONS[0])], Chat(backbone)
    first = chat.reply(messages, memory, settings)
    messages += [assistant(first.text), user(QUESTIONS[1])]
    with watched(backbone) as seen:
        *pieces, second = chat.stream(messages, memory, settings)
    assert isinstance(second, Reply) and "".join(map(str, pieces)) == second.text
    assert seen.prefilled < 60 < second.prompt_tokens
    messages += [assistant(second.text), user(QUESTIONS[2])]
    with watched(backbone) as seen:
        third = chat.reply(messages, memory, settings)
    assert seen.prefilled < 60 < third.prompt_tokens
    assert third == Chat(backbone).reply(messages, memory, settings)
    assert second == Chat(backbone).reply(messages[:3], memory, settings)


def test_a_stream_that_is_left_leaves_what_it_had_made(backbone: Backbone):
    settings = ChatSettings(max_tokens=200, generation_kwargs=letters(backbone) | {"max_new_tokens": 200})
    chat, short = Chat(backbone), ChatSettings(generation_kwargs=letters(backbone))
    for _ in chat.stream([user(QUESTIONS[0])], None, settings):
        break
    with watched(backbone) as seen:
        reply = chat.reply([user(QUESTIONS[0])], None, short)
    assert seen.prefilled == (reply.prompt_tokens if slides(backbone) else 1)
    assert reply == Chat(backbone).reply([user(QUESTIONS[0])], None, short)


def test_a_seed_promises_the_same_answer_and_reuses_nothing(backbone: Backbone):
    settings = ChatSettings(temperature=1.0, seed=3, generation_kwargs=letters(backbone))
    chat = Chat(backbone)
    chat.reply([user(QUESTIONS[0])])
    with watched(backbone) as seen:
        replies = [chat.reply([user(QUESTIONS[0])], None, settings) for _ in range(2)]
    assert replies[0] == replies[1] and replies[0].text
    assert [n for n in seen.positions if n > 1] == [replies[0].prompt_tokens] * 2


def test_threads_of_one_chat(backbone: Backbone):
    settings = ChatSettings(generation_kwargs=letters(backbone))
    asked = [([user(question)], random_memory(backbone, n)) for question in QUESTIONS for n in (0, 2)] * 2
    expected = [Chat(backbone).reply(messages, memory, settings) for messages, memory in asked]
    chat = Chat(backbone)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda one: chat.reply(*one, settings), asked)) == expected


# -- what it keeps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 2},
        {"num_return_sequences": 2, "do_sample": True},
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"past_key_values": None},
        {"prompt_lookup_num_tokens": 2},
    ],
    ids=str,
)
def test_other_caches_go_without(settings: dict[str, Any]):
    backbone, prefix = tiny_backbone("llama"), PrefixCache()
    messages = [user(QUESTIONS[0])]
    prompt = backbone.prompts.prompt_inputs(messages)
    ask(backbone, messages, None, prefix)
    if "past_key_values" in settings:
        settings = {"past_key_values": DynamicCache()}
    known = settings | {"max_new_tokens": 5}
    torch.manual_seed(0)
    with watched(backbone) as seen:
        ours = backbone.generate([prompt], prefix=prefix, **known)
    assert seen.prefilled >= prompt["input_ids"].shape[1]  # guessed tokens count too
    if "past_key_values" in settings:
        assert settings["past_key_values"].get_seq_length() == seen.prefilled + 4
        known["past_key_values"] = DynamicCache()
    torch.manual_seed(0)
    assert ours == backbone.generate([prompt], **known)
    assert ask(backbone, messages, None, prefix).prefilled == 1  # the entry is as it was


def test_a_failure_leaves_no_half_of_an_answer(backbone: Backbone):
    class Failing(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no paper left")

    messages, prefix = [user(QUESTIONS[0])], PrefixCache()
    said = backbone.decode(ask(backbone, messages, None, prefix).tokens)
    other = [*messages, assistant("something else"), user("?")]
    with pytest.raises(RuntimeError, match="no paper left"):  # other tokens stand where the answer stood
        ask(backbone, other, None, prefix, logits_processor=[Failing()])
    messages += [assistant(said), user(QUESTIONS[1])]
    ours, stock = ask(backbone, messages, None, prefix), ask(backbone, messages, None, None)
    assert ours.prefilled == stock.prefilled
    assert_same(ours, stock)


def test_one_answer_is_kept(backbone: Backbone):
    prefix = PrefixCache()
    with watched(backbone) as seen:
        for question in QUESTIONS:
            prompt = backbone.prompts.prompt_inputs([user(question)])
            backbone.generate([prompt], [random_memory(backbone, 1)], prefix=prefix, max_new_tokens=3)
            backbone.generate([prompt], [random_memory(backbone, 2)], prefix=prefix, max_new_tokens=3)
    gc.collect()
    alive = {id(cache()) for cache in seen.caches if cache is not None and cache() is not None}
    assert len(alive) == 1


def test_a_model_that_was_converted_starts_afresh():
    backbone, prefix = tiny_backbone("llama"), PrefixCache()
    ask(backbone, [user(QUESTIONS[0])], None, prefix)
    backbone.model.to(torch.bfloat16)
    ours, stock = (ask(backbone, [user(QUESTIONS[0])], None, p) for p in (prefix, None))
    assert ours.prefilled == stock.prefilled and ours.tokens == stock.tokens


def test_a_sliding_window_goes_on_where_it_ended_and_cannot_be_cut_back():
    llama = tiny_backbone("llama")
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    ids = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "max_position_embeddings")
    config = MistralConfig(**{name: getattr(llama.model.config, name) for name in sizes + ids}, sliding_window=16)
    torch.manual_seed(0)
    backbone = Backbone(MistralForCausalLM(config), llama.prompts.processor, name="tiny-mistral")
    prefix, memory = PrefixCache(), random_memory(backbone, 3)
    stock, ours = (list(converse(backbone, memory, None, kept)) for kept in (None, prefix))
    for one, other in zip(ours, stock, strict=True):
        assert_same(one, other)
    assert ours[1].prefilled < 60 and ours[2].prefilled < 60
    edited = [user(QUESTIONS[0]), assistant("a brass key"), user(QUESTIONS[1])]
    one, other = ask(backbone, edited, memory, prefix), ask(backbone, edited, memory, None)
    assert_same(one, other)
    assert one.prefilled == other.prefilled
