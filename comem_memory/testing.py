"""Seeded stand-ins for tests, ours and yours: tiny random models, and embedders that load nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
)

from comem_memory.backbone import Backbone, without_videos
from comem_memory.chroma import ChromaStore
from comem_memory.encoder import MemoryEncoder
from comem_memory.keys import RetrievalKey
from comem_memory.memory import ContinuousMemory, identity_of

Family = Literal["llava", "qwen2_vl", "qwen2_5_vl", "llama"]
VISION_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<image>", *VISION_TOKENS]
HIDDEN_SIZE = 64
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{{ 'IMAGE' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT: dict[str, Any] = {
    "hidden_size": HIDDEN_SIZE,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256 + len(SPECIAL),
    "max_position_embeddings": 1024,
    "pad_token_id": SPECIAL.index("<pad>"),
    "bos_token_id": SPECIAL.index("<|im_start|>"),
    "eos_token_id": SPECIAL.index("<|im_end|>"),
}


def tiny_backbone(family: Family = "llava", *, seed: int = 0) -> Backbone:
    """A random model of 2 layers and hidden size 64 that reads bytes, with its family's own processor.

    Args:
        family: `llama` takes text only, the others also pictures.
        seed: another seed is another model.
    """
    with _seeded(seed):
        model, processor = _BUILDERS[family]()
    return Backbone(model, processor, name=f"tiny-{family}-{seed}")


def tiny_encoder(backbone: Backbone, *, seed: int = 0) -> MemoryEncoder:
    """A memory encoder whose LoRA and Q-Former are random, so that every weight matters."""
    with _seeded(seed), torch.no_grad():
        encoder = MemoryEncoder.create(backbone, num_attention_heads=4, max_length=512)
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
            elif name.startswith("qformer"):
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return encoder


def tiny_memory(persist_directory: Path | None = None, *, family: Family = "llava") -> ContinuousMemory:
    """A memory with a tiny encoder and `tiny_key`, in a directory or without one."""
    encoder, key = tiny_encoder(tiny_backbone(family)), tiny_key()
    identity = identity_of(encoder, key)
    if persist_directory is None:
        return ContinuousMemory(encoder, key, ChromaStore.in_memory(identity=identity))
    store = ChromaStore.embedded(persist_directory, identity=identity)
    return ContinuousMemory(encoder, key, store, picture_directory=persist_directory / "pictures")


def tiny_picture(seed: int = 0, *, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture of 8 x 8 random colours, `size` pixels (width, height) large."""
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)


class LetterEmbedder:
    """Texts by the counts of their letter pairs, so that similar spelling is close."""

    name = "letters"
    dimension = 128

    def embed(self, inputs: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(inputs), self.dimension), np.float32)
        for row, text in enumerate(inputs):
            lowered = text.lower()
            for a, b in zip(lowered, lowered[1:] + " ", strict=True):
                vectors[row, (ord(a) * 31 + ord(b)) % self.dimension] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


class ColourEmbedder:
    """Pictures by their colours on a coarse grid."""

    name = "colours"
    dimension = 48

    def embed(self, inputs: Sequence[Image.Image]) -> np.ndarray:
        grids = [np.asarray(image.convert("RGB").resize((4, 4)), np.float32).ravel() - 127.5 for image in inputs]
        vectors = np.stack(grids) if grids else np.zeros((0, self.dimension), np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def tiny_key() -> RetrievalKey:
    """A retrieval key of both embedders."""
    return RetrievalKey(LetterEmbedder(), ColourEmbedder())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws from `seed`, and leaves the caller's own random numbers as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _tokenizer(image_marker: str) -> PreTrainedTokenizerFast:
    """Bytes and the special tokens, nothing learned."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        extra_special_tokens={"image_token": "<image>"} if image_marker == "<image>" else VISION_TOKENS,
        chat_template=_CHATML.replace("IMAGE", image_marker),
        padding_side="left",
    )


def _llama() -> tuple[PreTrainedModel, Any]:
    return LlamaForCausalLM(LlamaConfig(**_TEXT)), _tokenizer("")


def _llava() -> tuple[PreTrainedModel, Any]:
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    ids: dict[str, Any] = {"image_token_id": SPECIAL.index("<image>")}
    config = LlavaConfig(text_config={"model_type": "llama", **_TEXT}, vision_config=vision, **ids)
    tokenizer = _tokenizer("<image>")
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"height": 56, "width": 56}, do_center_crop=False),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return LlavaForConditionalGeneration(config), processor


_QWEN_IDS: dict[str, Any] = {
    "vision_start_token_id": SPECIAL.index("<|vision_start|>"),
    "vision_end_token_id": SPECIAL.index("<|vision_end|>"),
    "image_token_id": SPECIAL.index("<|image_pad|>"),
    "video_token_id": SPECIAL.index("<|video_pad|>"),
}
_QWEN_TEXT = _TEXT | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}}


def _qwen_processor(processor_class: type) -> Any:
    tokenizer = _tokenizer("<|vision_start|><|image_pad|><|vision_end|>")
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112})
    return without_videos(processor_class)(images, tokenizer, chat_template=tokenizer.chat_template)


def _qwen2_vl() -> tuple[PreTrainedModel, Any]:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": HIDDEN_SIZE, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(text_config=_QWEN_TEXT, vision_config=vision, **_QWEN_IDS)
    return Qwen2VLForConditionalGeneration(config), _qwen_processor(Qwen2VLProcessor)


def _qwen2_5_vl() -> tuple[PreTrainedModel, Any]:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
        "out_hidden_size": HIDDEN_SIZE,
    }
    config = Qwen2_5_VLConfig(text_config=_QWEN_TEXT, vision_config=vision, **_QWEN_IDS)
    return Qwen2_5_VLForConditionalGeneration(config), _qwen_processor(Qwen2_5_VLProcessor)


_BUILDERS = {"llama": _llama, "llava": _llava, "qwen2_vl": _qwen2_vl, "qwen2_5_vl": _qwen2_5_vl}
