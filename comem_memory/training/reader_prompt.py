"""Training the reader prompts alone: how the frozen model is to use what stands before a question.

A few thousand parameters, and nothing else changes: stored vectors stay as they are. What stands behind the prompt
takes turns, so that it serves every mode: copies of the item's content tokens (`copies`), the encoder's own vectors,
the text, and vectors and text. Behind the second prompt items are restated, from their copies or own vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments

from comem_memory.config import Mode
from comem_memory.encoder import CONFIG_FILE, MemoryEncoder
from comem_memory.model import DEFAULT_TEXT_PROMPTS
from comem_memory.training.batches import Batch, TrainingQuestion
from comem_memory.training.copies import Copies
from comem_memory.training.memory_trainer import MemoryTrainer
from comem_memory.training.trainer import Dataset, training_arguments

DEVELOPMENT_BATCHES = 2
"""At most so many are looked at, in every way in which an item is given."""


def train_reader_prompts(
    encoder: MemoryEncoder,
    output_dir: Path,
    train: Sequence[Batch],
    development: Sequence[Batch],
    typical: Sequence[str],
    *,
    learning_rate: float,
) -> None:
    """Trains the reader prompts of an encoder; finished, `output_dir` is an adapter folder, else it resumes.

    Args:
        encoder: An encoder with reader prompts, otherwise trained.
        output_dir: Folder of checkpoints, and of the adapter.
        train: Batches to train on, one each optimizer step.
        development: Batches to develop with.
        typical: Texts that items are typically like, which tell how often a token occurs.
        learning_rate: Learning rate.
    """
    if (output_dir / CONFIG_FILE).is_file():
        encoder.load_weights(output_dir)
        return
    copies = Copies(encoder.backbone, typical, vectors=encoder.encoder_config.qformer.num_query_tokens)
    arguments = training_arguments(
        output_dir, steps=len(train), learning_rate=learning_rate, logging_steps=5, save_steps=20, eval_steps=20
    )
    few = [development[i] for i in range(min(DEVELOPMENT_BATCHES, len(development)))]
    trainer = ReaderPromptTrainer(encoder, copies, arguments, train, few)
    trainer.train(resume_from_checkpoint=trainer.last_checkpoint())
    encoder.save_pretrained(output_dir)


def start_from_memories(encoder: MemoryEncoder, texts: Sequence[str]) -> None:
    """Sets the reader prompts to the mean of the vectors of some texts: what all vectors have in common.

    Args:
        encoder: An encoder with reader prompts.
        texts: Texts that items are typically like.
    """
    mean = encoder.encode([encoder.inputs(text, truncate=True) for text in texts]).mean(0)  # (Q, H)
    for prompt in encoder.reader_prompts:
        prompt.data.copy_(nn.functional.interpolate(mean.T[None], size=len(prompt), mode="linear")[0].T)


class ReaderPromptTrainer(MemoryTrainer):
    """Trains the reader prompts of an encoder, whose LoRA and Q-Former stay as they are.

    The log shows the loss by what stands behind the prompt.

    Args:
        encoder: Whose prompts are trained.
        copies: Copies items' texts.
        args: See `training_arguments`.
        train_dataset: Batches to train on, each a `Batch`.
        eval_dataset: Batches to develop with, each a `Batch`.
    """

    def __init__(
        self,
        encoder: MemoryEncoder,
        copies: Copies,
        args: TrainingArguments,
        train_dataset: Dataset,
        eval_dataset: Dataset,
    ) -> None:
        super().__init__(encoder, args, train_dataset, eval_dataset)
        self.copies = copies

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
        copies = torch.stack([self.copies.copy(item.text) for item in batch["items"]])
        turns: list[list[TrainingQuestion]] = [batch["asked"][turn::4] for turn in range(4)]

        def texts(asked: list[TrainingQuestion], mode: Mode) -> list[Any]:
            return self._contents(asked, batch["items"], DEFAULT_TEXT_PROMPTS[mode])

        prompt, restate = self.encoder.reader_prompt, self.encoder.restate_prompt
        given: dict[str, tuple[Any, ...]] = {
            "copies": (turns[0], prompt, copies),
            "memory": (turns[1], prompt, memories),
            "text": (turns[2], prompt, None, texts(turns[2], "text")),
            "both": (turns[3], prompt, memories, texts(turns[3], "both")),
            "restated_copies": (batch["restated"][::2], restate, copies),
            "restated_memory": (batch["restated"][1::2], restate, memories),
        }
        with self._autocast():
            return {name: self._loss(*parts) for name, parts in given.items() if parts[0]}
