"""What all trainings share: transformers' Trainer, given whole batches.

Trainer brings resuming, logging, schedules and mixed precision; what is ours is the losses.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import ProgressCallback, Trainer, TrainingArguments

from comem_memory.encoder import MemoryEncoder
from comem_memory.errors import AdapterError
from comem_memory.model import Backbone, torch_defaults
from comem_memory.progress import progress_bar
from comem_memory.training.hardware import bfloat16_is_fast


def batches_of_each_process(batches_a_step: int) -> int:
    """How many of an optimizer step's batches each process works through that `accelerate launch` starts.

    Raises:
        AdapterError: The processes cannot share them.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if batches_a_step % processes:
        raise AdapterError(
            f"{processes} processes cannot share {batches_a_step} batches of a step. Pass --batches {processes}, or a "
            "multiple of it."
        )
    return batches_a_step // processes


def save_once(encoder: MemoryEncoder, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Saves an encoder that several processes have trained: the first one writes, all wait until it is done."""
    state = PartialState()
    if state.is_main_process:
        encoder.save_pretrained(folder, dtype=dtype)
    state.wait_for_everyone()


def training_arguments(
    output_dir: str | Path, *, steps: int, learning_rate: float, batches_a_step: int = 1, **changes: Any
) -> TrainingArguments:
    """Settings that all trainings share; `changes` override them by TrainingArguments' own names.

    Args:
        output_dir: Folder of the checkpoints.
        steps: Optimizer steps.
        learning_rate: The highest.
        batches_a_step: Batches of each optimizer step, over all processes.
        **changes: Other settings.

    For a training that stops early, `load_best_model_at_end=True` and Trainer's EarlyStoppingCallback.
    """
    settings: dict[str, Any] = {
        "output_dir": str(output_dir),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "warmup_steps": min(60, steps // 10),
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": max(1, steps // 5)},
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": batches_of_each_process(batches_a_step),
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


Dataset = Sequence[Any]
"""Its elements are whole batches; random access is enough."""


class BatchTrainer(Trainer):
    """Takes the batches of its dataset in order; several processes take them in turn, and share their gradients.

    The losses run parts of the model, not its `forward`, so that torch's DistributedDataParallel would not see them.
    """

    DOING = "training"

    def __init__(
        self, backbone: Backbone, model: nn.Module, args: TrainingArguments, train: Dataset, development: Dataset
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

    @torch_defaults()
    def train(self, *args: Any, **kwargs: Any) -> Any:
        shown = None if self.pop_callback(ProgressCallback) else False  # there is none with `disable_tqdm`
        shown = shown if self.is_world_process_zero() else False
        with progress_bar(self.DOING, shown, total=self.args.max_steps, unit="step") as bar:
            if shown is None:
                self.add_callback(_Steps(bar))
            return super().train(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.num_processes > 1 and self.accelerator.sync_gradients:
            for group in cast(torch.optim.Optimizer, self.optimizer).param_groups:
                for parameter in group["params"]:
                    own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    parameter.grad = self.accelerator.reduce(own, "mean")
        return loss

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


class _Steps(ProgressCallback):
    """Shows the steps in our bar instead of transformers'."""

    def __init__(self, bar: Any) -> None:
        super().__init__()
        self._bar = bar

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.training_bar, self.current_step = self._bar, state.global_step
        self._bar.initial = self._bar.n = state.global_step  # what an earlier run did took no time of this one
