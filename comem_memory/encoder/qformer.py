"""The Q-Former: all hidden states of one item in, `num_query_tokens` embedding vectors out.

Reference: arXiv 2505.17670, section 3; `qformer.py` in the authors' code, a Perceiver resampler (arXiv 2204.14198)
whose one block is applied `depth` times with shared weights. Parameter names are the authors' but for
`latents`, which is `query_tokens` here, as in transformers' BLIP-2.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from comem_memory.config import QFormerConfig

DTYPE = torch.float32
"""Of the weights, whatever dtype the process makes tensors in."""


class FeedForward(nn.Sequential):
    """LayerNorm, then two linear layers with GELU between them, without biases."""

    def __init__(self, config: QFormerConfig) -> None:
        width = config.hidden_size * config.ff_mult
        super().__init__(
            nn.LayerNorm(config.hidden_size, dtype=DTYPE),
            nn.Linear(config.hidden_size, width, bias=False, dtype=DTYPE),
            nn.GELU(),
            nn.Linear(width, config.hidden_size, bias=False, dtype=DTYPE),
        )


class Attention(nn.Module):
    """Attention of the queries to the context and to each other.

    Letters in shapes: B items, T tokens, Q query tokens, H hidden size.
    """

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.norm1 = nn.LayerNorm(width, dtype=DTYPE)
        self.norm2 = nn.LayerNorm(width, dtype=DTYPE)
        self.to_q = nn.Linear(width, width, bias=False, dtype=DTYPE)
        self.to_kv = nn.Linear(width, 2 * width, bias=False, dtype=DTYPE)
        self.to_out = nn.Linear(width, width, bias=False, dtype=DTYPE)

    def context_kv(self, context: torch.Tensor) -> torch.Tensor:
        """Keys and values of the context, (B, T, H) -> (B, T, 2H), which are the same in every pass of the block."""
        return self.to_kv(self.norm1(context))

    def forward(self, queries: torch.Tensor, context_kv: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What the queries find.

        Args:
            queries: The queries, (B, Q, H).
            context_kv: Keys and values of the context from `context_kv`, (B, T, 2H).
            mask: Which positions of context and queries may be attended to, (B, 1, 1, T + Q), bool.

        Returns:
            (B, Q, H)
        """
        queries = self.norm2(queries)
        keys, values = torch.cat([context_kv, self.to_kv(queries)], dim=1).chunk(2, dim=-1)

        def split(x: torch.Tensor) -> torch.Tensor:  # (B, L, H) -> (B, heads, L, H / heads)
            return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        attended = nn.functional.scaled_dot_product_attention(
            split(self.to_q(queries)), split(keys), split(values), attn_mask=mask
        )
        return self.to_out(attended.transpose(1, 2).flatten(2))


class QFormer(nn.Module):
    """Compresses an item's hidden states to `num_query_tokens` vectors in the language model's input space.

    A masked position contributes exactly nothing, so items in a padded batch become the same vectors as one by one.

    Args:
        config: The shape of the module.
    """

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.query_tokens = nn.Parameter(torch.randn(1, config.num_query_tokens, width, dtype=DTYPE) * width**-0.5)
        self.proj_in = nn.Linear(width, width, dtype=DTYPE)
        self.proj_out = nn.Linear(width, width, dtype=DTYPE)
        self.norm_out = nn.LayerNorm(width, dtype=DTYPE)
        self.layers = nn.ModuleList([Attention(config), FeedForward(config)])

    @property
    def attention(self) -> Attention:
        """First half of the shared block."""
        return cast(Attention, self.layers[0])

    @property
    def feed_forward(self) -> FeedForward:
        """Second half of the shared block."""
        return cast(FeedForward, self.layers[1])

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The vectors of a batch of items.

        Args:
            hidden_states: The items' hidden states, (B, T, H), of the module's dtype and on its device.
            attention_mask: Which positions are valid, (B, T), 1 for valid; by default all are.

        Returns:
            (B, Q, H), of the module's dtype.
        """
        batch, length, _ = hidden_states.shape
        queries = self.query_tokens.expand(batch, -1, -1)  # (B, Q, H)
        mask = torch.ones(batch, length + queries.shape[1], dtype=torch.bool, device=hidden_states.device)
        if attention_mask is not None:
            mask[:, :length] = attention_mask.bool()
        context_kv = self.attention.context_kv(self.proj_in(hidden_states))
        for _ in range(self.config.depth):
            queries = queries + self.attention(queries, context_kv, mask[:, None, None])
            queries = queries + self.feed_forward(queries)
        return self.norm_out(self.proj_out(queries))

    @torch.no_grad()
    def init_identity(self, output_mean: torch.Tensor, output_std: torch.Tensor) -> None:
        """Starts as an average of what is attended to, spread like the language model's token embeddings.

        The authors start at random (normal, deviation 0.02), and such vectors tell nothing of the item until training
        has come far. From this start the first vectors already lie where the frozen model expects its inputs.

        Args:
            output_mean: Mean of the token embeddings, (H,).
            output_std: Standard deviation of the token embeddings, (H,).
        """
        width = self.config.hidden_size
        attention = self.attention
        for linear in (self.proj_in, self.proj_out):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
        keys, values = attention.to_kv.weight.chunk(2)
        nn.init.normal_(attention.to_q.weight, std=0.08)
        nn.init.normal_(keys, std=0.05)
        nn.init.eye_(values)
        attention.to_out.weight.copy_(torch.eye(width, dtype=DTYPE) / self.config.depth)
        nn.init.normal_(self.feed_forward.get_parameter("3.weight"), std=1e-3)
        nn.init.normal_(self.query_tokens, std=2 * width**-0.5)
        self.norm_out.weight.copy_(output_std)
        self.norm_out.bias.copy_(output_mean)
