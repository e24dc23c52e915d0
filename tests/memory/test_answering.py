"""Answers in each mode, streamed or not, and what the model reads for them."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from helpers.memories import CAT, DOOR

from comem_memory import ChromaStore, ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.errors import InvalidItemError, ItemNotFoundError, QueryError
from comem_memory.integrations.langchain import ChatComem
from comem_memory.memory import Mode
from comem_memory.model import RESTATE_INSTRUCTION
from comem_memory.store import identity_of
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key, tiny_picture


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
    torch.manual_seed(0)
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
