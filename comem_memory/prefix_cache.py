"""Reuse of the key-value cache between a conversation's turns: what a prompt begins with is not prefilled again."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from comem_memory.backbone import Backbone
from comem_memory.prompts import ModelInputs, runs_along_tokens

CHOOSING = frozenset(
    {
        "do_sample",
        "eos_token_id",
        "logits_processor",
        "max_new_tokens",
        "min_new_tokens",
        "min_p",
        "no_repeat_ngram_size",
        "repetition_penalty",
        "stop_strings",
        "stopping_criteria",
        "streamer",
        "suppress_tokens",
        "temperature",
        "tokenizer",
        "top_k",
        "top_p",
    }
)
"""Settings of `generate` that only choose the next token and the last one. Any other may need a cache of its own kind
(beams, assistants, static or quantised caches, ...) and so goes without reuse."""


@dataclass(frozen=True)
class _Answered:
    """The last prompt with its answer."""

    cache: Any
    """A `DynamicCache`; its layers' attributes are not annotated."""
    tokens: torch.Tensor
    """Those that the cache holds, memory slots included."""
    memory: torch.Tensor | None
    pictures: ModelInputs


class PrefixCache:
    """Keys and values of one conversation, of its last prompt and answer, for the next prompt that begins like them.

    The same memory vectors, the same tokens and the same pictures are reused up to the first token that differs; other
    memory, other pictures, or a picture after that token, and the whole prompt is prefilled, by the stock `generate`.
    With the same memory, the prefill of a later turn thus costs what the turn adds, however many items are in memory.

    The answers are those of a full prefill. Without reuse (a first turn) logits are bit-identical; with it they agree
    to rounding, because matrices of other shapes are summed in another order: within 1e-5 in fp32, and in bf16 about as
    between batch sizes, so that a near tie may fall the other way.

    The base model is frozen, so keys and values stay right for good: encoding switches the adapter on only for its own
    passes, which keep no cache, and training changes only adapter and Q-Former. Who changes base weights by hand needs
    a new `PrefixCache`.

    One entry is held: 2 * layers * key-value heads * head dimension * bytes per number * tokens (Qwen2.5-VL-7B in bf16:
    56 KiB a token), the memory and the pictures' pixels. A prompt that goes without reuse leaves it where it is; any
    other frees it or grows it into the next entry. Layers with a sliding window hold their window alone, and past it
    cannot be cut back: there a prompt has to go on where the last answer ended.

    Not thread-safe; `Backbone.generate` uses it behind its lock.
    """

    def __init__(self) -> None:
        self._last: _Answered | None = None

    def generate(
        self, backbone: Backbone, batch: ModelInputs, memory: torch.Tensor | None, settings: dict[str, Any]
    ) -> torch.Tensor:
        """`backbone.model.generate` of one prompt, reusing what the last one shares with it.

        Args:
            backbone: always the same.
            batch: of 1, from `backbone.batch`.
            memory: (n, H) in it, or None.
            settings: as in transformers; those outside `CHOOSING` go without reuse.

        Returns:
            (1, T): the prompt's tokens and the answer's.
        """
        model = backbone.model
        own = model.generation_config.cache_implementation  # Gemma 3's "hybrid" is the default one to transformers
        if not CHOOSING.issuperset(settings) or own not in (None, "hybrid"):
            return model.generate(**batch, **settings)
        memory = None if memory is None or not len(memory) else memory.clone()  # the caller's may change
        inputs = self._continued(backbone, batch, memory)
        output = model.generate(**inputs, **settings, return_dict_in_generate=True)
        cache = output.past_key_values
        if _can_be_continued(cache) and "position_ids" in inspect.signature(model.forward).parameters:
            tokens = output.sequences[0, : cache.get_seq_length()]
            self._last = _Answered(cache, tokens, memory, _pictures(batch))
        return output.sequences

    def _continued(self, backbone: Backbone, batch: ModelInputs, memory: torch.Tensor | None) -> ModelInputs:
        """The batch, with the last cache in place of what it holds. The entry is gone until this prompt is answered."""
        last, self._last = self._last, None
        if last is None or not _same(last.memory, memory):
            return batch
        ids, pictures = batch["input_ids"][0], _pictures(batch)
        if (last.tokens.device, last.cache.layers[0].keys.dtype) != (ids.device, backbone.model.dtype):
            return batch  # the model was moved since
        length = min(_common(last.tokens, ids), len(ids) - 1)  # the last token's logits are needed
        if pictures:
            same = all(_same(last.pictures.get(key), value) for key, value in pictures.items())
            if not same or backbone.image_token_id is None or (ids[length:] == backbone.image_token_id).any():
                return batch
        if not length or not _cut(last.cache, length):
            return batch
        # What is left is text, whatever its beginning held; positions come from the whole prompt.
        left = {key: batch[key] for key in ("input_ids", "attention_mask", "inputs_embeds") if key in batch}
        return left | {"position_ids": backbone.positions(batch), "past_key_values": last.cache}


def _can_be_continued(cache: Any) -> bool:
    """Whether it is the plain cache of one sequence, each position of which depends on those before it alone."""
    if type(cache) is not DynamicCache:
        return False
    layers: list[Any] = cache.layers
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    return all(type(layer) in kinds and layer.is_initialized and len(layer.keys) == 1 for layer in layers)


def _cut(cache: Any, length: int) -> bool:
    """Leaves the first positions, unless a sliding window has let go of what they need."""
    excess = cache.get_seq_length() - length
    if not excess:
        return True
    if any(layer.is_sliding and layer.get_seq_length() >= layer.sliding_window for layer in cache.layers):
        return False
    cache.crop(-excess)
    return True


def _pictures(batch: ModelInputs) -> ModelInputs:
    return {k: value for k, value in batch.items() if not runs_along_tokens(batch, k) and k != "inputs_embeds"}


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.device, one.dtype) == (other.device, other.dtype) and torch.equal(one, other)


def _common(one: torch.Tensor, other: torch.Tensor) -> int:
    """How many tokens both begin with."""
    shorter = min(len(one), len(other))
    differs = (one[:shorter] != other[:shorter]).nonzero()
    return int(differs[0]) if len(differs) else shorter
