"""Tiny random models of every family, each with its own processor, made without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    Gemma3TextConfig,
    GlmAsrConfig,
    GlmAsrForConditionalGeneration,
    GlmAsrProcessor,
    GotOcr2ImageProcessorPil,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    WhisperFeatureExtractor,
)

from comem_memory.model import Backbone, without_videos

Family = Literal[
    "llama",
    "llava",
    "qwen2",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "llava_onevision",
    "idefics3",
    "gemma3_text",
    "gemma3",
    "internvl",
    "qwen2_audio",
    "glmasr",
]
FAMILIES: tuple[Family, ...] = get_args(Family)
HEARING: tuple[Family, ...] = ("qwen2_audio", "glmasr")
"""Families that take audio."""
HIDDEN_SIZE = 64


def tiny_backbone(family: Family = "llava", *, seed: int = 0) -> Backbone:
    """A random model of 2 layers and hidden size 64 that reads bytes, with its family's own processor.

    Args:
        family: `llama`, `qwen2` and `gemma3_text` take text only, those of `HEARING` also audio, the others pictures.
        seed: Another seed is another model.
    """
    with seeded(seed):
        model, processor = _BUILDERS[family]()
    return Backbone(model, processor, name=f"tiny-{family}-{seed}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws from `seed`, and leaves the caller's own random numbers as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class Vocabulary:
    """Special tokens, then the 256 bytes; nothing learned."""

    special: list[str]
    bos: str
    eos: str

    def id(self, token: str) -> int:
        return self.special.index(token)

    @property
    def text_config(self) -> dict[str, Any]:
        """Sizes of a language model with this vocabulary."""
        return {
            "hidden_size": HIDDEN_SIZE,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 256 + len(self.special),
            "max_position_embeddings": 1024,
            "pad_token_id": self.id("<pad>"),
            "bos_token_id": self.id(self.bos),
            "eos_token_id": self.id(self.eos),
        }

    def tokenizer(self, template: str, named: dict[str, str] | list[str]) -> PreTrainedTokenizerFast:
        """A tokenizer with a chat template.

        Args:
            template: In Jinja, as transformers renders it.
            named: Tokens that count as special besides the usual ones, by attribute if the processor asks for it.
        """
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*self.special, *alphabet])}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            bos_token=self.bos,
            eos_token=self.eos,
            extra_special_tokens=named,
            chat_template=template,
            padding_side="left",
        )


# -- ChatML: Llama, LLaVA, Qwen ------------------------------------------------------------------------------------

VISION_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<image>", *VISION_TOKENS]
CHATML = Vocabulary(SPECIAL, bos="<|im_start|>", eos="<|im_end|>")


def chatml(picture: str, clip: str = "") -> str:
    """The ChatML template of models that write these in the place of a picture and a clip."""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}"
        f"{{{{ '{picture}' if part['type'] == 'image' else '{clip}' if part['type'] == 'video' else part['text'] }}}}"
        "{% endfor %}{% endif %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
_SIGLIP = _VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}


def _llama() -> tuple[PreTrainedModel, Any]:
    return LlamaForCausalLM(LlamaConfig(**CHATML.text_config)), CHATML.tokenizer(chatml(""), VISION_TOKENS)


def _llava() -> tuple[PreTrainedModel, Any]:
    vision = _VISION | {"model_type": "clip_vision_model"}
    ids: dict[str, Any] = {"image_token_id": CHATML.id("<image>")}
    config = LlavaConfig(text_config={"model_type": "llama", **CHATML.text_config}, vision_config=vision, **ids)
    tokenizer = CHATML.tokenizer(chatml("<image>"), {"image_token": "<image>"})
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
    "vision_start_token_id": CHATML.id("<|vision_start|>"),
    "vision_end_token_id": CHATML.id("<|vision_end|>"),
    "image_token_id": CHATML.id("<|image_pad|>"),
    "video_token_id": CHATML.id("<|video_pad|>"),
}
_QWEN_TEXT = CHATML.text_config | {
    "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}
}


def _qwen_processor(processor_class: type, patch_size: int = 14) -> Any:
    picture, clip = (f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video"))
    tokenizer = CHATML.tokenizer(chatml(picture, clip), VISION_TOKENS)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112}, patch_size=patch_size)
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


def _qwen3_vl() -> tuple[PreTrainedModel, Any]:
    text = CHATML.text_config | {
        "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True},
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
        "out_hidden_size": HIDDEN_SIZE,
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **_QWEN_IDS)
    return Qwen3VLForConditionalGeneration(config), _qwen_processor(Qwen3VLProcessor, patch_size=16)


def _qwen2() -> tuple[PreTrainedModel, Any]:
    return Qwen2ForCausalLM(Qwen2Config(**CHATML.text_config)), CHATML.tokenizer(chatml(""), VISION_TOKENS)


# -- LLaVA-OneVision -----------------------------------------------------------------------------------------------

ONEVISION = Vocabulary([*SPECIAL, "<video>"], bos="<|im_start|>", eos="<|im_end|>")
_ONEVISION_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + part['text'] }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""As in llava-hf/llava-onevision-qwen2-7b-ov-hf: pictures first, and no line break after a turn."""


