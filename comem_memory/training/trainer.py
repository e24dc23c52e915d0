"""Training a memory encoder, and the embedded model's projector, with transformers' Trainer.

Trainer brings resuming, logging, schedules and mixed precision; what is ours is the loss. Reference: arXiv 2505.17670,
section 3: cross-entropy of the answer through the frozen model, gradient to LoRA and Q-Former only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from comem_memory.encoder.memory_encoder import MemoryEncoder
from comem_memory.files.images import load_image
from comem_memory.model.backbone import Backbone
from comem_memory.model.prompts import ModelInputs
from comem_memory.model.text_prompts import PromptItem, retrieval_content
from comem_memory.training.batches import Batch, Item, TrainingQuestion

RESTATE_WEIGHT = 0.3
QFORMER_RATE = 0.6
"""Learning rate of the Q-Former, as a multiple of LoRA's."""


def bfloat16_is_fast() -> bool:
    """Whether this machine multiplies bfloat16 in hardware; a CPU without AVX-512 takes 40 times as long as float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def training_arguments(
    output_dir: str | Path, *, steps: int, learning_rate: float, **changes: Any
) -> TrainingArguments:
    """The recipe's settings; `changes` override them by TrainingArguments' own names.

    For a training that stops early, `load_best_model_at_end=True` and Trainer's EarlyStoppingCallback.
    """
    settings: dict[str, Any] = {
        "output_dir": str(output_dir),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "warmup_steps": min(60, steps // 10),
        "lr_scheduler_type": "cosine",
        "per_device_train_batch_size": 1,
        "logging_steps": 20,
        "save_steps": 125,
        "save_total_limit": 2,
        "eval_strategy": "steps",
        "eval_steps": 125,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": bfloat16_is_fast(),
        "use_cpu": not torch.cuda.is_available(),
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "seed": 0,
    }
    return TrainingArguments(**settings | changes)


Batches = Sequence[Any]
"""A dataset whose elements are whole batches; random access is enough."""


class BatchTrainer(Trainer):
    """Each dataset element is one whole batch, taken in order."""

    def __init__(
        self, backbone: Backbone, model: nn.Module, args: TrainingArguments, train: Batches, development: Batches
    ) -> None:
        if args.device.type == "cuda":
            args._n_gpu = 1  # a batch is not divided among several
        super().__init__(
            model=model,
            args=args,
            data_collator=lambda batches: batches[0],
            train_dataset=train,
            eval_dataset=development,
        )
        self.backbone = backbone
        self.batches, self.development = train, development

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.batches)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        model = cast(nn.Module, self.model).eval()
        with torch.no_grad():
            losses = [float(cast(torch.Tensor, self.compute_loss(model, batch))) for batch in self.development]
        return self._evaluated({f"{metric_key_prefix}_loss": sum(losses) / len(losses)})

    def _evaluated(self, metrics: dict[str, float]) -> dict[str, float]:
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def last_checkpoint(self) -> str | None:
        """The newest complete checkpoint in the output folder, to resume from."""
        folders = Path(str(self.args.output_dir)).glob("checkpoint-*")
        complete = [folder for folder in folders if (folder / "trainer_state.json").is_file()]
        return str(max(complete, key=lambda f: int(f.name.split("-")[1]))) if complete else None


class MemoryTrainer(BatchTrainer):
    """Trains LoRA and Q-Former so that the frozen model answers from the vectors.

    The log shows the loss on unseen items with their own memory and with another item's: their gap is the sign that
    the memory is read.

    Args:
        encoder: what is trained.
        args: see `training_arguments`.
        train_dataset, eval_dataset: of `Batch`.
        distillation: 0 to 1, how much of the loss is the Kullback-Leibler divergence from what the frozen model
            expects when it reads the items as text (context distillation: arXiv 2209.15189) instead of the
            cross-entropy of the answer.

    Raises:
        ValueError: distillation outside 0 to 1.
    """

    def __init__(
        self,
        encoder: MemoryEncoder,
        args: TrainingArguments,
        train_dataset: Batches,
        eval_dataset: Batches,
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
            expected, tokens = self._answers(inputs["asked"], memories)
            loss = nn.functional.cross_entropy(expected, tokens)
            if self.distillation:
                as_read = nn.functional.log_softmax(self._as_read(inputs), -1)
                apart = nn.functional.kl_div(
                    nn.functional.log_softmax(expected, -1), as_read, reduction="batchmean", log_target=True
                )
                loss = torch.lerp(loss, apart, self.distillation)
            if restated := [one for one in inputs["restated"] if all(whole[i] for i in one.items)]:
                loss = loss + RESTATE_WEIGHT * self._loss(restated, memories)
        return loss

    def _encode(self, batch: Batch) -> tuple[torch.Tensor, list[bool]]:
        """Memories of the items (N, Q, H), and which items are in them to their end."""
        inputs = []
        for item in batch["items"]:
            picture = load_image(item.picture.path) if item.picture else None
            inputs.append(self.encoder.inputs(item.text, picture, truncate=True))
        memories = self.encoder.forward(self.backbone.batch([one.tensors for one in inputs]))
        return memories, [not one.truncated for one in inputs]

    def _loss(self, asked: list[TrainingQuestion], memories: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(*self._answers(asked, memories))

    def _answers(self, asked: list[TrainingQuestion], memories: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the frozen model expects at the answers' tokens with these memories, and the tokens."""
        prompts = [self._prompt(one, one.question) for one in asked]
        seen = [memories[one.items].flatten(0, 1) for one in asked]
        return self.backbone.answer_logits(prompts, self._lengths(asked), seen)

    def _as_read(self, batch: Batch) -> torch.Tensor:
        """What it expects there when it reads the same items as text."""
        read, prompts = [self._read(item) for item in batch["items"]], []
        for one in batch["asked"]:
            items = [read[i] for i in one.items]
            prompts.append(
                self._prompt(
                    one, retrieval_content(one.question, items, supports_images=self.backbone.prompts.supports_images)
                )
            )
        with torch.no_grad():
            return self.backbone.answer_logits(prompts, self._lengths(batch["asked"]))[0]

    def _read(self, item: Item) -> PromptItem:
        """The item as text, no more of it than fits the encoder's window."""
        tokenizer, most = self.backbone.prompts.tokenizer, self.encoder.encoder_config.max_length
        tokens = tokenizer(item.text, add_special_tokens=False).input_ids
        text = item.text if len(tokens) <= most else tokenizer.decode(tokens[:most])
        return PromptItem(text, item.picture and item.picture.path)

    def _prompt(self, asked: TrainingQuestion, content: Any) -> ModelInputs:
        return self.backbone.prompts.prompt_inputs([{"role": "user", "content": content}], answer=asked.answer)

    def _lengths(self, asked: list[TrainingQuestion]) -> list[int]:
        return [len(self.backbone.prompts.answer_ids(one.answer)) for one in asked]

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        self.encoder.eval()
        own, shuffled = [], []
        with torch.no_grad(), self._autocast():
            for batch in self.development:
                memories = self._encode(batch)[0]
                own.append(self._loss(batch["asked"], memories).item())
                if len(memories) > 1:
                    shuffled.append(self._loss(batch["asked"], memories.roll(1, 0)).item())
        losses = {"loss": own, "shuffled_loss": shuffled}
        return self._evaluated(
            {f"{metric_key_prefix}_{name}": sum(found) / len(found) for name, found in losses.items() if found}
        )

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        lora = [p for n, p in self.encoder.named_parameters() if p.requires_grad and "lora_" in n]
        rate = self.args.learning_rate
        self.optimizer = torch.optim.AdamW(
            [{"params": lora, "lr": rate}, {"params": self.encoder.qformer.parameters(), "lr": rate * QFORMER_RATE}],
            weight_decay=self.args.weight_decay,
        )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.encoder.save_pretrained(output_dir or str(self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.encoder.load_weights(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self.encoder.load_weights(str(self.state.best_model_checkpoint))


class ProjectorTrainer(BatchTrainer):
    """Teaches the embedded model's projector to name pictures; language model and vision tower stay frozen.

    Args:
        backbone: the assembled model.
        args: see `training_arguments`.
        train_dataset, eval_dataset: of lists of `Picture`.
    """

    FILE = "projector.safetensors"
    QUESTION = "What does the picture show?"

    def __init__(
        self, backbone: Backbone, args: TrainingArguments, train_dataset: Batches, eval_dataset: Batches
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
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        weights = {n: w.detach().to(torch.bfloat16).contiguous() for n, w in self.projector.state_dict().items()}
        save_file(weights, folder / self.FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        weights = load_file(Path(resume_from_checkpoint) / self.FILE)
        self.projector.load_state_dict({n: w.float() for n, w in weights.items()})
