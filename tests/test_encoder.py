"""One base model in two roles: what encoding computes, what it leaves alone, what an adapter folder holds."""

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import nn

from comem_memory.config import EncoderConfig
from comem_memory.encoder import CONFIG_FILE, MemoryEncoder
from comem_memory.encoder.adapter_files import FINGERPRINT_FILE, LORA_FILE, QFORMER_FILE, READER_FILE
from comem_memory.encoder.memory_encoder import EncoderInputs
from comem_memory.errors import AdapterError, InvalidItemError, ItemTooLongError
from comem_memory.model import Backbone, Message, ModelInputs
from comem_memory.testing import tiny_backbone, tiny_encoder, tiny_picture

QUESTION: list[Message] = [{"role": "user", "content": "What opens the door?"}]


def items(encoder: MemoryEncoder) -> list[EncoderInputs]:
    """Of mixed lengths, with pictures, without, and without text."""
    texts = ["The blue door opens with the brass key.", "Yes.", "The lamp is red. " * 6, "A boat."]
    if not encoder.backbone.prompts.supports_images:
        return [encoder.inputs(text) for text in texts]
    pictures = [tiny_picture(1), None, tiny_picture(2, size=(40, 90)), None]
    return [encoder.inputs(*pair) for pair in zip(texts, pictures, strict=True)] + [
        encoder.inputs(image=tiny_picture(3))
    ]


def prompt(backbone: Backbone) -> ModelInputs:
    if not backbone.prompts.supports_images:
        return backbone.prompts.prompt_inputs(QUESTION)
    parts = [{"type": "image", "image": tiny_picture(4)}, {"type": "text", "text": "What opens it?"}]
    return backbone.prompts.prompt_inputs([{"role": "user", "content": parts}])


def base_weights(backbone: Backbone) -> dict[str, str]:
    """The sha256 of every weight and buffer that is not LoRA's, under its bare name."""
    state = backbone.model.state_dict()
    return {
        name.replace(".base_layer", ""): hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest()
        for name, weight in state.items()
        if "lora_" not in name
    }


def trained(encoder: MemoryEncoder) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in encoder.named_parameters() if parameter.requires_grad}


def training_loss(encoder: MemoryEncoder) -> torch.Tensor:
    backbone = encoder.backbone
    memories = encoder(backbone.batch([item.tensors for item in items(encoder)]))
    prompts = [backbone.prompts.prompt_inputs(QUESTION, answer=answer) for answer in ("the brass key", "no")]
    lengths = [len(backbone.prompts.answer_ids(answer)) for answer in ("the brass key", "no")]
    return backbone.answer_loss(prompts, lengths, [memories[:3].flatten(0, 1), memories[3]])


def gradients(encoder: MemoryEncoder) -> tuple[dict[str, torch.Tensor], int]:
    """Of the training loss, and the bytes that are kept for the backward pass."""
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    encoder.train()
    torch.manual_seed(0)  # of the dropout
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = training_loss(encoder)
    loss.backward()
    return {name: parameter.grad for name, parameter in trained(encoder).items()}, kept


# -- encoding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [2, 16])
def test_batched_is_one_by_one(encoder: MemoryEncoder, batch_size: int):
    inputs = items(encoder)
    together = encoder.encode(inputs, batch_size=batch_size)
    alone = torch.cat([encoder.encode([item]) for item in inputs])
    assert together.shape == (len(inputs), 8, encoder.backbone.hidden_size)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_every_item_gets_vectors_of_its_own(encoder: MemoryEncoder):
    vectors = encoder.encode(items(encoder)).flatten(1)
    assert torch.pdist(vectors).min() > 1e-2
    assert encoder.encode([]).shape == (0, 8, encoder.backbone.hidden_size)


