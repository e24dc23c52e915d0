"""Training the reader prompts alone: how the frozen model is to use what stands before a question.

A few thousand parameters, and nothing else changes: stored vectors stay as they are. What stands behind the prompt
takes turns, so that it serves every mode: the encoder's vectors, the text, and both. Behind the second prompt items are
restated from their vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from comem_memory.config import Mode
from comem_memory.encoder import CONFIG_FILE, MemoryEncoder
from comem_memory.model import DEFAULT_TEXT_PROMPTS
from comem_memory.training.batches import Batch, TrainingQuestion
from comem_memory.training.memory_trainer import MemoryTrainer
from comem_memory.training.trainer import save_once, training_arguments

DEVELOPMENT_BATCHES = 2
"""At most so many are looked at, in every way in which an item is given."""


def train_reader_prompts(
    encoder: MemoryEncoder,
    output_dir: Path,
    train: Sequence[Batch],
    development: Sequence[Batch],
    *,
    learning_rate: float,
    batches_a_step: int = 1,
) -> None:
    """Trains the reader prompts of an encoder; finished, `output_dir` is an adapter folder, else it resumes.

    Args:
        encoder: An encoder with reader prompts, otherwise trained.
        output_dir: Folder of checkpoints, and of the adapter.
        train: Batches to train on.
        development: Batches to develop with.
        learning_rate: Learning rate.
        batches_a_step: Batches of each optimizer step.
    """
    if (output_dir / CONFIG_FILE).is_file():
        encoder.load_weights(output_dir)
        return
    arguments = training_arguments(
        output_dir,
        steps=len(train) // batches_a_step,
        learning_rate=learning_rate,
        batches_a_step=batches_a_step,
        logging_steps=5,
        save_steps=20,
        eval_steps=20,
    )
    few = [development[i] for i in range(min(DEVELOPMENT_BATCHES, len(development)))]
    trainer = ReaderPromptTrainer(encoder, arguments, train, few)
    trainer.train(resume_from_checkpoint=trainer.last_checkpoint())
    save_once(encoder, output_dir)


@torch.no_grad()
def start_from_memories(encoder: MemoryEncoder, texts: Sequence[str]) -> None:
    """Sets the reader prompts to the mean of what the Q-Former makes of some texts: what these vectors have in common.

    Args:
        encoder: An encoder with reader prompts.
        texts: Texts that items are typically like.
    """
    made = [encoder(encoder.backbone.batch([encoder.inputs(text, truncate=True).tensors])) for text in texts]
    mean = torch.cat(made).mean(0)  # (Q, H)
    for prompt in encoder.reader_prompts:
        prompt.copy_(nn.functional.interpolate(mean.T[None], size=len(prompt), mode="linear")[0].T)


class ReaderPromptTrainer(MemoryTrainer):
    """Trains the reader prompts of an encoder, whose LoRA and Q-Former stay as they are.

    The log shows the loss by what stands behind the prompt.
    """

    DOING = "training the reader prompts"

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        return torch.stack(list(self._losses(inputs).values())).mean()

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        with torch.no_grad():
            found = [self._losses(batch) for batch in self.development]
        means = {
            given: torch.stack([losses[given] for losses in found if given in losses]).mean().item()
            for given in sorted({given for losses in found for given in losses})
        }
        losses = {f"{metric_key_prefix}_{given}_loss": mean for given, mean in means.items()}
        return self._evaluated({f"{metric_key_prefix}_loss": sum(means.values()) / len(means)} | losses)

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        rate, decay = self.args.learning_rate, self.args.weight_decay
        self.optimizer = torch.optim.AdamW(self.encoder.reader_prompts, lr=rate, weight_decay=decay)
        return self.optimizer

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The mean loss of the answers' tokens, by what stands behind the prompt."""
        with torch.no_grad(), self._autocast():
            memories, _ = self._encode(batch)
        turns: list[list[TrainingQuestion]] = [batch["asked"][turn::3] for turn in range(3)]

        def texts(asked: list[TrainingQuestion], mode: Mode) -> list[Any]:
            return self._contents(asked, batch["items"], DEFAULT_TEXT_PROMPTS[mode])

        prompt, restate = self.encoder.reader_prompt, self.encoder.restate_prompt
        given: dict[str, tuple[Any, ...]] = {
            "memory": (turns[0], prompt, memories),
            "text": (turns[1], prompt, None, texts(turns[1], "text")),
            "both": (turns[2], prompt, memories, texts(turns[2], "both")),
            "restated": (batch["restated"], restate, memories),
        }
        with self._autocast():
            return {name: self._loss(*parts) for name, parts in given.items() if parts[0]}
