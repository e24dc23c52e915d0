"""The authors' checkpoint layout, and the base model that a checkpoint belongs to.

As `save_pretrained` of transformers 4.49 writes their dual model: the encoder's merged weights under the stock names
(`model.*`, `visual.*`, `lm_head.weight`), the answering model's under `model_inf.` and the Q-Former's under
`knowledge_processor.`. Published Qwen models have the same stock names, which transformers 5 maps while loading.
A checkpoint of a language model is taken to be the same without `visual.*`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedModel

from comem_memory.config import LoraSettings, QFormerConfig
from comem_memory.convert.weights import INDEX_FILE, WeightFiles, local_path
from comem_memory.encoder.memory_encoder import MemoryEncoder, Weights, encoder_config, linear_names
from comem_memory.encoder.qformer import QFormer
from comem_memory.errors import CheckpointError
from comem_memory.model.backbone import Backbone
from comem_memory.model.fingerprint import weights_fingerprint
from comem_memory.model.loading import auto_class

FROZEN, QFORMER = "model_inf.", "knowledge_processor."
ARCHITECTURE_SUFFIX = "_new"
"""The authors' classes are called like the stock ones with this behind."""
MODEL_TYPES = ("qwen2", "qwen2_vl", "qwen2_5_vl")
"""The families that the authors' code knows; qwen2 is Qwen2 and Qwen2.5 without pictures."""


def to_authors(parameter: str) -> str:
    """A parameter's name in transformers 5 to that of 4.49, which the authors' and published checkpoints use."""
    return parameter.replace("model.language_model.", "model.", 1).replace("model.visual.", "visual.", 1)


def to_authors_qformer(parameter: str) -> str:
    """A parameter's name in our Q-Former to its name in the authors' checkpoints."""
    return QFORMER + ("latents" if parameter == "query_tokens" else parameter)


