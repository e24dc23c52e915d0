"""The tiny Qwen2.5-VL whose numbers were recorded with the authors' code, in today's transformers classes."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from comem_memory.config import LoraSettings
from comem_memory.encoder import MemoryEncoder
from comem_memory.model import Backbone

FOLDER = Path(__file__).parents[1] / "data" / "parity" / "qwen2_5_vl"
INPUTS = load_file(FOLDER / "inputs.safetensors")
EXPECTED = load_file(FOLDER / "expected.safetensors")


def to_transformers(name: str) -> str:
    """Parameter name of transformers 4.49, which the recording uses, to that of 5.x."""
    if name.startswith("model."):
        return name.replace("model.", "model.language_model.", 1)
    return f"model.{name}" if name.startswith("visual.") else name


def load_encoder() -> MemoryEncoder:
    """The recorded frozen model as backbone, and the recorded outer model as LoRA (exact: its update has rank 4)."""
    config = json.loads((FOLDER / "config.json").read_text())
    weights = load_file(FOLDER / "model.safetensors")
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config, attn_implementation="eager"))
    prefix = "model_inf."
    base = {to_transformers(n.removeprefix(prefix)): w for n, w in weights.items() if n.startswith(prefix)}
    model.load_state_dict(base)
    backbone = Backbone(model, None, name="parity")
    encoder = MemoryEncoder.create(backbone, num_attention_heads=4, lora=LoraSettings(lora_dropout=0))
    qformer = {n.split(".", 1)[1]: w for n, w in weights.items() if n.startswith("knowledge_processor.")}
    qformer["query_tokens"] = qformer.pop("latents")
    encoder.qformer.load_state_dict(qformer)
    for name in (FOLDER / "lora_updated_keys.txt").read_text().split():
        layer = lora_layer(encoder, name)
        u, s, v = torch.linalg.svd((weights[name] - base[to_transformers(name)]).double())
        r = layer.lora_A["default"].weight.shape[0]
        with torch.no_grad():
            layer.lora_B["default"].weight.copy_(u[:, :r] * s[:r].sqrt() / layer.scaling["default"])
            layer.lora_A["default"].weight.copy_(s[:r, None].sqrt() * v[:r])
    return encoder


def lora_layer(encoder: MemoryEncoder, weight_name: str):
    return encoder.backbone.model.get_submodule(to_transformers(weight_name).removesuffix(".weight"))


def knowledge(item: int) -> dict[str, torch.Tensor]:
    """Recorded inputs of one item, unpadded."""
    grids = INPUTS["knowledge_image_grid_thw"]
    sizes = grids.prod(-1).tolist()
    start = sum(sizes[:item])
    valid = INPUTS["knowledge_attention_mask"][item].bool()
    ids = INPUTS["knowledge_input_ids"][item, valid][None]
    return sequence(ids) | {
        "pixel_values": INPUTS["knowledge_pixel_values"][start : start + sizes[item]],
        "image_grid_thw": grids[item : item + 1],
    }


def sequence(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": (ids == 505).int()}


def question(kind: str = "query") -> dict[str, torch.Tensor]:
    """The recorded question, or the recorded training sample (`kind="train"`), with its picture."""
    return sequence(INPUTS[f"{kind}_input_ids"]) | {
        "pixel_values": INPUTS["query_pixel_values"],
        "image_grid_thw": INPUTS["query_image_grid_thw"],
    }