def _llava_onevision() -> tuple[PreTrainedModel, Any]:
    pinpoints = [[56, 56], [56, 112], [112, 56]]
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **ONEVISION.text_config},
        vision_config=_SIGLIP,
        image_grid_pinpoints=pinpoints,
        image_token_index=ONEVISION.id("<image>"),
        video_token_index=ONEVISION.id("<video>"),
    )
    tokenizer = ONEVISION.tokenizer(_ONEVISION_TEMPLATE, {"image_token": "<image>", "video_token": "<video>"})
    processor = without_videos(LlavaOnevisionProcessor)(
        LlavaOnevisionImageProcessorPil(size={"height": 56, "width": 56}, image_grid_pinpoints=pinpoints),
        tokenizer,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


# -- Idefics3 ------------------------------------------------------------------------------------------------------

_IDEFICS_MARKS = [
    "<end_of_utterance>",
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
]
IDEFICS = Vocabulary(
    ["<pad>", "<|begin_of_text|>", "<|end_of_text|>", *_IDEFICS_MARKS], bos="<|begin_of_text|>", eos="<|end_of_text|>"
)
_IDEFICS_TEMPLATE = (
    "<|begin_of_text|>{% for message in messages %}{{ message['role'].capitalize() }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""As in HuggingFaceM4/Idefics3-8B-Llama3, and SmolVLM but for the first token."""


def _idefics3() -> tuple[PreTrainedModel, Any]:
    ids: dict[str, Any] = {"image_token_id": IDEFICS.id("<image>"), "pad_token_id": IDEFICS.id("<pad>")}
    config = Idefics3Config(
        text_config={"model_type": "llama", **IDEFICS.text_config},
        vision_config={**_VISION},
        **ids,
    )
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = [IDEFICS.id("<|end_of_text|>"), IDEFICS.id("<end_of_utterance>")]
    tokenizer = IDEFICS.tokenizer(_IDEFICS_TEMPLATE, _IDEFICS_MARKS)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    return model, Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template)


# -- Gemma 3 -------------------------------------------------------------------------------------------------------

_GEMMA_MARKS = {
    "turn_start_token": "<start_of_turn>",
    "turn_end_token": "<end_of_turn>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
GEMMA = Vocabulary(["<pad>", "<eos>", "<bos>", *_GEMMA_MARKS.values()], bos="<bos>", eos="<eos>")
_GEMMA_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% if messages[0]['content'] is string %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% else %}{% set first = messages[0]['content'][0]['text'] + '\n\n' %}{% endif %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}"
    "{{ first if loop.first else '' }}{% if message['content'] is string %}{{ message['content'] | trim }}"
    "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
"""As in google/gemma-3-4b-it: the system turn opens the first user turn, texts are trimmed, roles alternate."""
_GEMMA_TEXT = GEMMA.text_config | {
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 16,  # shorter than the tests' prompts
    "layer_types": ["sliding_attention", "full_attention"],
}


def _stops_at_turns(model: PreTrainedModel) -> PreTrainedModel:
    model.generation_config.eos_token_id = [GEMMA.id("<eos>"), GEMMA.id("<end_of_turn>")]
    model.generation_config.cache_implementation = "hybrid"
    return model


def _gemma3_text() -> tuple[PreTrainedModel, Any]:
    model = Gemma3ForCausalLM(Gemma3TextConfig(**_GEMMA_TEXT))
    return _stops_at_turns(model), GEMMA.tokenizer(_GEMMA_TEMPLATE, _GEMMA_MARKS)


def _gemma3() -> tuple[PreTrainedModel, Any]:
    config = Gemma3Config(
        text_config=_GEMMA_TEXT,
        vision_config=_SIGLIP,
        mm_tokens_per_image=4,
        boi_token_index=GEMMA.id("<start_of_image>"),
        eoi_token_index=GEMMA.id("<end_of_image>"),
        image_token_index=GEMMA.id("<image_soft_token>"),
    )
    tokenizer = GEMMA.tokenizer(_GEMMA_TEMPLATE, _GEMMA_MARKS)
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 56, "width": 56}),
        tokenizer,
        image_seq_length=4,
        chat_template=tokenizer.chat_template,
    )
    model = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # zeros: it would be blind
    return _stops_at_turns(model), processor


