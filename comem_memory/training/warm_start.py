"""Where training starts: an encoder whose hidden states can be read, and a Q-Former that reads them.

From a random start a memory encoder has to find out at once what its hidden states say, which part of an item each
query reads, and how the frozen model likes its inputs; with few samples it does not. All three can be had before:

1. `WarmStartTrainer` trains the LoRA, alone and without the answering model, until the last hidden states say linearly
   on which token they stand, how far into the text it lies and how rare it is. (Untrained they say what comes next.)
2. `fit_qformer` writes the Q-Former down in closed form: `proj_in` is those three maps, by ridge regression; query
   token j attends around the j-th place and to rare tokens before common ones; its average of token embeddings is
   brought to the spread of the model's own.

So a memory embedding starts as the mean embedding of the rare tokens of one part of the item.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments

from comem_memory.encoder import CONFIG_FILE, MemoryEncoder
from comem_memory.errors import CorpusError
from comem_memory.model import ModelInputs
from comem_memory.training.batches import Batch
from comem_memory.training.qformer_fit import COMMON, END, LONGEST, STRETCH, fit_qformer, ridge
from comem_memory.training.trainer import BatchTrainer, Dataset, save_once, training_arguments

RARE = 1e-3
"""Share of all tokens at which a token has weight 1/2 (smooth inverse frequency: Arora et al., ICLR 2017)."""
OUTSIDE = 1e-3
"""Weight of a token that is not of the item's text."""
FIT_TOKENS = 50_000
"""At most so many are fitted to: that holds seven times their hidden states, 5 GB at H = 3584."""


def warm_start(
    encoder: MemoryEncoder, output_dir: Path, batches: Sequence[Batch], *, steps: int, batches_a_step: int = 1
) -> None:
    """Trains the encoder and fits its Q-Former; finished, `output_dir` is an adapter folder, else it begins anew.

    Args:
        encoder: Untrained.
        output_dir: Folder of the adapter.
        batches: Those to train with; then what items are typically like.
        steps: Optimizer steps.
        batches_a_step: Batches of each.

    Raises:
        CorpusError: No typical item has a text.
    """
    if (output_dir / CONFIG_FILE).is_file():
        encoder.load_weights(output_dir)
        return
    trained = steps * batches_a_step
    typical = up_to(FIT_TOKENS, encoder, texts_of(batches[i] for i in range(trained, len(batches))))
    layout = WarmStartLayout(encoder, typical)
    arguments = training_arguments(
        output_dir,
        steps=steps,
        learning_rate=1e-3,
        batches_a_step=batches_a_step,
        warmup_steps=20,
        eval_steps=50,
        save_strategy="no",
    )
    development = [batches[i] for i in range(trained, trained + 8)]
    WarmStartTrainer(layout, typical, arguments, batches, development).train()
    encoder.qformer.init_identity(layout.mean, layout.std)
    fit_qformer(encoder.qformer, *layout.collect(typical))
    save_once(encoder, output_dir)


def texts_of(batches: Iterable[Batch]) -> list[str]:
    """The texts of all items."""
    return [item.text for batch in batches for item in batch["items"]]


def up_to(tokens: int, encoder: MemoryEncoder, texts: Iterable[str]) -> list[str]:
    """Different texts that are so long together, or all."""
    found = list(dict.fromkeys(texts))
    longest = encoder.encoder_config.max_length
    ends = itertools.accumulate(min(len(encoder.backbone.prompts.text_ids(text)), longest) for text in found)
    return found[: max(1, sum(end <= tokens for end in ends))]


@dataclass(frozen=True)
class TokenFacts:
    """What the tokens of a batch are: the hidden states are to say it, the Q-Former to use it. Shapes (B, T)."""

    inside: torch.Tensor
    """Whether the token is of the item's text, bool."""
    place: torch.Tensor
    """log(1 + position / STRETCH), around 0; in the middle, which is 0, for tokens outside."""
    weight: torch.Tensor
    """OUTSIDE to 1."""

    @property
    def features(self) -> torch.Tensor:
        """What attention asks for: place, its square, logarithm of the weight; (B, T, 3)."""
        return torch.stack([self.place, self.place.square(), self.weight.log()], dim=-1)


