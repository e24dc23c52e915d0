"""An encoder that is loaded when something is encoded, and what is said where no server answers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from comem_memory import ContinuousMemory, MemoryEncoder, MemoryItem
from comem_memory.encoder import DeferredEncoder
from comem_memory.errors import AdapterError, ModelConnectionError, ModelError
from comem_memory.opening import defer_encoder
from comem_memory.store import ChromaStore, identity_of
from comem_memory.testing import tiny_backbone, tiny_key

ITEM = MemoryItem(text="The blue door opens with the brass key.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model and its trained encoder."""
    backbone = tiny_backbone("llama")
    backbone.name = str(tmp_path / "base")
    backbone.model.save_pretrained(backbone.name)
    backbone.prompts.processor.save_pretrained(backbone.name)
    encoder = MemoryEncoder.create(backbone, num_reader_tokens=2)
    with torch.no_grad():
        encoder.reader_prompt.normal_()
    encoder.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_its_files_say_what_it_is(folder: Path):
    deferred = defer_encoder(None, folder, {})
    assert isinstance(deferred, DeferredEncoder)
    facts = (deferred.fingerprint, deferred.encoder_config, deferred.prompts.text_ids("hi"))
    prompts = (deferred.reader_prompt, deferred.restate_prompt)
    assert deferred._loaded is None
    loaded = deferred.loaded
    assert facts == (loaded.fingerprint, loaded.encoder_config, loaded.prompts.text_ids("hi"))
    assert torch.equal(prompts[0], loaded.reader_prompt) and torch.equal(prompts[1], loaded.restate_prompt)


def test_many_threads_load_it_once(folder: Path):
    backbone, loads, together = tiny_backbone("llama"), [], threading.Barrier(8)

    def load() -> MemoryEncoder:
        loads.append(1)
        return MemoryEncoder.from_pretrained(folder, backbone)

    deferred = DeferredEncoder(folder, backbone.prompts, load)

    def encode(_: int) -> torch.Tensor:
        together.wait()
        return deferred.encode([deferred.inputs(ITEM.text, None)])

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(encode, range(8)))
    assert len(loads) == 1 and all(torch.equal(one, made[0]) for one in made)


def test_a_memory_loads_it_with_the_first_item(folder: Path):
    deferred, key = defer_encoder(None, folder, {}), tiny_key()
    store = ChromaStore.in_memory(identity=identity_of(deferred, key))
    with ContinuousMemory(deferred, key, store, backbone=tiny_backbone("llama")) as memory:
        assert memory.search("door") == [] and memory.answer("Door?", max_new_tokens=2).hits == []
        assert deferred._loaded is None
        memory.add(ITEM)
        assert deferred._loaded is not None
        [hit] = memory.get(memory.ids())
        encoder = MemoryEncoder.from_pretrained(folder, tiny_backbone("llama"))
        made = encoder.encode([encoder.inputs(ITEM.text, None)])[0]
        assert torch.allclose(hit.memory_embeddings, made, atol=2e-2 * made.abs().max())


def test_a_quantised_encoder_is_loaded_at_once(folder: Path):
    with pytest.raises(ModelError, match="quantization_config"):
        defer_encoder(None, folder, {"quantization_config": {"no": "such"}})


def test_a_damaged_folder_is_refused_before_anything_loads(folder: Path):
    (folder / "fingerprint.json").write_text("{}")
    with pytest.raises(AdapterError, match=r"fingerprint\.json is damaged"):
        defer_encoder(None, folder, {})


def test_where_no_server_answers_it_is_said_how_to_start_one(folder: Path):
    with pytest.raises(ModelConnectionError, match=r"127\.0\.0\.1:1/v1 does not answer.*vllm serve"):
        ContinuousMemory.from_pretrained(adapter=folder, key=tiny_key(), answering_url="http://127.0.0.1:1/v1")
