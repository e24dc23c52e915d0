"""Where training starts: an encoder whose hidden states can be read, and a Q-Former that reads them.

From a random start a memory encoder has to find out at once what its hidden states say, which part of an item each
query reads, and how the frozen model likes its inputs; with few samples it does not. All three can be had before:

1. `ReadingTrainer` trains the LoRA, alone and without the answering model, until the last hidden states say linearly
   on which token they stand, how far into the text it lies and how rare it is. (Untrained they say what comes next.)
2. `fit_start` writes the Q-Former down in closed form: `proj_in` is those three maps, by ridge regression; query
   token j attends around the j-th place and to rare tokens before common ones; its average of token embeddings is
   brought to the spread of the model's own.

So a memory embedding starts as the mean embedding of the rare tokens of one part of the item.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments

from comem_memory.encoder.memory_encoder import MemoryEncoder
from comem_memory.encoder.qformer import QFormer
from comem_memory.errors import CorpusError
from comem_memory.model.prompts import ModelInputs
from comem_memory.training.batches import Batch
from comem_memory.training.trainer import Batches, BatchTrainer

RARE = 1e-3
"""Share of all tokens at which a token has weight 1/2 (smooth inverse frequency: Arora et al., ICLR 2017)."""
STRETCH = 16
"""Tokens. Places are spread evenly over log(1 + position / STRETCH): early ones lie closer together."""
LONGEST = 128
"""Tokens. The last place ends here; what follows is read from it too."""
END = math.log(1 + LONGEST / STRETCH)
REACH = 1.0
"""How far around its place a query attends (one standard deviation), in distances between places."""
OUTSIDE = 1e-3
"""Weight of a token that is not of the item's text."""
RIDGE = 1e-2
COMMON = 1e-2
"""What a common token counts in the fits, beside rare ones that count 1."""
MUTE = 50.0
"""Attention logit by which queries leave each other alone at the start."""


@dataclass(frozen=True)
class Facts:
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


class Reading:
    """Lays out texts for the encoder and knows the facts about their tokens.

    Args:
        encoder: whose turns are used.
        texts: typical items; how often a token occurs in them is how often it occurs.
    """

    def __init__(self, encoder: MemoryEncoder, texts: Iterable[str]) -> None:
        self.encoder, self.backbone = encoder, encoder.backbone
        embeddings = self.backbone.token_embeddings.float()
        self.mean, self.std = embeddings.mean(0), embeddings.std(0)  # (H,)
        ids = torch.tensor([i for text in texts for i in self.backbone.prompts.text_ids(text)], dtype=torch.long)
        if not len(ids):
            raise CorpusError("No item has a text to learn to read from. Go on from a trained adapter with --start.")
        counts = torch.bincount(ids, minlength=len(embeddings))
        self.weights = RARE / (RARE + counts / counts.sum())  # (vocabulary,)
        self._tail = len(self.backbone.prompts.turn_end_ids)
        laid_out = encoder.inputs("a").tensors["input_ids"].shape[1]
        self._around = laid_out - len(self.backbone.prompts.text_ids("a"))  # tokens of the turns

    def batch(self, texts: Sequence[str]) -> tuple[ModelInputs, Facts]:
        """The encoder's batch of B texts, left-padded to T tokens, and the facts."""
        laid_out = [self.encoder.inputs(text, truncate=True).tensors for text in texts]
        batch = self.backbone.batch(laid_out)
        ids = batch["input_ids"]
        lengths = torch.tensor([one["input_ids"].shape[1] - self._around for one in laid_out], device=ids.device)
        lengths = lengths[:, None]
        columns = torch.arange(ids.shape[1], device=ids.device)
        position = columns - (ids.shape[1] - self._tail - lengths)
        inside = (position >= 0) & (position < lengths)
        place = (1 + position.clamp(0, LONGEST) / STRETCH).log() - END / 2
        weight = torch.where(inside, self.weights.to(ids.device)[ids], OUTSIDE)
        return batch, Facts(inside, torch.where(inside, place, 0.0), weight)

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