# -- InternVL ------------------------------------------------------------------------------------------------------

_INTERN_MARKS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
INTERN = Vocabulary(
    ["<pad>", "<|im_start|>", "<|im_end|>", *_INTERN_MARKS.values()], bos="<|im_start|>", eos="<|im_end|>"
)


def _internvl() -> tuple[PreTrainedModel, Any]:
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **INTERN.text_config},
        vision_config={**_VISION},
        image_token_id=INTERN.id("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    tokenizer = INTERN.tokenizer(chatml("<IMG_CONTEXT>\\n"), _INTERN_MARKS)
    processor = without_videos(InternVLProcessor)(
        GotOcr2ImageProcessorPil(size={"height": 56, "width": 56}, max_patches=2),
        tokenizer,
        image_seq_length=4,
        chat_template=tokenizer.chat_template,
    )
    return InternVLForConditionalGeneration(config), processor


# -- Models that hear: Qwen2-Audio, GLM-ASR ------------------------------------------------------------------------

SECONDS = 2
"""What the tiny models hear at once."""
_MELS = {"num_mel_bins": 8}


def _ears() -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=8, chunk_length=SECONDS, return_attention_mask=True)


_AUDIO_TOKENS = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
QWEN_AUDIO = Vocabulary(["<pad>", "<|im_start|>", "<|im_end|>", *_AUDIO_TOKENS], bos="<|im_start|>", eos="<|im_end|>")


def _qwen2_audio() -> tuple[PreTrainedModel, Any]:
    audio = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 32}
    ids: dict[str, Any] = {"audio_token_id": QWEN_AUDIO.id("<|AUDIO|>")}
    config = Qwen2AudioConfig(
        audio_config=_MELS | audio | {"max_source_positions": 50 * SECONDS},
        text_config={"model_type": "qwen2", **QWEN_AUDIO.text_config},
        **ids,
    )
    tokenizer = QWEN_AUDIO.tokenizer("", _AUDIO_TOKENS)  # its processor brings a template
    return Qwen2AudioForConditionalGeneration(config), Qwen2AudioProcessor(_ears(), tokenizer)


_GLM_MARKS = ["<|system|>", "<|user|>", "<|assistant|>", "<|begin_of_audio|>", "<|pad|>", "<|end_of_audio|>"]
GLM_ASR = Vocabulary(["<pad>", "<|endoftext|>", *_GLM_MARKS], bos="<|endoftext|>", eos="<|endoftext|>")
_GLM_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}{{ '<|begin_of_audio|><|pad|><|end_of_audio|><|user|>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""As in zai-org/GLM-ASR-Nano-2512: behind a recording the user's turn begins again, and no turn has an end."""


def _glmasr() -> tuple[PreTrainedModel, Any]:
    audio = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 128}
    config = GlmAsrConfig(
        audio_config=_MELS | audio | {"max_position_embeddings": 50 * SECONDS},
        text_config={"model_type": "llama", **GLM_ASR.text_config},
        audio_token_id=GLM_ASR.id("<|pad|>"),
    )
    tokenizer = GLM_ASR.tokenizer(_GLM_TEMPLATE, _GLM_MARKS)
    processor = GlmAsrProcessor(_ears(), tokenizer, chat_template=tokenizer.chat_template, max_audio_len=2 * SECONDS)
    return GlmAsrForConditionalGeneration(config), processor


_BUILDERS = {
    "llama": _llama,
    "llava": _llava,
    "qwen2": _qwen2,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "llava_onevision": _llava_onevision,
    "idefics3": _idefics3,
    "gemma3_text": _gemma3_text,
    "gemma3": _gemma3,
    "internvl": _internvl,
    "qwen2_audio": _qwen2_audio,
    "glmasr": _glmasr,
}
