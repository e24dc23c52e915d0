"""What all trainings share: transformers' Trainer, given whole batches.

Trainer brings resuming, logging, schedules and mixed precision; what is ours is the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import ProgressCallback, Trainer, TrainingArguments

from comem_memory.model import Backbone, torch_defaults
from comem_memory.progress import progress_bar
from comem_memory.training.hardware import bfloat16_is_fast


def training_arguments(
    output_dir: str | Path, *, steps: int, learning_rate: float, **changes: Any
) -> TrainingArguments:
    """Settings that all trainings share; `changes` override them by TrainingArguments' own names.

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
    """Takes the batches of its dataset in order."""

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
        with progress_bar(self.DOING, shown, total=self.args.max_steps, unit="step") as bar:
            if shown is None:
                self.add_callback(_Steps(bar))
            return super().train(*args, **kwargs)

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