def test_text_and_picture_both_count():
    encoder = tiny_encoder(tiny_backbone("qwen2_5_vl"))
    pairs = [
        ("a", tiny_picture(1)),
        ("a", tiny_picture(2)),
        ("b", tiny_picture(1)),
        ("a", None),
        (None, tiny_picture(1)),
    ]
    vectors = encoder.encode([encoder.inputs(*pair) for pair in pairs]).flatten(1)
    assert torch.pdist(vectors).min() > 1e-3


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava", "llama"])
def test_gradient_checkpointing_changes_nothing_but_memory(family: str):
    plain, recomputed = tiny_encoder(tiny_backbone(family)), tiny_encoder(tiny_backbone(family))
    recomputed.gradient_checkpointing_enable()
    (expected, much), (found, little) = gradients(plain), gradients(recomputed)
    assert little < 0.7 * much
    assert any("lora_" in name and gradient.abs().max() > 0 for name, gradient in expected.items())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)
    recomputed.eval()
    with torch.no_grad():
        torch.testing.assert_close(training_loss(recomputed), training_loss(plain.eval()))


def test_an_item_beyond_the_window(encoder: MemoryEncoder):
    with pytest.raises(ItemTooLongError):
        encoder.inputs("a" * 600)
    cut = encoder.inputs("a" * 600, truncate=True)
    assert cut.truncated
    assert cut.tensors["input_ids"].shape[1] == encoder.encoder_config.max_length
    assert encoder.encode([cut]).shape[0] == 1


def test_a_text_only_encoder_takes_no_pictures():
    encoder = tiny_encoder(tiny_backbone("llama"))
    with pytest.raises(InvalidItemError, match="takes no pictures"):
        encoder.inputs("a", tiny_picture())


def test_a_model_in_bfloat16_encodes_nearly_the_same(family: Any, encoder: MemoryEncoder):
    backbone = tiny_backbone(family)
    backbone.model.to(torch.bfloat16)
    half = tiny_encoder(backbone)
    vectors = half.encode(items(half))
    assert vectors.dtype == torch.float32
    cosine = torch.cosine_similarity(vectors.flatten(1), encoder.encode(items(encoder)).flatten(1))
    assert cosine.min() > 0.99
    assert backbone.generate([prompt(backbone)], [vectors[:2].flatten(0, 1)], max_new_tokens=3)


# -- two roles -----------------------------------------------------------------------------------------------


def test_no_base_weight_ever_changes(family: Any):
    backbone = tiny_backbone(family)
    before = base_weights(backbone)
    encoder = tiny_encoder(backbone)
    assert base_weights(backbone) == before
    memory = encoder.encode(items(encoder)).flatten(0, 1)
    backbone.generate([prompt(backbone)], [memory], max_new_tokens=5)
    assert base_weights(backbone) == before

    weights = {name: parameter.detach().clone() for name, parameter in trained(encoder).items()}
    optimizer = torch.optim.AdamW(trained(encoder).values(), lr=1e-3)
    encoder.train()
    torch.manual_seed(0)  # of the dropout
    training_loss(encoder).backward()
    assert all(p.grad is None for n, p in encoder.named_parameters() if n not in weights)
    optimizer.step()
    encoder.eval()
    assert base_weights(backbone) == before
    still = [name for name, parameter in trained(encoder).items() if torch.equal(parameter, weights[name])]
    language = ("language_model", "text_model")
    assert not [name for name in still if name.startswith("qformer") or any(part in name for part in language)]
    assert (
        len(still) < len(weights) / 2
    )  # a layer after the last one that is read, as LLaVA's tower has, gets no gradient


def test_gradients_reach_lora_and_qformer(family: Any):
    encoder = tiny_encoder(tiny_backbone(family))
    training_loss(encoder).backward()
    parameters = trained(encoder)
    assert {name.split(".")[0] for name in parameters} == {"peft", "qformer"}
    for part in ("language", "vision") if encoder.backbone.prompts.supports_images else ("layers",):
        towers = {
            "language": ("language_model", "text_model"),
            "vision": ("vision_tower", "visual", "vision_model"),
        }.get(part, (part,))
        gradients = [p.grad for n, p in parameters.items() if "lora_" in n and any(t in n for t in towers)]
        assert sum(g.abs().sum() for g in gradients if g is not None) > 0, part
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.qformer.parameters())


