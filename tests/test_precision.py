"""A model loaded in 16, 8 or 4 bits, over several devices, with another attention or compiled; errors with `-rP`."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import BitsAndBytesConfig

from comem_memory import ContinuousMemory, MemoryItem, mini
from comem_memory.config import EncoderFingerprint
from comem_memory.encoder import MemoryEncoder
from comem_memory.encoder.adapter_files import FINGERPRINT_FILE
from comem_memory.errors import AdapterError, EncoderMismatchError, ModelError
from comem_memory.model import Backbone, ModelInputs
from comem_memory.opening import load_backbone
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_key, tiny_picture

QUANTISED = {
    "8-bit": BitsAndBytesConfig(load_in_8bit=True),
    "4-bit": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16),
}
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="pip install bitsandbytes")


class Saved(NamedTuple):
    """A base model, an adapter for it, another base model of the same shape, and the encoder that they were."""

    base: Path
    adapter: Path
    other: Path
    exact: MemoryEncoder

    def load(self, **model_kwargs: Any) -> MemoryEncoder:
        return MemoryEncoder.from_pretrained(self.adapter, loaded_base(self, **model_kwargs))


def save(backbone: Backbone, folder: Path) -> None:
    backbone.model.save_pretrained(folder)
    backbone.prompts.processor.save_pretrained(folder)


def saved_family(family: Any, folder: Path) -> Saved:
    backbone = tiny_backbone(family)
    save(backbone, folder / "base")
    save(tiny_backbone(family, seed=1), folder / "other")
    encoder = tiny_encoder(backbone)
    encoder.save_pretrained(folder / "adapter")
    return Saved(folder / "base", folder / "adapter", folder / "other", encoder)


@pytest.fixture(scope="module", params=["llama", "llava", "qwen2_5_vl", "gemma3"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved_family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved_family("llama", tmp_path_factory.mktemp("llama"))


def loaded_base(saved: Saved, **model_kwargs: Any) -> Backbone:
    return Backbone.from_pretrained(str(saved.base), **model_kwargs)


def memories(encoder: MemoryEncoder) -> torch.Tensor:
    picture = tiny_picture(1) if encoder.backbone.prompts.supports_images else None
    return encoder.encode(
        [encoder.inputs("The blue door opens with the brass key.", picture), encoder.inputs("A boat.")]
    )


def prompt(backbone: Backbone) -> ModelInputs:
    parts = [{"type": "image", "image": tiny_picture(2)}] if backbone.prompts.supports_images else []
    return backbone.prompts.prompt_inputs(
        [{"role": "user", "content": [*parts, {"type": "text", "text": "What opens it?"}]}]
    )


def logits(backbone: Backbone, memory: torch.Tensor) -> torch.Tensor:
    """Of every position of the question after this memory, in fp32."""
    with torch.no_grad():
        return backbone.logits(backbone.batch([prompt(backbone)], [memory]))[:, len(memory) :].float()


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def compare(loaded: MemoryEncoder, exact: MemoryEncoder, name: str) -> tuple[float, float]:
    """Relative error of the memory vectors, and of the prefill logits after the exact ones."""
    vectors = memories(exact)
    of_vectors = relative_error(memories(loaded), vectors)
    memory = vectors.flatten(0, 1)
    of_logits = relative_error(logits(loaded.backbone, memory), logits(exact.backbone, memory))
    print(f"{name}: memory vectors {of_vectors:.1e}, prefill logits {of_logits:.1e}")
    return of_vectors, of_logits


# -- precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 2e-2), ("float16", 2e-3)])
def test_16_bits_are_close_to_32_and_of_the_same_encoder(saved: Saved, dtype: str, most: float):
    exact, loaded = saved.exact, saved.load(dtype=dtype)
    assert loaded.backbone.model.dtype == getattr(torch, dtype)
    assert all(0 < error < most for error in compare(loaded, exact, f"{exact.backbone.name} {dtype}"))
    assert loaded.fingerprint == exact.fingerprint


@needs_bitsandbytes
@pytest.mark.parametrize(("bits", "most"), [("8-bit", 4e-2), ("4-bit", 0.4)])
def test_8_and_4_bits_take_the_adapter_of_the_plain_base(saved: Saved, bits: str, most: float):
    exact, loaded = saved.exact, saved.load(quantization_config=QUANTISED[bits])
    assert {"torch.int8", "torch.uint8"} & {str(weight.dtype) for weight in loaded.backbone.model.parameters()}
    assert all(1e-3 < error < most for error in compare(loaded, exact, f"{exact.backbone.name} {bits}"))
    assert loaded.backbone.generate([prompt(loaded.backbone)], [memories(loaded)[0]], max_new_tokens=3)


@needs_bitsandbytes
def test_a_quantised_encoder_says_so_and_its_adapter_fits_every_load(llama: Saved, tmp_path: Path):
    exact, loaded = llama.exact, llama.load(quantization_config=QUANTISED["4-bit"])
    assert "load_in_4bit=True" in str(loaded.fingerprint)
    assert loaded.fingerprint.base_fingerprint == exact.fingerprint.base_fingerprint
    assert loaded.fingerprint.digest != exact.fingerprint.digest
    loaded.save_pretrained(tmp_path)
    assert (tmp_path / FINGERPRINT_FILE).read_bytes() == (llama.adapter / FINGERPRINT_FILE).read_bytes()
    created = MemoryEncoder.create(loaded_base(llama, quantization_config=QUANTISED["8-bit"]), num_attention_heads=4)
    created.save_pretrained(tmp_path)
    assert torch.isfinite(memories(MemoryEncoder.from_pretrained(tmp_path, loaded_base(llama)))).all()


def loads() -> list[Any]:
    quantised = [
        pytest.param({"quantization_config": config}, id=name, marks=needs_bitsandbytes)
        for name, config in QUANTISED.items()
    ]
    return [pytest.param({"dtype": torch.float16}, id="fp16"), *quantised]


@pytest.mark.parametrize("model_kwargs", loads())
def test_another_base_is_refused_however_it_is_loaded(llama: Saved, model_kwargs: dict[str, Any]):
    with pytest.raises(AdapterError, match="has other weights"):
        MemoryEncoder.from_pretrained(llama.adapter, Backbone.from_pretrained(str(llama.other), **model_kwargs))


def test_weights_that_were_rounded_are_looked_up_in_the_files(llama: Saved, tmp_path: Path):
    base = tmp_path / "base"
    shutil.copytree(llama.base, base)
    loaded = Backbone.from_pretrained(str(base), dtype=torch.float16)
    shutil.rmtree(base)
    with pytest.raises(ModelError, match="cannot be loaded"):
        loaded.fingerprint()


def opened(saved: Saved, folder: Path, **model_kwargs: Any) -> ContinuousMemory:
    return ContinuousMemory.from_pretrained(str(saved.base), saved.adapter, folder, key=tiny_key(), **model_kwargs)


def test_a_store_is_opened_in_another_dtype(llama: Saved, tmp_path: Path):
    with opened(llama, tmp_path) as memory:
        [id] = memory.add(MemoryItem(text="The door is blue."))
    with opened(llama, tmp_path, dtype="float16") as memory:
        assert memory.backbone.model.dtype == torch.float16
        assert memory.add(MemoryItem(text="The door is blue.")) == [id]
        assert [hit.id for hit in memory.answer("Which door?", max_new_tokens=3).hits] == [id]


@needs_bitsandbytes
def test_a_store_of_the_plain_base_is_not_mixed_with_vectors_of_a_quantised_one(llama: Saved, tmp_path: Path):
    with opened(llama, tmp_path) as memory:
        memory.add(MemoryItem(text="The door is blue."))
    with pytest.raises(EncoderMismatchError, match="load_in_8bit=True"):
        opened(llama, tmp_path, quantization_config=QUANTISED["8-bit"])
    with opened(llama, tmp_path, quantization_config=QUANTISED["8-bit"], reencode=True) as memory:
        assert memory.answer("Which door?", max_new_tokens=3).hits


def test_the_digest_of_a_plain_load_is_what_it_always_was():
    fingerprint = EncoderFingerprint(
        base_model="m", base_fingerprint="f", adapter_hash="a", prompt_version=1, num_query_tokens=8, hidden_size=64
    )
    assert fingerprint.digest == "10272b77a5ade8c7"
    quantised = fingerprint.model_copy(update={"quantization": "load_in_8bit=True"})
    assert quantised.digest != fingerprint.digest
    assert str(quantised).startswith("m (load_in_8bit=True) + adapter a")


@pytest.fixture(scope="module")
def default() -> MemoryEncoder:
    return MemoryEncoder.from_pretrained(mini.ADAPTER, load_backbone())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_kwargs", "most"),
    [
        pytest.param({"dtype": "bfloat16"}, 5e-2, id="bf16"),
        pytest.param({"dtype": "float16"}, 1e-2, id="fp16"),
        pytest.param({"quantization_config": QUANTISED["8-bit"]}, 0.3, id="8-bit", marks=needs_bitsandbytes),
        pytest.param({"quantization_config": QUANTISED["4-bit"]}, 0.9, id="4-bit", marks=needs_bitsandbytes),
    ],
)
def test_the_embedded_default_in_fewer_bits(
    default: MemoryEncoder, model_kwargs: dict[str, Any], most: float, request: pytest.FixtureRequest
):
    loaded = MemoryEncoder.from_pretrained(mini.ADAPTER, load_backbone(**model_kwargs))
    assert all(0 < error < most for error in compare(loaded, default, f"mini {request.node.callspec.id}"))


# -- devices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", ["auto", "cpu", "last layer on disk", "disk"])
def test_a_spread_model_encodes_and_answers_as_a_whole_one(saved: Saved, tmp_path: Path, spread: str):
    names = ["lm_head.weight", *(name for name, _ in loaded_base(saved).model.named_parameters())]  # it may be tied
    last_layer = {name.rpartition(".")[0]: "disk" if ".layers.1." in name else "cpu" for name in names}
    spreads: dict[str, Any] = {
        "auto": "auto",
        "cpu": {"": "cpu"},
        "last layer on disk": last_layer,
        "disk": {"": "disk"},
    }
    exact, loaded = saved.exact, saved.load(device_map=spreads[spread], offload_folder=str(tmp_path))
    assert any(weight.is_meta for weight in loaded.backbone.model.parameters()) == ("disk" in spread)
    assert not any(weight.is_meta for name, weight in loaded.named_parameters() if "lora_" in name)
    vectors = memories(exact)
    assert torch.equal(memories(loaded), vectors)
    assert loaded.fingerprint == exact.fingerprint
    answers = [e.backbone.generate([prompt(e.backbone)], [vectors[0]], max_new_tokens=4) for e in (exact, loaded)]
    assert answers[0] == answers[1]


# -- attention, compilation, and what cannot be --------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_chosen_is_used_and_gives_the_same(saved: Saved, attention: str):
    exact, loaded = saved.exact, saved.load(attn_implementation=attention)
    assert loaded.backbone.model.config.get_text_config()._attn_implementation == attention
    assert all(error < 1e-5 for error in compare(loaded, exact, attention))


def test_compiled_it_answers_as_before(llama: Saved):
    plain, compiled = llama.exact, llama.load()
    compiled.backbone.model.compile(backend="eager")
    compiled.backbone.model.base_model.compile(backend="eager")
    for _ in range(2):  # the encoder's LoRA goes on and off between
        assert all(error < 1e-5 for error in compare(compiled, plain, "compiled"))
    vectors = memories(plain)
    answers = [e.backbone.generate([prompt(e.backbone)], [vectors[0]], max_new_tokens=4) for e in (plain, compiled)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("model_kwargs", "message"),
    [
        ({"dtype": "float33"}, "with dtype: .*float33"),
        ({"device_map": "nowhere"}, "with device_map: .*nowhere"),
        ({"attn_implementation": "nonsense"}, "with attn_implementation: .*sdpa"),
        ({"attn_implementation": "flash_attention_2"}, "with attn_implementation: .*FlashAttention2"),
        ({"load_in_4bit": True, "dtype": "auto"}, "with load_in_4bit, dtype: .*load_in_4bit.*precision.md"),
    ],
)
def test_what_cannot_be_loaded_so_is_said(llama: Saved, model_kwargs: dict[str, Any], message: str):
    if model_kwargs.get("attn_implementation") == "flash_attention_2" and find_spec("flash_attn"):
        pytest.skip("flash-attn is installed")
    with pytest.raises(ModelError, match=message):
        opened(llama, llama.base.parent / "store", **model_kwargs)
    assert not (llama.base.parent / "store").exists()