class BaseModel:
    """A published base model: its shape, without memory for its weights, and its files.

    Args:
        name_or_path: a hub name or a folder.

    Raises:
        CheckpointError: there is no such model, it is of another family than the authors', or its files do not hold
            its weights.
    """

    def __init__(self, name_or_path: str | Path) -> None:
        self.folder = local_path(name_or_path)
        self.name = str(name_or_path)
        self.revision = None if Path(name_or_path).exists() else self.folder.name  # a snapshot is named by its commit
        try:
            config = AutoConfig.from_pretrained(self.folder)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.name} is no model: {error} Pass the base model's folder or hub name."
            ) from error
        if config.model_type not in MODEL_TYPES:
            raise CheckpointError(
                f"{self.name} is a {config.model_type}, but the authors' checkpoints are of "
                f"{', '.join(MODEL_TYPES)}. Pass the base model that the checkpoint was trained from."
            )
        with torch.device("meta"):
            self.model: PreTrainedModel = auto_class(config).from_config(config)
        self.shapes = {to_authors(name): tuple(weight.shape) for name, weight in self.model.named_parameters()}
        """Of every weight by its stored name, in the model's order; a tied output head is not among them."""
        self.linears = {f"{to_authors(name)}.weight": name for name in linear_names(self.model)}
        """Modules that carry the LoRA, by the stored name of their weight."""
        self.files = WeightFiles(self.folder)
        _check_tensors(
            self.files,
            self.shapes,
            {"lm_head.weight"} - self.shapes.keys(),
            "Pass the complete base model, as published or as save_pretrained writes it.",
        )

    def fingerprint(self, files: WeightFiles, prefix: str = "") -> str:
        """`Backbone.fingerprint` of this model with the weights of `files`."""
        return weights_fingerprint(files.read(prefix + name) for name in self.shapes)

    def encoder(self, name: str, fingerprint: str, qformer: QFormerConfig, lora: LoraSettings) -> MemoryEncoder:
        """A memory encoder on this model in name and shape only: it knows the adapter's weights and files.

        Args:
            name: of the frozen model.
            fingerprint: of its weights.
            qformer, lora: shape of the adapter.
        """
        revision = self.revision if name == self.name else None
        backbone = Backbone(self.model, None, name=name, revision=revision)
        config = encoder_config(backbone, fingerprint, qformer, lora)
        with torch.device("meta"):
            return MemoryEncoder(backbone, config)

    def copy_processor(self, folder: Path) -> None:
        """Copies tokenizer, image processor and generation settings: all but weights and `config.json`."""
        for file in self.folder.iterdir():
            if file.suffix in (".json", ".txt", ".jinja") and file.name not in ("config.json", INDEX_FILE):
                shutil.copyfile(file, folder / file.name)

    def write_authors_config(self, folder: Path) -> None:
        """`config.json` as it is here, naming the authors' class."""
        config = json.loads((self.folder / "config.json").read_bytes())
        config["architectures"] = [type(self.model).__name__ + ARCHITECTURE_SUFFIX]
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def qformer_config(files: WeightFiles, base: BaseModel, num_attention_heads: int) -> QFormerConfig:
    """The Q-Former's shape; its heads cannot be read off the weights, and its depth is the authors' for every model.

    Raises:
        CheckpointError: the checkpoint has no Q-Former, or it is not that many heads wide.
    """
    latents = files.tensors.get(to_authors_qformer("query_tokens"))
    if latents is None or len(latents.shape) != 3:
        raise CheckpointError(
            f"{files.path} holds no Q-Former ({QFORMER}latents of 3 axes). "
            "Pass a checkpoint of the authors' dual model, not a merged stock model."
        )
    _, queries, width = latents.shape
    if num_attention_heads < 1 or width % num_attention_heads:
        raise CheckpointError(
            f"The Q-Former's width {width} is not a multiple of {num_attention_heads} heads. "
            "Pass the number of heads it was trained with (the authors: 16)."
        )
    hidden_size = base.shapes["model.embed_tokens.weight"][1]
    return QFormerConfig(hidden_size=hidden_size, num_attention_heads=num_attention_heads, num_query_tokens=queries)


def check_checkpoint(files: WeightFiles, base: BaseModel, qformer: QFormerConfig) -> None:
    """Compares names and shapes with what a checkpoint of this base model holds.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of another shape; the message names the first.
    """
    with torch.device("meta"):
        shapes = {to_authors_qformer(name): tuple(w.shape) for name, w in QFormer(qformer).state_dict().items()}
    shapes |= base.shapes | {FROZEN + name: shape for name, shape in base.shapes.items()}
    _check_tensors(
        files,
        shapes,
        {"lm_head.weight", FROZEN + "lm_head.weight"} - shapes.keys(),
        f"Pass a complete checkpoint of the authors' layout (model.*, visual.* if it sees, the same under {FROZEN}*, "
        f"and {QFORMER}*), and the base model that it was trained from.",
    )


def _check_tensors(files: WeightFiles, shapes: dict[str, tuple[int, ...]], optional: set[str], remedy: str) -> None:
    """Raises CheckpointError unless the files hold exactly these tensors, and the optional ones or not."""
    found = files.tensors.keys() - optional
    misshapen = {name for name in shapes.keys() & found if files.tensors[name].shape != shapes[name]}
    for problem, names in (
        ("lacks", shapes.keys() - found),
        ("has unexpected", found - shapes.keys()),
        ("has a wrong shape for", misshapen),
    ):
        if names:
            raise CheckpointError(f"{files.path} {problem} {len(names)} tensors, first {min(names)!r}. {remedy}")


def read_qformer(files: WeightFiles, qformer: QFormerConfig) -> Weights:
    """The Q-Former's weights under our names, in the checkpoint's dtype."""
    with torch.device("meta"):
        names = list(QFormer(qformer).state_dict())
    return {name: files.read(to_authors_qformer(name)) for name in names}