def test_lora_works_while_encoding_only(family: Any):
    encoder = tiny_encoder(tiny_backbone(family))
    backbone, calls = encoder.backbone, []
    layers = [module for module in backbone.model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.lora_A["default"].register_forward_hook(lambda *_: calls.append(1))
    assert layers
    memory = encoder.encode(items(encoder)).flatten(0, 1)
    assert len(calls) >= len(layers) // 2
    calls.clear()
    backbone.generate([prompt(backbone)], [memory], max_new_tokens=5)
    list(backbone.stream(prompt(backbone), memory, max_new_tokens=5))
    with torch.no_grad():
        backbone.logits(backbone.batch([prompt(backbone)]))
    assert not calls
    encoder.train()  # nor when an encoder in training is asked
    backbone.generate([prompt(backbone)], max_new_tokens=2)
    assert not calls


def test_lora_is_off_again_after_an_error(family: Any):
    encoder = tiny_encoder(tiny_backbone(family))
    expected = tiny_backbone(family).generate([prompt(encoder.backbone)], max_new_tokens=9)
    with pytest.raises(KeyError):
        encoder({"attention_mask": torch.ones(1, 3)})
    assert encoder.backbone.generate([prompt(encoder.backbone)], max_new_tokens=9) == expected


def test_the_bare_model_answers_bit_for_bit_as_before(family: Any):
    backbone = tiny_backbone(family)

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return backbone.logits(backbone.batch([prompt(backbone)]))

    before, tokens = logits(), backbone.generate([prompt(backbone)], max_new_tokens=20)
    encoder = tiny_encoder(backbone)
    assert torch.equal(logits(), before)
    encoder.encode(items(encoder))
    assert torch.equal(logits(), before)
    assert backbone.generate([prompt(backbone)], max_new_tokens=20) == tokens


def test_threads_get_what_one_thread_gets(encoder: MemoryEncoder):
    backbone = encoder.backbone
    expected = encoder.encode(items(encoder))
    settings = {"max_new_tokens": 8, "min_new_tokens": 8}
    answers = backbone.generate([prompt(backbone)], [expected[:2].flatten(0, 1)], **settings)
    bare = backbone.generate([prompt(backbone)], **settings)

    def work(number: int) -> bool:
        if number % 3 == 0:
            return torch.equal(encoder.encode(items(encoder)), expected)
        memory, wanted = ([expected[:2].flatten(0, 1)], answers) if number % 3 == 1 else (None, bare)
        return backbone.generate([prompt(backbone)], memory, **settings) == wanted

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(32)))


def test_long_items_go_in_smaller_batches(monkeypatch: pytest.MonkeyPatch):
    encoder = tiny_encoder(tiny_backbone("llama"))
    inputs = [encoder.inputs("a" * length) for length in (300, 3, 200, 5, 4)]
    together = encoder.encode(inputs)
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr("comem_memory.encoder.memory_encoder.BATCH_TOKENS", 500)
    encoder.qformer.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0].shape[:2])))
    torch.testing.assert_close(encoder.encode(inputs), together, atol=1e-5, rtol=0)
    assert [batch for batch, _ in shapes] == [1, 1, 3]
    assert all(batch * tokens <= 500 for batch, tokens in shapes)


def test_layers_that_take_no_lora_are_refused():
    backbone = tiny_backbone("llama")
    layer = nn.Module()  # as AWQ and GPTQ put in the place of a Linear
    layer.register_buffer("qweight", torch.zeros(4, 4, dtype=torch.int32))
    backbone.model.model.layers[0].mlp.up_proj = layer
    with pytest.raises(AdapterError, match="takes? no LoRA.*Load the unquantised model with a BitsAndBytesConfig"):
        tiny_encoder(backbone)


def test_one_backbone_carries_one_encoder(encoder: MemoryEncoder, tmp_path: Path):
    encoder.save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="already carries a memory encoder"):
        tiny_encoder(encoder.backbone)
    with pytest.raises(AdapterError, match="already carries a memory encoder"):
        MemoryEncoder.from_pretrained(tmp_path, encoder.backbone)


def test_the_count_is_lora_and_qformer(encoder: MemoryEncoder):
    model = encoder.backbone.model
    lora = 0
    for module in model.modules():
        if isinstance(module, LoraLayer):
            lora += 16 * (module.in_features + module.out_features)
    qformer = sum(p.numel() for p in encoder.qformer.parameters())
    base = sum(p.numel() for n, p in model.named_parameters() if "lora_" not in n)
    count = encoder.num_parameters()
    assert count == (lora + qformer, lora + qformer + base)
    assert f"{count.trainable:,} of {count.total:,}" in str(count)
    assert f"({count.trainable / count.total:.2%})" in str(count)


