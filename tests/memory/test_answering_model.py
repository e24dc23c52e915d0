"""Another model answers than the one that encodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.memories import CAT, DOOR, FLAG
from helpers.saved import save_tiny
from transformers import Qwen2Config, Qwen2ForCausalLM

from comem_memory import ChromaStore, ContinuousMemory, MemoryItem
from comem_memory.errors import ModelError
from comem_memory.integrations.langchain import ChatComem
from comem_memory.store import identity_of
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key, tiny_picture
from comem_memory.testing.tiny_models import CHATML


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
