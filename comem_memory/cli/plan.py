"""What `comem doctor` tells: the memory that a model and a store of items need, and whether this machine has it.

It is counted from the model's settings, without loading its weights. Of activations those of one item are counted, by
the length of the encoder's window; leave a fifth free for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from rich.filesize import decimal
from rich.table import Table
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from comem_memory.config import LoraSettings, QFormerConfig
from comem_memory.encoder import QFormer, linear_names
from comem_memory.model import auto_class, load_config
from comem_memory.store import PRECISIONS, encode_block

CONTEXT = 4096
"""Tokens of the conversation whose key-value cache is counted."""
BYTES_TO_TRAIN = 16
"""Bytes of a trained parameter in fp32: itself, its gradient, and Adam's two moments."""
DISK = (12_000, 2.0)
"""What an item takes on disk in an embedded Chroma after `comem vacuum`: a number of bytes, and a multiple of the bytes
of its block (`benchmarks/storage.py --random`). In int8 vectors that have something in common take less."""
WINDOWS = (512, 2048, 6000, 15_000)
"""Tokens of an item whose activations are counted: of a text, of a page, of an agent's steps with their screenshots."""
LINKS = 140
"""Bytes of an item in the HNSW index beside its key: 16 links, and twice as many on the ground level."""


@dataclass(frozen=True)
class Device:
    """A GPU or this machine's own memory, where a model can be loaded.

    Args:
        name: What the device is called.
        total: Bytes in all.
        free: Bytes that are free now.
    """

    name: str
    total: int
    free: int

    def fits(self, needed: int) -> str:
        """Whether there is room, leaving a fifth for activations: `yes`, `if freed` (by other programs), or `no`.

        Args:
            needed: Bytes that are needed.
        """
        if needed < 0.8 * self.free:
            return "yes"
        return "if freed" if needed < 0.8 * self.total else "no"


@dataclass(frozen=True)
class Plan:
    """What a model and its memory need; where nothing else is said, in bytes.

    Args:
        model: The model's name.
        parameters: Number of the base model's parameters.
        trained: Number of parameters of an adapter with default settings.
        hidden_size: Width of a memory vector.
        weights: Size of the base model's weights, by the way they are loaded.
        adapter: Size of LoRA and Q-Former in fp32.
        training: Size of LoRA and Q-Former with their gradients and the optimizer's state.
        cache: Size of the key-value cache of `CONTEXT` tokens in bf16.
        cache_of_item: Size of the key-value cache of one item's vectors in bf16.
        items: Number of items in the store.
        disk: Size of the store on disk, by the precision of its vectors.
        index: Memory that the store's index takes.
        reading: What it takes beside the weights to encode one item, by its tokens.
        learning: What it takes beside weights and `training` to train on one item at a time with gradient
            checkpointing, by its tokens.
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
    reading: dict[int, int]
    learning: dict[int, int]

    def needed(self, load: str) -> int:
        """Bytes that answering takes: weights, adapter and a conversation's cache.

        Args:
            load: The way the weights are loaded, a key of `weights`.
        """
        return self.weights[load] + self.adapter + self.cache


def make_plan(model: str, *, items: int, key_dimension: int, name: str | None = None) -> Plan:
    """What a base model and a store of its memory need.

    Args:
        model: The model's hub name or folder, of which only `config.json` is read.
        items: Number of items in the store.
        key_dimension: How many numbers a retrieval key has.
        name: What to call the model, by default `model`.

    Raises:
        ModelError: There is no such model, or transformers does not know its kind.
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
    reading, learning = _bytes_of_token(empty, config)
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
        reading={window: reading * window for window in WINDOWS},
        learning={window: learning * window for window in WINDOWS},
    )


def _bytes_of_token(model: PreTrainedModel, config: PretrainedConfig) -> tuple[int, int]:
    """Bytes that a token of an item takes in bf16 when it is encoded, and when the encoder is trained on it.

    Encoding, the widest layer decides. Training keeps the input of every layer, of the vision tower too, whose patches
    are more than the tokens; 4 numbers of the last norm and 39 of the Q-Former, as autograd's hooks for saved tensors
    count them; and all of one layer, which is computed again, with as much for gradients. With attention that keeps no
    scores of token by token (SDPA on a GPU).
    """
    text = config.get_text_config()
    width, inner = text.hidden_size, text.intermediate_size
    decoder = {id(layer) for layer in model.get_decoder().modules()}
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    inputs = {id(layer): next(m for m in layer.modules() if isinstance(m, nn.Linear)).in_features for layer in layers}
    own = sum(size for layer, size in inputs.items() if layer in decoder)
    tower = sum(size for layer, size in inputs.items() if layer not in decoder)
    vision = getattr(config, "vision_config", None)
    patches = getattr(vision, "spatial_merge_size", 1) ** 2  # of a token
    kept = 2 * (own + patches * tower) + (4 + 39) * width
    return 16 * inner, kept + 2 * (28 * width + 8 * inner)


def devices() -> list[Device]:
    """This machine's GPUs, and its own memory."""
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append(Device(f"cuda:{number} {torch.cuda.get_device_name(number)}", total, free))
    memory = psutil.virtual_memory()
    return [*found, Device("cpu", memory.total, memory.available)]


def tables(plan: Plan, on: Sequence[Device]) -> list[Table]:
    """Three tables: what each way of loading the model needs and where it fits, what an item takes by its length, and
    what the store needs.

    Args:
        plan: What is needed.
        on: The devices that the model could be loaded on.
    """
    model = Table("loaded as", "weights", "to answer", "to train an adapter", *(device.name for device in on))
    for load, weights in plan.weights.items():
        needed = plan.needed(load)
        training = needed + plan.training - plan.adapter
        fits = [f"{device.fits(needed)} / {device.fits(training)}" for device in on]
        model.add_row(load, decimal(weights), decimal(needed), decimal(training), *fits)
    model.caption = (
        f"{plan.model}: {plan.parameters:,} parameters, adapter {plan.trained:,}; with {decimal(plan.cache)} for a "
        f"conversation of {CONTEXT} tokens, each item recalled takes {decimal(plan.cache_of_item)}; activations are "
        "not counted here. Fits to answer / to train: into 80% of what is free of "
        f"{', '.join(f'{d.name} ({decimal(d.free)} of {decimal(d.total)})' for d in on)}"
    )
    items = Table("an item of", "to encode it", "to train on it")
    for window in WINDOWS:
        items.add_row(f"{window:,} tokens", decimal(plan.reading[window]), decimal(plan.learning[window]))
    items.caption = (
        "Activations on a GPU beside the weights in bf16, about: one item at a time, all of it pictures (to train: "
        "--questions 1 --max-memories 1 --gradient-checkpointing). A CPU takes several times as much"
    )
    store = Table(
        "stored as", "an item", "on disk", caption=f"{plan.items:,} items in Chroma; {decimal(plan.index)} RAM"
    )
    for precision, size in plan.disk.items():
        store.add_row(precision, decimal(size // max(1, plan.items)), decimal(size))
    return [model, items, store]