def test_lora_is_beside_every_linear_but_the_output_head(encoder: MemoryEncoder):
    model = encoder.backbone.model
    inside = {f"{n}.base_layer" for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    plain = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "lora_" not in n}
    assert plain - inside == {"lm_head"}


# -- files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter folder of the tiny LLaVA."""
    folder = tmp_path_factory.mktemp("adapter")
    tiny_encoder(tiny_backbone()).save_pretrained(folder)
    return folder


def test_a_saved_encoder_makes_the_same_vectors(family: Any, encoder: MemoryEncoder, tmp_path: Path):
    encoder.save_pretrained(tmp_path / "new" / "folder")
    loaded = MemoryEncoder.from_pretrained(tmp_path / "new" / "folder", tiny_backbone(family))
    assert torch.equal(loaded.encode(items(loaded)), encoder.encode(items(encoder)))
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.encoder_config == encoder.encoder_config
    assert trained(loaded).keys() == trained(encoder).keys()


def test_a_folder_in_bfloat16_is_half_as_large_and_close(family: Any, encoder: MemoryEncoder, tmp_path: Path):
    encoder.save_pretrained(tmp_path / "full")
    encoder.save_pretrained(tmp_path / "half", dtype=torch.bfloat16)
    for file in (LORA_FILE, QFORMER_FILE):
        assert (tmp_path / "half" / file).stat().st_size < 0.6 * (tmp_path / "full" / file).stat().st_size
    loaded = MemoryEncoder.from_pretrained(tmp_path / "half", tiny_backbone(family))
    expected = encoder.encode(items(encoder))
    torch.testing.assert_close(loaded.encode(items(loaded)), expected, atol=0.02 * expected.abs().max().item(), rtol=0)
    assert loaded.fingerprint != encoder.fingerprint
    assert {p.dtype for p in trained(loaded).values()} == {torch.float32}


def test_the_fingerprint_tells_encoders_apart():
    fingerprints = {
        tiny_encoder(tiny_backbone()).fingerprint.digest,
        tiny_encoder(tiny_backbone(), seed=1).fingerprint.digest,
        tiny_encoder(tiny_backbone(seed=1)).fingerprint.digest,
    }
    assert len(fingerprints) == 3
    assert tiny_encoder(tiny_backbone()).fingerprint.digest in fingerprints


@pytest.mark.parametrize("setting", ["num_attention_heads", "depth"])
def test_the_fingerprint_knows_settings_that_change_the_vectors(saved: Path, tmp_path: Path, setting: str):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    config["qformer"][setting] //= 2
    one = MemoryEncoder.from_pretrained(saved, tiny_backbone())
    other = MemoryEncoder(tiny_backbone(), EncoderConfig.model_validate(config))
    other.load_weights(saved)
    assert not torch.allclose(one.encode(items(one)), other.encode(items(other)), atol=1e-5)
    assert one.fingerprint.digest != other.fingerprint.digest


def test_a_new_encoders_vectors_lie_where_the_model_expects_its_inputs(family: Any):
    """Gemma scales its embeddings: their weight alone would give vectors 8 times too small."""
    encoder = MemoryEncoder.create(tiny_backbone(family), num_attention_heads=4, max_length=512)
    made, read = encoder.encode(items(encoder)).flatten(0, 1), encoder.backbone.token_embeddings
    assert 0.5 < made.norm(dim=1).mean() / read.norm(dim=1).mean() < 2


def test_stock_peft_reads_the_adapter(encoder: MemoryEncoder, family: Any, tmp_path: Path):
    encoder.save_pretrained(tmp_path)
    stock = PeftModel.from_pretrained(tiny_backbone(family).model, tmp_path)
    inputs = encoder.backbone.batch([encoder.inputs("The door is blue.").tensors])
    with torch.no_grad():
        expected = encoder.hidden_states(inputs)
        given = inputs | {"position_ids": encoder.backbone.positions(inputs)}
        assert torch.equal(stock.base_model.model.base_model(**given, use_cache=False).last_hidden_state, expected)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_an_item(encoder: MemoryEncoder, batch_size: int):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}. Encode at least 1"):
        encoder.encode(items(encoder), batch_size=batch_size)