class WarmStartLayout:
    """Lays out texts for the encoder and knows the facts about their tokens.

    Args:
        encoder: Whose turns are used.
        texts: Typical items; how often a token occurs in them is how often it occurs.
    """

    def __init__(self, encoder: MemoryEncoder, texts: Iterable[str]) -> None:
        self.encoder, self.backbone = encoder, encoder.backbone
        embeddings = self.backbone.token_embeddings.float()
        self.mean, self.std = embeddings.mean(0), embeddings.std(0)  # (H,)
        ids = torch.tensor([i for text in texts for i in self.backbone.prompts.text_ids(text)], dtype=torch.long)
        if not len(ids):
            raise CorpusError("No item has a text for the warm start. Go on from a trained adapter with --start.")
        counts = torch.bincount(ids, minlength=len(embeddings)).float()
        self.weights = RARE / (RARE + counts / counts.sum())  # (vocabulary,)
        self._tail = len(self.backbone.prompts.turn_end_ids)
        laid_out = encoder.inputs("a").tensors["input_ids"].shape[1]
        self._around = laid_out - len(self.backbone.prompts.text_ids("a"))  # tokens of the turns

    def batch(self, texts: Sequence[str]) -> tuple[ModelInputs, TokenFacts]:
        """The encoder's batch of B texts, left-padded to T tokens, and the facts."""
        laid_out = [self.encoder.inputs(text, truncate=True).tensors for text in texts]
        batch = self.backbone.batch(laid_out)
        ids = batch["input_ids"]
        lengths = torch.tensor([one["input_ids"].shape[1] - self._around for one in laid_out], device=ids.device)
        lengths = lengths[:, None]
        columns = torch.arange(ids.shape[1], device=ids.device)
        position = columns - (ids.shape[1] - self._tail - lengths)
        inside = (position >= 0) & (position < lengths)
        place = (1 + position.clamp(0, LONGEST).float() / STRETCH).log() - END / 2
        weight = torch.where(inside, self.weights.to(ids.device)[ids], OUTSIDE)
        return batch, TokenFacts(inside, torch.where(inside, place, 0.0), weight)

    def tokens(self, batch: ModelInputs) -> torch.Tensor:
        """Token embeddings, standardised per dimension: (B, T, H), float32."""
        embeddings = self.backbone.model.get_input_embeddings()(batch["input_ids"]).float()
        return (embeddings - self.mean.to(embeddings.device)) / self.std.to(embeddings.device)

    @torch.no_grad()
    def collect(self, texts: Sequence[str], *, batch_size: int = 16) -> tuple[torch.Tensor, ...]:
        """Hidden states and token embeddings (N, H), features (N, 3) and weights (N,) of the tokens of some texts."""
        self.encoder.eval()
        parts = []
        ordered = sorted(texts, key=len)
        for start in range(0, len(ordered), batch_size):
            batch, facts = self.batch(ordered[start : start + batch_size])
            with self.backbone.lock:
                states = self.encoder.hidden_states(batch).float()
            attended = batch["attention_mask"].bool()
            parts.append([x[attended] for x in (states, self.tokens(batch), facts.features, facts.weight)])
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))


class WarmStartTrainer(BatchTrainer):
    """Trains the LoRA until hidden states say what they stand on.

    Args:
        layout: Encoder and token frequencies.
        texts: Typical items, to begin from what the hidden states say untrained.
        args: See `training_arguments`.
        train_dataset: Batches to train on, each a `Batch`, of which only the items' texts are used.
        eval_dataset: Batches to develop with, likewise.
    """

    DOING = "warm start"

    def __init__(
        self,
        layout: WarmStartLayout,
        texts: Sequence[str],
        args: TrainingArguments,
        train_dataset: Dataset,
        eval_dataset: Dataset,
    ) -> None:
        states, tokens, features, weight = layout.collect(texts)
        fits = ridge(states, tokens, weight + COMMON), ridge(states, features, torch.ones_like(weight))
        matrix, bias = map(torch.cat, zip(*fits, strict=True))
        self.head = nn.Linear(*matrix.T.shape)  # thrown away after
        self.head.weight, self.head.bias = nn.Parameter(matrix), nn.Parameter(bias)
        both = nn.ModuleList([layout.encoder, self.head])
        super().__init__(layout.backbone, both, args, train_dataset, eval_dataset)
        self.layout, self.encoder = layout, layout.encoder

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        laid_out, facts = self.layout.batch([item.text for item in inputs["items"]])
        with self._autocast():
            states = self.encoder.hidden_states(laid_out)
        said = self.head(states.float())
        alike = torch.cosine_similarity(said[..., :-3], self.layout.tokens(laid_out), dim=-1)  # (B, T)
        weight = facts.weight * facts.inside
        wrong = ((said[..., -3:] - facts.features) * said.new_tensor([1, 1, 0.3])).square().sum(-1)
        unlike = (weight * (1 - alike)).sum() / weight.sum().clamp_min(OUTSIDE)  # 0 where no item has a text
        return unlike + wrong[laid_out["attention_mask"].bool()].mean()

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        lora = self.encoder.lora_parameters()
        self.optimizer = torch.optim.AdamW([*lora, *self.head.parameters()], lr=self.args.learning_rate)
        return self.optimizer
