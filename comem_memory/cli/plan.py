"""`comem doctor`: what a model and a store of so many items need, and whether this machine has it.

Counted from the model's settings; its weights are not loaded. Activations are not counted: leave a fifth free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from rich.table import Table

from comem_memory.config import LoraSettings, QFormerConfig
from comem_memory.encoder.memory_encoder import linear_names
from comem_memory.encoder.qformer import QFormer
from comem_memory.model.loading import auto_class, load_config
from comem_memory.store.codec import PRECISIONS, encode_block

CONTEXT = 4096
"""Tokens of a conversation, for the key-value cache."""
BYTES_TO_TRAIN = 16
"""A trained parameter in fp32: itself, its gradient, and Adam's two moments."""
DISK = (18_000, 2.95)
"""Bytes on disk of an item in an embedded Chroma: so many, and so many times its block (`benchmarks/storage.py`)."""
LINKS = 140
"""Bytes in the HNSW index beside the key: 16 links, twice as many on the ground level."""


@dataclass(frozen=True)
class Device:
    """Where a model can be loaded: bytes in all, and free."""

    name: str
    total: int
    free: int

    def fits(self, needed: int) -> str:
        """Whether so many bytes go there now, leaving a fifth for activations, or did if nothing else were there."""
        if needed < 0.8 * self.free:
            return "yes"
        return "if freed" if needed < 0.8 * self.total else "no"


@dataclass(frozen=True)
class Plan:
    """Bytes that a model and its memory need.

    Args:
        model: name.
        parameters: of the base model.
        trained: of an adapter with default settings.
        hidden_size: width of a memory vector.
        weights: by how the base model is loaded.
        adapter: LoRA and Q-Former, fp32.
        training: the same with gradients and optimizer.
        cache: key-value cache of `CONTEXT` tokens in bf16.
        cache_of_item: of one item's vectors.
        items: how many the store holds.
        disk: of the store, by precision.
        index: RAM of the store's index.
    """

    model: str
    parameters: int
    trained: int
    hidden_size: int
    weights: dict[str, int]
    adapter: int
    training: int
    cache: int
    cache_of_item: int
    items: int
    disk: dict[str, int]
    index: int

    def needed(self, load: str) -> int:
        """To answer: weights, adapter and a conversation's cache."""
        return self.weights[load] + self.adapter + self.cache


def make_plan(model: str, *, items: int, key_dimension: int, name: str | None = None) -> Plan:
    """What a base model needs.

    Args:
        model: hub name or folder; only its `config.json` is read.
        items: in the store.
        key_dimension: of the retrieval key.
        name: what to call the model.
    Raises:
        ModelError: there is no such model, or transformers does not know its kind.
    """
    config = load_config(model)
    with torch.device("meta"):
        empty = auto_class(config).from_config(config)
        linear = [empty.get_submodule(linear_name) for linear_name in linear_names(empty)]
        text = config.get_text_config()
        qformer = QFormer(QFormerConfig(hidden_size=text.hidden_size, num_attention_heads=1))
    parameters = sum(weight.numel() for weight in empty.parameters())
    in_linear = sum(module.weight.numel() for module in linear)
    lora = sum(LoraSettings().r * (module.in_features + module.out_features) for module in linear)
    trained = lora + sum(weight.numel() for weight in qformer.parameters())
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache_of_token = 2 * text.num_hidden_layers * heads * width * 2
    fixed, times = DISK
    num_query_tokens = qformer.config.num_query_tokens
    block = torch.ones(num_query_tokens, text.hidden_size)
    return Plan(
        model=name or model,
        parameters=parameters,
        trained=trained,
        hidden_size=text.hidden_size,
        weights={
            "fp32": 4 * parameters,
            "bf16": 2 * parameters,
            "8-bit": 2 * parameters - in_linear,
            "4-bit": 2 * parameters - 2 * in_linear + in_linear * 9 // 16,  # with a scale for each 64 weights
        },
        adapter=4 * trained,
        training=BYTES_TO_TRAIN * trained,
        cache=cache_of_token * CONTEXT,
        cache_of_item=cache_of_token * num_query_tokens,
        items=items,
        disk={p: items * (fixed + round(times * len(encode_block(block, p)))) for p in PRECISIONS},
        index=items * (4 * key_dimension + LINKS),
    )


def devices() -> list[Device]:
    """This machine's GPUs, and its own memory."""
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append(Device(f"cuda:{number} {torch.cuda.get_device_name(number)}", total, free))
    memory = psutil.virtual_memory()
    return [*found, Device("cpu", memory.total, memory.available)]


def tables(plan: Plan, on: Sequence[Device]) -> list[Table]:
    """The plan for people: what each way of loading needs and where it fits, and what the store needs."""
    model = Table("loaded as", "weights", "to answer", "to train an adapter", *(device.name for device in on))
    for load, weights in plan.weights.items():
        needed = plan.needed(load)
        training = needed + plan.training - plan.adapter
        fits = [f"{device.fits(needed)} / {device.fits(training)}" for device in on]
        model.add_row(load, _size(weights), _size(needed), _size(training), *fits)
    model.caption = (
        f"{plan.model}: {plan.parameters:,} parameters, adapter {plan.trained:,}; with {_size(plan.cache)} for a "
        f"conversation of {CONTEXT} tokens, each item recalled takes {_size(plan.cache_of_item)}; activations are not "
        "counted. Fits to answer / to train: into 80% of what is free of "
        f"{', '.join(f'{d.name} ({_size(d.free)} of {_size(d.total)})' for d in on)}"
    )
    store = Table("stored as", "an item", "on disk", caption=f"{plan.items:,} items in Chroma; {_size(plan.index)} RAM")
    for precision, size in plan.disk.items():
        store.add_row(precision, _size(size // max(1, plan.items)), _size(size))
    return [model, store]


def _size(number: float) -> str:
    units = ["B", "KB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] in ("B", "KB") else f"{number:.1f} {units[0]}"