def _rewrite(file: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        weights = load_file(folder / file)
        change(weights)
        save_file(weights, folder / file)

    return damage


def _reconfigure(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / CONFIG_FILE).read_text())
        (folder / CONFIG_FILE).write_text(json.dumps(config | changes))

    return damage


def _cut(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:-100]) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / CONFIG_FILE).unlink(), "lacks config.json"),
        (lambda folder: (folder / LORA_FILE).unlink(), "lacks adapter_model.safetensors"),
        (lambda folder: (folder / QFORMER_FILE).unlink(), "lacks qformer.safetensors"),
        (lambda folder: (folder / FINGERPRINT_FILE).unlink(), "lacks fingerprint.json"),
        (shutil.rmtree, "lacks config.json, fingerprint.json, adapter_model.safetensors, qformer.safetensors"),
        (_rewrite(QFORMER_FILE, lambda w: w["proj_in.bias"].add_(1e-3)), "not those that were saved"),
        (_rewrite(LORA_FILE, lambda w: w[min(w)].mul_(1.01)), "not those that were saved"),
        (lambda folder: (folder / FINGERPRINT_FILE).write_text("{}"), "fingerprint.json is damaged"),
        (_reconfigure(prompt_version=0), r"encoder prompt 0, but this library uses \d"),
        (_rewrite(QFORMER_FILE, lambda w: w.pop("proj_in.bias")), "lacks 1 weights, first 'proj_in.bias'"),
        (_rewrite(LORA_FILE, lambda w: w.pop(min(w))), "lacks 1 weights, first 'base_model"),
        (
            _rewrite(QFORMER_FILE, lambda w: w.update(more=torch.ones(1))),
            "has unexpected 1 weights, first 'more'",
        ),
        (
            _rewrite(LORA_FILE, lambda w: w.update(more=torch.ones(1))),
            "has unexpected 1 weights, first 'more'",
        ),
        (
            _rewrite(QFORMER_FILE, lambda w: w.update({"proj_in.bias": torch.ones(3)})),
            "wrong shape for 1 weights",
        ),
        (_rewrite(LORA_FILE, lambda w: w.update({min(w): torch.ones(3)})), "wrong shape for 1 weights"),
        (_reconfigure(lora={"r": 4}), "wrong shape for"),
        (_cut(LORA_FILE), "adapter_model.safetensors is damaged"),
        (_cut(QFORMER_FILE), "qformer.safetensors is damaged"),
        (_reconfigure(colour="blue"), "colour"),
        (lambda folder: (folder / CONFIG_FILE).write_text("{"), "cannot be read"),
        (lambda folder: (folder / CONFIG_FILE).write_bytes(b"\xff\xfe"), "cannot be read"),
    ],
)
def test_a_wrong_folder_is_refused_and_the_backbone_stays_bare(
    saved: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
):
    shutil.copytree(saved, folder := tmp_path / "adapter")
    damage(folder)
    backbone = tiny_backbone()
    before = base_weights(backbone)
    with pytest.raises(AdapterError, match=message):
        MemoryEncoder.from_pretrained(folder, backbone)
    assert base_weights(backbone) == before
    right = MemoryEncoder.from_pretrained(saved, backbone)
    whole = tiny_encoder(tiny_backbone())
    assert torch.equal(right.encode(items(right)), whole.encode(items(whole)))


@pytest.fixture
def prompted(tmp_path: Path) -> Path:
    """An adapter folder with a reader prompt of 3 vectors."""
    encoder = MemoryEncoder.create(tiny_backbone(), num_attention_heads=4, num_reader_tokens=3)
    generator = torch.Generator().manual_seed(0)
    for prompt in (encoder.reader_prompt, encoder.restate_prompt):
        torch.nn.init.normal_(prompt, generator=generator)
    encoder.save_pretrained(tmp_path / "prompted")
    return tmp_path / "prompted"


