"""The Q-Former against numbers recorded from the authors' layer, and its masking rule."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from comem_memory.config import QFormerConfig
from comem_memory.encoder import QFormer

PARITY = Path(__file__).parent / "data" / "parity" / "qformer"


@pytest.fixture
def qformer() -> QFormer:
    size = json.loads((PARITY / "config.json").read_text())
    module = QFormer(
        QFormerConfig(
            hidden_size=size["dim"],
            num_attention_heads=size["heads"],
            num_query_tokens=size["num_queries"],
            depth=size["depth"],
            ff_mult=size["ff_mult"],
        )
    )
    weights = load_file(PARITY / "model.safetensors")
    weights["query_tokens"] = weights.pop("latents")
    module.load_state_dict(weights)
    return module


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    return load_file(PARITY / "inputs.safetensors")


@pytest.fixture
def expected() -> dict[str, torch.Tensor]:
    return load_file(PARITY / "expected.safetensors")


def test_output_equals_the_authors(qformer, inputs, expected):
    torch.testing.assert_close(qformer(inputs["x"], inputs["mask"]), expected["output_masked"], atol=1e-5, rtol=0)
    torch.testing.assert_close(qformer(inputs["x"]), expected["output_nomask"], atol=1e-5, rtol=0)


def test_gradients_equal_the_authors(qformer, inputs, expected):
    x = inputs["x"].requires_grad_()
    (qformer(x, inputs["mask"]) * expected["grad_probe_w"]).sum().backward()
    ours = {name: parameter.grad for name, parameter in qformer.named_parameters()}
    ours["latents"], ours["x"] = ours.pop("query_tokens"), x.grad
    recorded = {name.removeprefix("grad."): g for name, g in expected.items() if name.startswith("grad.")}
    assert ours.keys() == recorded.keys()
    for name, gradient in recorded.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_masked_positions_contribute_nothing(qformer, inputs):
    x, mask = inputs["x"], inputs["mask"]
    poisoned = torch.where(mask[..., None].bool(), x, torch.tensor(1e4))
    assert torch.equal(qformer(poisoned, mask), qformer(x, mask))
    for row in range(len(x)):
        alone = qformer(x[row : row + 1, mask[row].bool()])
        torch.testing.assert_close(qformer(x, mask)[row : row + 1], alone, atol=1e-5, rtol=0)


def test_size_at_the_papers_width():
    with torch.device("meta"):
        module = QFormer(QFormerConfig(hidden_size=3584, num_attention_heads=16))
    assert sum(p.numel() for p in module.parameters()) == 179_895_296


def test_identity_start_is_spread_like_the_token_embeddings():
    torch.manual_seed(0)
    module = QFormer(QFormerConfig(hidden_size=64, num_attention_heads=4))
    mean, std = torch.randn(64), torch.rand(64) + 0.5
    module.init_identity(mean, std)
    standard = (module(torch.randn(16, 11, 64)) - mean) / std
    torch.testing.assert_close(standard.mean(-1), torch.zeros(16, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std(-1, correction=0), torch.ones(16, 8), atol=1e-3, rtol=0)
