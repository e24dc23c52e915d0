"""A mode becomes a prompt: which of vectors, texts and pictures a conversation is given, and where they stand."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from comem_memory.chat import Recalled, check_mode, lay_out, memory_of, parts_of, text_of
from comem_memory.config import Mode
from comem_memory.errors import QueryError
from comem_memory.model import Message
from comem_memory.testing import tiny_picture
from comem_memory.types import MemoryHit

MODES: tuple[Mode, ...] = get_args(Mode)
PROMPTS: dict[Mode, str] = {"text": "Known: {context} Asked: {question}", "both": "{context}|{question}"}
BEST = MemoryHit("key", torch.full((8, 4), 1.0), text="The brass key.")
OTHER = MemoryHit("fork", torch.full((8, 4), 2.0), text="A fork.")
HITS = [BEST, OTHER]
READER = torch.full((3, 4), 0.5)


def turn(role: str, text: str) -> Message:
    return {"role": role, "content": text}


CONVERSATION = [turn("system", "Be brief."), turn("user", "Hi"), turn("assistant", "Hello."), turn("user", "Which?")]


def laid_out(
    mode: Mode,
    messages: list[Message] = CONVERSATION,
    hits: list[MemoryHit] = HITS,
    *,
    supports_images: bool = False,
    reader_prompt: torch.Tensor | None = None,
) -> Recalled:
    return lay_out(
        messages, hits, mode, text_prompts=PROMPTS, supports_images=supports_images, reader_prompt=reader_prompt
    )


@pytest.mark.parametrize(
    ("mode", "question", "vectors"),
    [
        ("memory", "Which?", True),
        ("text", "Known: A fork.\nThe brass key. Asked: Which?", False),
        ("both", "A fork.\nThe brass key.|Which?", True),
        ("none", "Which?", False),
    ],
)
def test_what_each_mode_gives(mode: Mode, question: str, vectors: bool):
    recalled = laid_out(mode)
    assert [text_of(message) for message in recalled.messages] == ["Be brief.", "Hi", "Hello.", question]
    assert [message["role"] for message in recalled.messages] == ["system", "user", "assistant", "user"]
    assert (recalled.memory is not None) == vectors
    assert (recalled.hits, recalled.mode) == (HITS, mode)


@pytest.mark.parametrize("mode", ["memory", "both"])
def test_the_best_vectors_stand_next_to_the_question(mode: Mode):
    memory = laid_out(mode).memory
    assert memory is not None
    assert torch.equal(memory, torch.cat([OTHER.memory_embeddings, BEST.memory_embeddings]))
    assert torch.equal(memory, memory_of(HITS))
    assert memory_of([]) is None


@pytest.mark.parametrize(("mode", "vectors"), [("memory", HITS), ("both", HITS), ("text", []), ("none", None)])
def test_the_reader_prompt_stands_once_before_whatever_is_given(mode: Mode, vectors: list[MemoryHit] | None):
    memory = laid_out(mode, reader_prompt=READER).memory
    if vectors is None:
        assert memory is None
    else:
        assert torch.equal(memory, torch.cat([READER, *(hit.memory_embeddings for hit in reversed(vectors))]))
    assert [text_of(message) for message in laid_out(mode, reader_prompt=READER).messages] == [
        text_of(message) for message in laid_out(mode).messages
    ]


@pytest.mark.parametrize("mode", MODES)
def test_without_items_the_conversation_stays_as_it_is(mode: Mode):
    recalled = laid_out(mode, hits=[], reader_prompt=READER)
    assert (recalled.messages, recalled.memory, recalled.hits) == (CONVERSATION, None, [])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("messages", [[], [turn("system", "Be brief."), turn("assistant", "Hello.")]])
def test_where_nobody_has_asked_texts_are_a_turn_of_their_own(mode: Mode, messages: list[Message]):
    said = laid_out(mode, messages).messages
    told = {"text": "Known: A fork.\nThe brass key. Asked: ", "both": "A fork.\nThe brass key.|"}
    assert said[: len(messages)] == messages
    assert [(one["role"], text_of(one)) for one in said[len(messages) :]] == (
        [("user", told[mode])] if mode in told else []
    )


def test_what_tools_say_in_the_user_s_name_is_passed_over():
    said = [*CONVERSATION, turn("assistant", "Thought: look"), turn("user", "Observation: a key")]
    recalled = laid_out("both", said).messages
    assert text_of(recalled[3]) == "A fork.\nThe brass key.|Which?" and recalled[4:] == said[4:]


@pytest.mark.parametrize("mode", MODES)
def test_the_caller_s_messages_stay_as_they_are(mode: Mode):
    parts = [{"type": "text", "text": "Which?"}]
    messages = [turn("user", "Hi"), {"role": "user", "content": parts, "name": "Ada"}]
    said = laid_out(mode, messages).messages
    assert messages == [turn("user", "Hi"), {"role": "user", "content": parts, "name": "Ada"}]
    assert parts == [{"type": "text", "text": "Which?"}]
    assert said is not messages and said[1]["name"] == "Ada"


def test_pictures_are_shown_to_a_model_with_eyes_alone(tmp_path: Path):
    tiny_picture(1).save(tmp_path / "flag.png")
    flag = MemoryHit("flag", torch.zeros(8, 4), text="A flag.", image=str(tmp_path / "flag.png"))

    def kinds(mode: Mode, supports_images: bool) -> list[str]:
        [question] = laid_out(mode, [turn("user", "Which?")], [flag], supports_images=supports_images).messages
        return [part["type"] for part in parts_of(question)]

    for mode in ("text", "both"):
        assert kinds(mode, True).count("image") == 1
        assert "image" not in kinds(mode, False)
    for mode in ("memory", "none"):
        assert kinds(mode, True) == ["text"]


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_one_of_four(mode: Mode):
    assert check_mode(mode) == mode


@pytest.mark.parametrize("mode", ["vectors", "", "Memory"])
def test_another_mode_is_refused(mode: str):
    with pytest.raises(QueryError, match=f"mode is '{mode}'. Use one of memory, text, both, none"):
        check_mode(mode)


@pytest.mark.parametrize("mode", ["text", "both"])
def test_a_model_that_reads_texts_is_told_the_day_on_which_they_were_said(mode: Mode):
    said = replace(BEST, said_at="2026-12-31T23:30:00.000000-05:00")
    told = text_of(laid_out(mode, hits=[said, OTHER]).messages[-1])
    assert told == text_of(laid_out(mode).messages[-1]).replace(BEST.text or "", f"on 31 December 2026: {BEST.text}")
    assert torch.equal(laid_out("memory", hits=[said]).memory, laid_out("memory", hits=[BEST]).memory)  # type: ignore[arg-type]
