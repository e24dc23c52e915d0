"""The Q-Former's start in closed form, from hidden states that say linearly on which token they stand."""

from __future__ import annotations

import math

import torch

from comem_memory.encoder import QFormer

STRETCH = 16
"""Tokens. Places are spread evenly over log(1 + position / STRETCH): early ones lie closer together."""
LONGEST = 128
"""Tokens. The last place ends here; what follows is read from it too."""
END = math.log(1 + LONGEST / STRETCH)
REACH = 1.0
"""How far around its place a query attends (one standard deviation), in distances between places."""
RIDGE = 1e-2
COMMON = 1e-2
"""What a common token counts in the fits, beside rare ones that count 1."""
MUTE = 50.0
"""Attention logit by which queries leave each other alone at the start."""


@torch.no_grad()
def fit_qformer(
    qformer: QFormer, states: torch.Tensor, tokens: torch.Tensor, features: torch.Tensor, weight: torch.Tensor
) -> None:
    """Writes the Q-Former's weights so that query j reads the rare tokens around the j-th place.

    Args:
        qformer: At its identity start.
        states: Hidden states of N tokens, (N, H), float32.
        tokens: The tokens' embeddings, standardised, (N, H).
        features: What attention asks for: place, its square, logarithm of the weight; (N, 3).
        weight: What each counts, (N,); in all several times more tokens than H.
    """
    width, queries = qformer.config.hidden_size, qformer.config.num_query_tokens
    heads, depth = qformer.config.num_attention_heads, qformer.config.depth
    attention = qformer.attention
    spacing = END / queries
    places = (torch.arange(queries, dtype=states.dtype, device=states.device) + 0.5) * spacing - END / 2

    # The directions in which tokens differ least are set aside for what is not content.
    directions = torch.linalg.eigh((tokens * weight[:, None]).T @ tokens).eigenvectors.T  # least first
    marks, asks, content = directions[:3], directions[3 : 3 + queries], directions[3 + queries :]
    content = content.T @ content  # (H, H), the projection

    # proj_in: hidden state -> token embedding, and along `marks` place, its square, log weight.
    scale = features.std(0)
    content_fit = ridge(states, tokens @ content, weight + COMMON)
    marks_fit = ridge(states, (features - features.mean(0)) / scale @ marks, torch.ones_like(weight))
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
    to_q, keys = torch.zeros(2, width // heads, width, dtype=states.dtype, device=states.device)
    keys[:3] = marks
    to_q[:3] = (slopes * (scale * shrink)[:, None]) @ asks
    keys[3] = -asks.sum(0)
    to_q[3] = MUTE / length * asks.sum(0)
    attention.to_q.weight.copy_((to_q * (width // heads) ** 0.5 / length).repeat(heads, 1))
    attention.to_kv.weight[:width].copy_(keys.repeat(heads, 1))
    qformer.query_tokens[0] = asks * length
    attention.to_out.weight.copy_(content / depth)
    qformer.proj_out.weight.copy_(content)


def ridge(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, in) and bias (out,) of the linear map from x (N, in) to y (N, out)."""
    mean, std = x.mean(0), x.std(0)
    x = torch.cat([(x - mean) / std, torch.ones_like(x[:, :1])], dim=1)
    weighted = x.T * weight / weight.sum()
    penalty = torch.full_like(x[0], RIDGE)
    penalty[-1] = 0  # not on the bias
    solved = torch.linalg.solve(weighted @ x + penalty.diag(), weighted @ y)
    matrix = (solved[:-1] / std[:, None]).T
    return matrix, solved[-1] - matrix @ mean