class ReadingTrainer(BatchTrainer):
    """Trains the LoRA until hidden states say what they stand on.

    Args:
        reading: encoder and token frequencies.
        texts: typical items, to begin from what the hidden states say untrained.
        args: see `training_arguments`.
        train_dataset, eval_dataset: of `Batch`; only the items' texts are used.
    """

    def __init__(
        self,
        reading: Reading,
        texts: Sequence[str],
        args: TrainingArguments,
        train_dataset: Batches,
        eval_dataset: Batches,
    ) -> None:
        super().__init__(reading.backbone, reading.encoder, args, train_dataset, eval_dataset)
        self.reading, self.encoder = reading, reading.encoder
        states, tokens, features, weight = reading.collect(texts)
        fits = _ridge(states, tokens, weight + COMMON), _ridge(states, features, torch.ones_like(weight))
        matrix, bias = map(torch.cat, zip(*fits, strict=True))
        self.head = nn.Linear(*matrix.T.shape)  # thrown away after
        self.head.weight, self.head.bias = nn.Parameter(matrix), nn.Parameter(bias)

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        batch, facts = self.reading.batch([item.text for item in inputs["items"]])
        with self._autocast():
            states = self.encoder.hidden_states(batch)
        said = self.head(states.float())
        alike = torch.cosine_similarity(said[..., :-3], self.reading.tokens(batch), dim=-1)  # (B, T)
        weight = facts.weight * facts.inside
        wrong = ((said[..., -3:] - facts.features) * said.new_tensor([1, 1, 0.3])).square().sum(-1)
        unlike = (weight * (1 - alike)).sum() / weight.sum().clamp_min(OUTSIDE)  # 0 where no item has a text
        return unlike + wrong[batch["attention_mask"].bool()].mean()

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.head.zero_grad()  # Trainer does so for the encoder alone
        return super().training_step(*args, **kwargs)

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        lora = [p for n, p in self.encoder.named_parameters() if p.requires_grad and "lora_" in n]
        self.optimizer = torch.optim.AdamW([*lora, *self.head.parameters()], lr=self.args.learning_rate)
        return self.optimizer


@torch.no_grad()
def fit_start(reading: Reading, texts: Sequence[str]) -> None:
    """Writes the Q-Former's start from the hidden states that the encoder's LoRA gives now.

    Args:
        reading: encoder and token frequencies.
        texts: typical items, with several times more tokens in all than the hidden size.
    """
    reading.encoder.qformer.init_identity(reading.mean, reading.std)
    _write(reading.encoder.qformer, *reading.collect(texts))


def _write(
    qformer: QFormer, states: torch.Tensor, tokens: torch.Tensor, features: torch.Tensor, weight: torch.Tensor
) -> None:
    """Shapes: states, tokens (N, H); features (N, 3); weight (N,)."""
    width, queries = qformer.config.hidden_size, qformer.config.num_query_tokens
    heads, depth = qformer.config.num_attention_heads, qformer.config.depth
    attention = qformer.attention
    spacing = END / queries
    places = (torch.arange(queries, device=states.device) + 0.5) * spacing - END / 2

    # The directions in which tokens differ least are set aside for what is not content.
    directions = torch.linalg.eigh((tokens * weight[:, None]).T @ tokens).eigenvectors.T  # least first
    marks, asks, content = directions[:3], directions[3 : 3 + queries], directions[3 + queries :]
    content = content.T @ content  # (H, H), the projection

    # proj_in: hidden state -> token embedding, and along `marks` place, its square, log weight.
    scale = features.std(0)
    content_fit = _ridge(states, tokens @ content, weight + COMMON)
    marks_fit = _ridge(states, (features - features.mean(0)) / scale @ marks, torch.ones_like(weight))
    fitted, bias = (a + b for a, b in zip(content_fit, marks_fit, strict=True))
    qformer.proj_in.weight.copy_(fitted)
    qformer.proj_in.bias.copy_(bias)

    # Attention: logit -(place - places[j])^2 / (2 reach^2) + log weight, but for what is the same for all tokens.
    shrink = (states @ fitted.T + bias).std(-1).mean()  # LayerNorm divides by it
    reach = REACH * spacing
    slopes = torch.stack(
        [places / reach**2, torch.full_like(places, -0.5 / reach**2), torch.ones_like(places)]
    )  # (3, Q)
    length = width**0.5  # of a vector after LayerNorm
    to_q, keys = torch.zeros(2, width // heads, width, device=states.device)
    keys[:3] = marks
    to_q[:3] = (slopes * (scale * shrink)[:, None]) @ asks
    keys[3] = -asks.sum(0)
    to_q[3] = MUTE / length * asks.sum(0)
    attention.to_q.weight.copy_((to_q * (width // heads) ** 0.5 / length).repeat(heads, 1))
    attention.to_kv.weight[:width].copy_(keys.repeat(heads, 1))
    qformer.query_tokens[0] = asks * length
    attention.to_out.weight.copy_(content / depth)
    qformer.proj_out.weight.copy_(content)


def _ridge(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, in) and bias (out,) of the linear map from x (N, in) to y (N, out)."""
    mean, std = x.mean(0), x.std(0)
    x = torch.cat([(x - mean) / std, torch.ones_like(x[:, :1])], dim=1)
    weighted = x.T * weight / weight.sum()
    penalty = torch.full_like(x[0], RIDGE)
    penalty[-1] = 0  # not on the bias
    solved = torch.linalg.solve(weighted @ x + penalty.diag(), weighted @ y)
    matrix = (solved[:-1] / std[:, None]).T
    return matrix, solved[-1] - matrix @ mean


def texts_of(batches: Iterable[Batch]) -> list[str]:
    """The texts of all items."""
    return [item.text for batch in batches for item in batch["items"]]
