"""The authors' checkpoint layout, and the base model that a checkpoint belongs to.

As `save_pretrained` of transformers 4.49 writes their dual model: the encoder's merged weights under the stock names
(`model.*`, `visual.*`, `lm_head.weight`), the answering model's under `model_inf.` and the Q-Former's under
`knowledge_processor.`. Published Qwen models have the same stock names, which transformers 5 maps while loading.
A checkpoint of a language model is taken to be the same without `visual.*`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedModel

from comem_memory.config import Layout, LoraSettings, QFormerConfig
from comem_memory.convert.weights import INDEX_FILE, WeightFiles, local_path
from comem_memory.encoder import MemoryEncoder, QFormer, Weights, encoder_config, linear_names
from comem_memory.errors import CheckpointError
from comem_memory.model import Backbone, auto_class, weights_fingerprint

FROZEN, QFORMER, HEAD = "model_inf.", "knowledge_processor.", "lm_head.weight"
ARCHITECTURE_SUFFIX = "_new"
"""The names of the authors' classes are those of the stock classes with this at the end."""
AGENTS = {
    "WenyiWU0111/lora_qformer_test_V4-700_merged": "Qwen/Qwen2.5-VL-7B-Instruct",
    "WenyiWU0111/lora_qformer_uitars_test_V1-400_merged": "ByteDance-Seed/UI-TARS-1.5-7B",
}
"""The released checkpoints of the authors' agents (arXiv 2510.09038), which read trajectories, with the base models of
their encoders, as their README and `llm_config.py` name them: the files have class and tensors of the others."""
TRAJECTORY_LENGTH = 16384
"""Longest trajectory in tokens: the agents' longest, of 9 screenshots of 1280x720 pixels, take some 12,000."""
MODEL_TYPES = ("qwen2", "qwen2_vl", "qwen2_5_vl")
"""The model families that the authors' code knows; `qwen2` is Qwen2 and Qwen2.5 without pictures."""


def to_authors(parameter: str) -> str:
    """The name that a parameter of transformers 5 has in 4.49, and so in the authors' and published checkpoints."""
    return parameter.replace("model.language_model.", "model.", 1).replace("model.visual.", "visual.", 1)


def answering(parameter: str) -> str:
    """Where a checkpoint holds a weight of the model that answers, by the stored name of that weight.

    Of `model_inf` the authors' code runs the layers and the last norm. Question and picture are embedded, and the next
    token is told, by the encoder's own embeddings, vision tower and head (`forward` of their inference classes).
    """
    return FROZEN + parameter if parameter.startswith(("model.layers.", "model.norm.")) else parameter


def to_authors_qformer(parameter: str) -> str:
    """The name that a parameter of our Q-Former has in the authors' checkpoints."""
    return QFORMER + ("latents" if parameter == "query_tokens" else parameter)


class BaseModel:
    """A published base model: its files, and its modules without weights.

    Args:
        name_or_path: A hub name or a folder.

    Raises:
        CheckpointError: There is no such model, it is of another family than the authors', or weights are missing in
            its files, unexpected or of another shape.
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
        """The shape of every weight by its stored name, in the model's order; a tied output head is not among them."""
        self.linears = {f"{to_authors(name)}.weight": name for name in linear_names(self.model)}
        """The modules that get a LoRA, by the stored name of their weight."""
        self.files = WeightFiles(self.folder)
        _check_tensors(
            self.files,
            self.shapes,
            {"lm_head.weight"} - self.shapes.keys(),
            "Pass the complete base model, as published or as save_pretrained writes it.",
        )

    def fingerprint(self, files: WeightFiles, stored: Callable[[str], str] = str) -> str:
        """The `Backbone.fingerprint` of this model with other weights.

        Args:
            files: The files that hold the weights.
            stored: Gives the name that a weight has in these files.
        """
        return weights_fingerprint(files.read(stored(name)) for name in self.shapes)

    def encoder(
        self,
        name: str,
        fingerprint: str,
        qformer: QFormerConfig,
        lora: LoraSettings,
        layout: Layout = "knowledge",
    ) -> MemoryEncoder:
        """A memory encoder without weights on this model: it tells the names and shapes of an adapter's weights.

        Args:
            name: The name of the frozen model, which is this one or has other weights.
            fingerprint: The fingerprint of the frozen model's weights.
            qformer: The shape of the Q-Former.
            lora: The settings of the LoRA.
            layout: How the encoder reads items.
        """
        revision = self.revision if name == self.name else None
        backbone = Backbone(self.model, None, name=name, revision=revision)
        if layout == "trajectory":  # as the agents' inference code answers: vectors and texts, the best item first
            made = encoder_config(backbone, fingerprint, qformer, lora, TRAJECTORY_LENGTH, recommended_mode="both")
            config = made.model_copy(update={"layout": layout, "order": "best_first"})
        else:
            config = encoder_config(backbone, fingerprint, qformer, lora, recommended_mode="memory")
        with torch.device("meta"):
            return MemoryEncoder(backbone, config)

    def copy_processor(self, folder: Path) -> None:
        """Copies the tokenizer, the image processor and the generation settings into a folder."""
        for file in self.folder.iterdir():
            if file.suffix in (".json", ".txt", ".jinja") and file.name not in ("config.json", INDEX_FILE):
                shutil.copyfile(file, folder / file.name)

    def write_authors_config(self, folder: Path) -> None:
        """Writes the model's own `config.json` into a folder, with the name of the authors' class in it."""
        config = json.loads((self.folder / "config.json").read_bytes())
        config["architectures"] = [type(self.model).__name__ + ARCHITECTURE_SUFFIX]
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def qformer_config(files: WeightFiles, base: BaseModel, num_attention_heads: int) -> QFormerConfig:
    """The shape of a checkpoint's Q-Former; its depth is taken to be the authors', which is the same for every model.

    Args:
        files: The checkpoint.
        base: Its base model.
        num_attention_heads: Heads of the Q-Former, which the weights do not tell.

    Raises:
        CheckpointError: The checkpoint has no Q-Former, or the Q-Former's width is not a multiple of its heads.
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
    """Compares the names and shapes of tensors with those that a checkpoint of a base model has.

    Args:
        files: The checkpoint.
        base: The base model.
        qformer: The shape of the checkpoint's Q-Former.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape; the message names the first.
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
    """Raises CheckpointError unless the files hold exactly these tensors; those in `optional` do not matter."""
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
    """The weights of a checkpoint's Q-Former under our names, in the checkpoint's dtype.

    Args:
        files: The checkpoint.
        qformer: The shape of its Q-Former.
    """
    with torch.device("meta"):
        names = list(QFormer(qformer).state_dict())
    return {name: files.read(to_authors_qformer(name)) for name in names}
