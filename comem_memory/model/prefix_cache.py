"""Reuse of the key-value cache between a conversation's turns: what their prompts share is not prefilled again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from comem_memory.model.prompts import ModelInputs, runs_along_tokens

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
    """The tokens that the cache holds, memory slots included."""
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
    passes, which keep no cache, and training changes only adapter and Q-Former. After changing base weights by hand,
    make a new `PrefixCache`.

    One entry is held: 2 * layers * key-value heads * head dimension * bytes per number * tokens (Qwen2.5-VL-7B in bf16:
    56 KiB a token), the memory and the pictures' pixels. A prompt that goes without reuse leaves it where it is; any
    other frees it or grows it into the next entry. Layers with a sliding window hold their window alone, and past it
    cannot be cut back: there a prompt has to go on where the last answer ended.

    Not thread-safe; `Backbone.generate`, which alone runs the model, uses it behind its lock.
    """

    def __init__(self) -> None:
        self._last: _Answered | None = None

    def takes(self, model: Any, settings: dict[str, Any]) -> bool:
        """Whether answers with these settings of `generate` can reuse the cache, and be kept in it.

        Args:
            model: The model, whose `generation_config` may ask for a cache of another kind.
            settings: Settings of the stock `generate`; with one that is not in `CHOOSING`, nothing is reused.
        """
        own = model.generation_config.cache_implementation  # Gemma 3's "hybrid" is the default one to transformers
        return CHOOSING.issuperset(settings) and own in (None, "hybrid")

    def inputs(
        self, batch: ModelInputs, memory: torch.Tensor | None, *, dtype: torch.dtype, image_token_id: int | None
    ) -> ModelInputs | None:
        """What is left to prefill of a batch of 1, with the cache of what it begins with; `None` for all of it.

        The entry is gone until this prompt is answered and kept. The caller adds the positions, which are those of the
        whole prompt.

        Args:
            batch: The prompt as `Backbone.batch` makes it.
            memory: The memory vectors in the batch, (n, H), or None.
            dtype: The dtype that the model has now, which may have changed since.
            image_token_id: The token that stands for a picture, or None where it is not known.
        """
        last, self._last = self._last, None
        if last is None or not _same(last.memory, memory):
            return None
        ids, pictures = batch["input_ids"][0], _pictures(batch)
        if (last.tokens.device, last.cache.layers[0].keys.dtype) != (ids.device, dtype):
            return None
        length = min(_common(last.tokens, ids), len(ids) - 1)  # the last token's logits are needed
        if pictures:
            same = all(_same(last.pictures.get(key), value) for key, value in pictures.items())
            if not same or image_token_id is None or (ids[length:] == image_token_id).any():
                return None
        if not length or not _cut(last.cache, length):
            return None
        # What is left is text, whatever its beginning held.
        left = {key: batch[key] for key in ("input_ids", "attention_mask", "inputs_embeds") if key in batch}
        return left | {"past_key_values": last.cache}

    def keep(self, cache: Any, tokens: torch.Tensor, memory: torch.Tensor | None, batch: ModelInputs) -> None:
        """Keeps an answered prompt for the next one, if its cache is of a kind that can be continued.

        Args:
            cache: The cache that transformers' `generate` returned.
            tokens: The tokens of the prompt, memory slots included, and of the answer, (T,).
            memory: The memory vectors in the batch, (n, H), or None.
            batch: The prompt as `Backbone.batch` makes it.
        """
        if _can_be_continued(cache):
            self._last = _Answered(cache, tokens[: cache.get_seq_length()], memory, _pictures(batch))


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
