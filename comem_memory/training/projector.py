"""Training the embedded model's projector between picture and text."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import TrainingArguments

from comem_memory import mini
from comem_memory.files import load_image
from comem_memory.files.tensors import write_tensors
from comem_memory.model import Backbone, ModelInputs, torch_defaults
from comem_memory.synthesis.emoji import SPLIT_SEED, Picture, split_emoji
from comem_memory.training.hardware import bfloat16_is_fast
from comem_memory.training.trainer import BatchTrainer, Dataset, training_arguments


@torch_defaults()
def train_projector(output_dir: Path, *, steps: int, batch: int = 32) -> None:
    """Trains the embedded model's projector to name emoji, into `projector.safetensors`; run it again to resume."""
    torch.manual_seed(1)  # the projector's random start
    model, processor = mini.assemble()
    backbone = Backbone(model, processor, name=mini.NAME)
    model.set_attn_implementation("eager")
    if bfloat16_is_fast():
        model.model.language_model.to(torch.bfloat16)
        model.lm_head.to(torch.bfloat16)
    rng, order = random.Random(SPLIT_SEED), list[Picture]()
    shown, unseen = split_emoji(rng)
    while len(order) < steps * batch:
        epoch = shown[:]
        rng.shuffle(epoch)
        order += epoch
    trainer = ProjectorTrainer(
        backbone,
        training_arguments(output_dir, steps=steps, learning_rate=1e-3, warmup_steps=20, save_steps=75, eval_steps=75),
        [order[i * batch : (i + 1) * batch] for i in range(steps)],
        [unseen[i : i + batch] for i in range(0, len(unseen), batch)],
    )
    trainer.train(resume_from_checkpoint=trainer.last_checkpoint())
    trainer.save_model()


class ProjectorTrainer(BatchTrainer):
    """Teaches the embedded model's projector to name pictures; language model and vision tower stay frozen.

    Args:
        backbone: The assembled model.
        args: See `training_arguments`.
        train_dataset: Batches to train on, each a list of `Picture`.
        eval_dataset: Batches to develop with, each a list of `Picture`.
    """

    FILE = "projector.safetensors"
    QUESTION = "What does the picture show?"

    def __init__(
        self, backbone: Backbone, args: TrainingArguments, train_dataset: Dataset, eval_dataset: Dataset
    ) -> None:
        self.projector = backbone.model.model.multi_modal_projector.requires_grad_(True)
        super().__init__(backbone, backbone.model, args, train_dataset, eval_dataset)

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        prompts: list[ModelInputs] = []
        for picture in inputs:
            parts = [{"type": "image", "image": load_image(picture.path)}, {"type": "text", "text": self.QUESTION}]
            prompts.append(
                self.backbone.prompts.prompt_inputs([{"role": "user", "content": parts}], answer=picture.name)
            )
        with self._autocast():
            return self.backbone.answer_loss(prompts, [len(self.backbone.prompts.answer_ids(p.name)) for p in inputs])

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        weights = {n: w.detach().to(torch.bfloat16) for n, w in self.projector.state_dict().items()}
        write_tensors(Path(output_dir or str(self.args.output_dir)) / self.FILE, weights)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        weights = load_file(Path(resume_from_checkpoint) / self.FILE)
        self.projector.load_state_dict({n: w.float() for n, w in weights.items()})
