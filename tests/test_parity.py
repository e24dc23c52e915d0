"""Encoder, splice, training and generation equal what the authors' code gave (fp32, atol 1e-4, gradients 1e-6 + 1e-3).

The authors look at the question's picture with the adapted vision tower; we keep the answering model frozen. Where a
recorded number depends on it, the test scatters the adapted tower's features itself.
"""

import pytest
import torch
from helpers.parity import EXPECTED, INPUTS, knowledge, load_encoder, lora_layer, question

IMAGE_TOKEN = 505
ITEMS = range(3)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


def close(actual: torch.Tensor, name: str, atol: float = 1e-4) -> None:
    print(f"{name}: largest difference {(actual - EXPECTED[name]).abs().max():.1e}")  # shown by pytest -rP
    torch.testing.assert_close(actual, EXPECTED[name], atol=atol, rtol=0, msg=lambda m: f"{name}: {m}")


def embed_with_adapted_tower(encoder, prompt, memory):
    """The batch of one prompt after its memory, its picture seen through the adapter as in the authors' code."""
    backbone = encoder.backbone
    batch = backbone.batch([prompt], [memory])
    with encoder._adapter_on():
        features = backbone.model.get_image_features(batch.pop("pixel_values"), batch["image_grid_thw"]).pooler_output
    image_rows = (batch["input_ids"] == IMAGE_TOKEN)[..., None]
    batch["inputs_embeds"] = batch["inputs_embeds"].masked_scatter(image_rows, torch.cat(list(features)))
    return batch


@pytest.fixture(scope="module")
def memories(encoder):
    with torch.no_grad():
        return encoder(encoder.backbone.batch([knowledge(i) for i in ITEMS]))


@pytest.mark.parametrize("item", ITEMS)
def test_item(encoder, memories, item):
    backbone = encoder.backbone
    single = backbone.batch([knowledge(item)])
    assert torch.equal(backbone.positions(single)[1:, 0], EXPECTED[f"item{item}_position_ids"])
    with torch.no_grad():
        with encoder._adapter_on():
            features = backbone.model.get_image_features(single["pixel_values"], single["image_grid_thw"])
            close(torch.cat(list(features.pooler_output)), f"item{item}_image_embeds")
            close(backbone.hidden_states(single)[0], f"item{item}_hidden")
        close(encoder(single)[0], f"item{item}_memory")
    close(memories[item], f"item{item}_memory")


def test_padded_positions_of_the_batch(encoder):
    batch = encoder.backbone.batch([knowledge(i) for i in ITEMS])
    valid = batch["attention_mask"].bool()
    assert torch.equal(valid, INPUTS["knowledge_attention_mask"].bool())
    positions = encoder.backbone.positions(batch)[1:]
    assert torch.equal(positions[:, valid], EXPECTED["knowledge_position_ids"][:, valid])


@pytest.fixture(scope="module")
def prompt_batch(encoder, memories):
    with torch.no_grad():
        return embed_with_adapted_tower(encoder, question(), memories.flip(0).flatten(0, 1))


def test_prefill_of_memory_and_question(encoder, prompt_batch):
    backbone = encoder.backbone
    assert torch.equal(backbone.positions(prompt_batch)[1:], EXPECTED["final_position_ids"])
    close(prompt_batch["inputs_embeds"], "concatenated_embeddings")
    with torch.no_grad():
        close(backbone.hidden_states(prompt_batch), "prefill_hidden")
        close(backbone.logits(prompt_batch), "prefill_logits")


def test_bare_model_with_its_own_tower(encoder):
    with torch.no_grad():
        close(encoder.backbone.logits(encoder.backbone.batch([question()])), "plain_base_logits")


@pytest.mark.parametrize("use_cache", [True, False])
def test_contiguous_greedy_continuation(encoder, prompt_batch, use_cache):
    output = encoder.backbone.model.generate(
        **prompt_batch,
        max_new_tokens=8,
        min_new_tokens=8,
        do_sample=False,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
    )
    length = prompt_batch["input_ids"].shape[1]
    assert torch.equal(output.sequences[0, length:], EXPECTED["generate_contiguous_tokens"])
    close(torch.cat(output.logits), "generate_contiguous_logits")


def test_training_forward_loss_and_gradients(encoder):
    encoder.zero_grad()
    sample = question("train")
    memory = encoder(encoder.backbone.batch([knowledge(i) for i in ITEMS])).flatten(0, 1)
    batch = embed_with_adapted_tower(encoder, sample, memory)
    close(batch["inputs_embeds"], "train_concatenated_embeddings")
    assert torch.equal(encoder.backbone.positions(batch)[1:], EXPECTED["train_final_position_ids"])
    logits = encoder.backbone.logits(batch)[:, len(memory) :]
    close(logits, "train_logits")
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], INPUTS["train_labels"][0, 1:])
    close(loss[None], "train_loss", atol=1e-5)
    loss.backward()

    def same(gradient, name, expected):
        print(f"gradient of {name}: largest difference {(gradient - expected).abs().max():.1e}")
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-3, msg=lambda m: f"{name}: {m}")

    qformer = dict(encoder.qformer.named_parameters())
    recorded = {name.removeprefix("grad."): g for name, g in EXPECTED.items() if name.startswith("grad.")}
    for name, gradient in recorded.items():
        if name.startswith("knowledge_processor."):
            same(qformer[name.split(".", 1)[1].replace("latents", "query_tokens")].grad, name, gradient)
            continue
        layer = lora_layer(encoder, name)  # dL/dB = s G A^T and dL/dA = s B^T G, with G the gradient of the full weight
        a, b, scale = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.scaling["default"]
        same(b.grad, name, scale * gradient @ a.T)
        same(a.grad, name, scale * b.T @ gradient)
    assert len(recorded) == 9
    assert all(p.grad is None for n, p in encoder.named_parameters() if not p.requires_grad)