def test_a_reader_prompt_is_saved_and_is_no_part_of_what_makes_the_vectors(prompted: Path, tmp_path: Path):
    first = MemoryEncoder.from_pretrained(prompted, tiny_backbone())
    assert first.reader_prompt.shape == (3, 64)
    saved = load_file(prompted / READER_FILE)
    assert torch.equal(first.reader_prompt, saved["reader_prompt"])
    assert torch.equal(first.restate_prompt, saved["restate_prompt"])
    first.reader_prompt.data.add_(1)
    first.save_pretrained(tmp_path / "other")
    other = MemoryEncoder.from_pretrained(tmp_path / "other", tiny_backbone())
    assert torch.equal(other.reader_prompt, saved["reader_prompt"] + 1)
    assert torch.equal(other.restate_prompt, saved["restate_prompt"])
    assert other.fingerprint == MemoryEncoder.from_pretrained(prompted, tiny_backbone()).fingerprint


def test_a_new_reader_prompt_lies_where_the_model_expects_its_inputs(family: Any):
    encoder = MemoryEncoder.create(tiny_backbone(family), num_attention_heads=4, num_reader_tokens=3)
    expected = encoder.backbone.token_embeddings.float().mean(0)
    torch.testing.assert_close(encoder.reader_prompt.data, expected.expand(3, -1))


def test_an_encoder_without_a_reader_prompt_writes_no_file_for_it(saved: Path):
    assert not (saved / READER_FILE).exists()
    assert MemoryEncoder.from_pretrained(saved, tiny_backbone()).reader_prompt.shape == (0, 64)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / READER_FILE).unlink(), "lacks reader_prompts.safetensors"),
        (_cut(READER_FILE), "reader_prompts.safetensors is damaged"),
        (_rewrite(READER_FILE, lambda w: w.update(reader_prompt=torch.ones(4, 64))), "wrong shape for 1 weights"),
        (_rewrite(READER_FILE, lambda w: w.update(more=torch.ones(1))), "has unexpected 1 weights, first 'more'"),
        (_reconfigure(num_reader_tokens=-1), "num_reader_tokens"),
    ],
)
def test_a_damaged_reader_prompt_is_refused(prompted: Path, damage: Callable[[Path], Any], message: str):
    damage(prompted)
    with pytest.raises(AdapterError, match=message):
        MemoryEncoder.from_pretrained(prompted, tiny_backbone())


def test_training_goes_on_with_another_number_of_reader_tokens(prompted: Path, saved: Path):
    encoder = MemoryEncoder.create(tiny_backbone(), num_attention_heads=4, num_reader_tokens=5)
    begun = encoder.reader_prompt.data.clone()
    encoder.load_weights(saved, resize=True)
    assert torch.equal(encoder.reader_prompt, begun), "a folder without a reader prompt leaves it as it is"
    encoder.load_weights(prompted, resize=True)
    old = load_file(prompted / READER_FILE)["reader_prompt"]
    torch.testing.assert_close(encoder.reader_prompt[[0, 2, 4]].data, old)


def test_an_adapter_recommends_how_to_answer(tmp_path: Path):
    new = MemoryEncoder.create(tiny_backbone(), num_attention_heads=4, recommended_mode="both")
    new.save_pretrained(tmp_path)
    assert MemoryEncoder.from_pretrained(tmp_path, tiny_backbone()).encoder_config.recommended_mode == "both"


def test_an_older_adapter_lacks_settings_that_change_no_vector(saved: Path, tmp_path: Path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert (config.pop("recommended_mode"), config.pop("order")) == ("memory", "best_last")
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    older = MemoryEncoder.from_pretrained(tmp_path, tiny_backbone())
    assert older.encoder_config.recommended_mode == "memory"
    assert older.encoder_config.order == "best_last"
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config | {"order": "best_first"}))
    first = MemoryEncoder.from_pretrained(tmp_path, tiny_backbone())
    assert first.encoder_config.order == "best_first"
    saved_fingerprint = MemoryEncoder.from_pretrained(saved, tiny_backbone()).fingerprint
    assert older.fingerprint == first.fingerprint == saved_fingerprint


def test_another_base_model_is_refused(saved: Path):
    with pytest.raises(AdapterError, match=r"has other weights .*Load it with tiny-llava-0"):
        MemoryEncoder.from_pretrained(saved, tiny_backbone(seed=1))


def test_another_hidden_size_is_refused(saved: Path, tmp_path: Path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    config["qformer"]["hidden_size"] = 128
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="hidden_size 128, but tiny-llava-0 has 64"):
        MemoryEncoder.from_pretrained(tmp_path, tiny_backbone())
