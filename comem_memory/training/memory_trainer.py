"""Training a memory encoder.

Reference: arXiv 2505.17670, section 3: cross-entropy of the answer through the frozen model, gradient to LoRA and
Q-Former only; here also to the restating prompt, which the authors do not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments

from comem_memory.content import with_texts
from comem_memory.encoder import BATCH_TOKENS, MemoryEncoder, opened
from comem_memory.model import TEXT_PROMPTS, ModelInputs, PromptItem, retrieval_content
from comem_memory.training.batches import Batch, Item, TrainingQuestion
from comem_memory.training.forward_passes import forward_passes
from comem_memory.training.trainer import BatchTrainer, Dataset

RESTATE_WEIGHT = 0.3
QFORMER_RATE, PROMPT_RATE = 0.6, 2.0
"""Learning rates of the Q-Former and of the restating prompt, as multiples of LoRA's."""


class MemoryTrainer(BatchTrainer):
    """Trains LoRA and Q-Former so that the frozen model answers from the vectors, and the prompt behind which it
    restates them. The prompt behind which it answers stays, so that it serves texts as it did (`reader_prompt`).

    The log shows the loss on unseen items with their own memory and with another item's: their gap is the sign that
    the memory is read.

    Args:
        encoder: What is trained.
        args: See `training_arguments`.
        train_dataset: Batches to train on, each a `Batch`.
        eval_dataset: Batches to develop with, each a `Batch`.
        distillation: 0 to 1, how much of the loss is the Kullback-Leibler divergence from what the frozen model
            expects when it reads the items as text (context distillation: arXiv 2209.15189) instead of the
            cross-entropy of the answer.

    Raises:
        ValueError: Distillation outside 0 to 1.
    """

    def __init__(
        self,
        encoder: MemoryEncoder,
        args: TrainingArguments,
        train_dataset: Dataset,
        eval_dataset: Dataset,
        *,
        distillation: float = 0.0,
    ) -> None:
        if not 0 <= distillation <= 1:
            raise ValueError(f"distillation is {distillation}. Pass a share from 0 to 1.")
        super().__init__(encoder.backbone, encoder, args, train_dataset, eval_dataset)
        self.encoder, self.distillation = encoder, distillation

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        with self._autocast():
            memories, whole = self._encode(inputs)
            expected, tokens = self._answers(inputs["asked"], self.encoder.reader_prompt.detach(), memories)
            loss = nn.functional.cross_entropy(expected, tokens)
            if self.distillation:
                as_read = nn.functional.log_softmax(self._as_read(inputs), -1)
                apart = nn.functional.kl_div(
                    nn.functional.log_softmax(expected, -1), as_read, reduction="batchmean", log_target=True
                )
                loss = torch.lerp(loss, apart, self.distillation)
            if restated := [one for one in inputs["restated"] if all(whole[i] for i in one.items)]:
                loss = loss + RESTATE_WEIGHT * self._loss(restated, self.encoder.restate_prompt, memories)
        return loss

    def _encode(self, batch: Batch) -> tuple[torch.Tensor, list[bool]]:
        """Memories of the items (N, Q, H), and which items are in them to their end."""
        inputs = []
        for item in batch["items"]:
            picture, content = opened(item.image, item.content)
            inputs.append(self.encoder.inputs(item.text, picture, content=content, truncate=True))
        lengths = [one.tensors["input_ids"].shape[1] for one in inputs]
        passes = forward_passes(lengths, self.backbone.device.type, most_tokens=BATCH_TOKENS)
        encoded = torch.cat([self.encoder.encode_batch([inputs[number] for number in some]) for some in passes])
        order = torch.tensor([number for some in passes for number in some], device=encoded.device)
        return encoded[order.argsort()], [not one.truncated for one in inputs]

    def _loss(
        self, asked: list[TrainingQuestion], prompt: torch.Tensor, memories: torch.Tensor | None, *contents: Any
    ) -> torch.Tensor:
        return nn.functional.cross_entropy(*self._answers(asked, prompt, memories, *contents))

    def _answers(
        self,
        asked: list[TrainingQuestion],
        prompt: torch.Tensor,
        memories: torch.Tensor | None,
        contents: Sequence[Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the frozen model expects at the answers' tokens, and the tokens.

        Args:
            asked: N questions.
            prompt: The reader prompt, (m, H), before what is given.
            memories: The vectors of the batch's items, (items, Q, H); without them none are given.
            contents: What the user's turns say, by default the questions.
        """
        contents = [one.question for one in asked] if contents is None else contents
        prompts = [self._prompt(one, content) for one, content in zip(asked, contents, strict=True)]
        given: list[Any] = [[] if memories is None else memories[one.items] for one in asked]
        return self._logits(asked, prompts, [torch.cat([prompt, *vectors]) for vectors in given])

    def _as_read(self, batch: Batch) -> torch.Tensor:
        """What it expects there when it reads the same items as text."""
        contents = self._contents(batch["asked"], batch["items"], TEXT_PROMPTS["plain"])
        prompts = [self._prompt(one, content) for one, content in zip(batch["asked"], contents, strict=True)]
        with torch.no_grad():
            return self._logits(batch["asked"], prompts, [None] * len(prompts))[0]

    def _logits(
        self, asked: list[TrainingQuestion], prompts: list[ModelInputs], memories: Sequence[torch.Tensor | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's logits at the answers' tokens, and the tokens, question by question."""
        found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        lengths = [*map(self.backbone.prompt_length, prompts, memories)]
        for some in forward_passes(lengths, self.backbone.device.type):
            answers = [len(self.backbone.prompts.answer_ids(asked[number].answer)) for number in some]
            logits, tokens = self.backbone.answer_logits(
                [prompts[number] for number in some], answers, [memories[number] for number in some]
            )
            found |= zip(some, zip(logits.split(answers), tokens.split(answers), strict=True), strict=True)
        in_order = [found[number] for number in range(len(asked))]
        return torch.cat([logits for logits, _ in in_order]), torch.cat([tokens for _, tokens in in_order])

    def _contents(self, asked: list[TrainingQuestion], items: list[Item], template: str) -> list[Any]:
        """What the user's turns say that have the items as text."""
        read, supports_images = [self._read(item) for item in items], self.backbone.prompts.supports_images
        return [
            retrieval_content(
                one.question, [read[i] for i in one.items], supports_images=supports_images, template=template
            )
            for one in asked
        ]

    def _read(self, item: Item) -> PromptItem:
        """The item as text, no more of it than fits the encoder's window."""
        text = with_texts(item.text, item.content or ())
        return PromptItem(self.backbone.prompts.beginning(text, self.encoder.encoder_config.max_length), item.image)

    def _prompt(self, asked: TrainingQuestion, content: Any) -> ModelInputs:
        return self.backbone.prompts.prompt_inputs([{"role": "user", "content": content}], answer=asked.answer)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        self.encoder.eval()
        own, shuffled = [], []
        with torch.no_grad(), self._autocast():
            for batch in self.development:
                memories = self._encode(batch)[0]
                prompt = self.encoder.reader_prompt
                own.append(self._loss(batch["asked"], prompt, memories).item())
                if len(memories) > 1:
                    shuffled.append(self._loss(batch["asked"], prompt, memories.roll(1, 0)).item())
        losses = {"loss": own, "shuffled_loss": shuffled}
        return self._evaluated(
            {f"{metric_key_prefix}_{name}": sum(found) / len(found) for name, found in losses.items() if found}
        )

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        lora = self.encoder.lora_parameters()
        rate = self.args.learning_rate
        self.optimizer = torch.optim.AdamW(
            [
                {"params": lora, "lr": rate},
                {"params": self.encoder.qformer.parameters(), "lr": rate * QFORMER_RATE},
                {"params": self.encoder.reader_prompts[1:], "lr": rate * PROMPT_RATE},
            ],
            weight_decay=self.args.weight_decay,
        )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.encoder.save_pretrained(output_dir or str(self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.encoder.load_weights(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self.encoder.load_weights(str(self.state.best_model_checkpoint))
