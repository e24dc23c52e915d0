"""Which of a text's tokens each vector starts as a copy of.

The frozen model reads its own token embeddings best, so an encoder that copies starts every vector as one: of a content
token, or of several where a text has more of them than there are vectors, the earliest the strongest. What copies
cannot hold (the words between, the order within a vector, a picture) LoRA and Q-Former learn as a correction that is
added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from comem_memory.model import Backbone

WEIGHT = 0.5
"""Of a vector's token, of that of the token before it."""


class CopiedTokens:
    """Divides a text's tokens among Q vectors.

    Content tokens in turn: number c belongs to vector c modulo Q. Where there are fewer than Q, the least frequent
    function tokens fill up, each with a vector of its own, in the text's order; what is left copies the empty token.

    Args:
        function_tokens: Ids of the tokens that tell little, the most frequent first.
        vectors: Vectors Q of an item.
        empty: Id of the token that a vector without any copies.
    """

    def __init__(self, function_tokens: Sequence[int], *, vectors: int, empty: int) -> None:
        self._rank = {token: len(function_tokens) - rank for rank, token in enumerate(function_tokens)}
        self._vectors, self._empty = vectors, empty

    def of(self, text_ids: Sequence[int]) -> list[list[int]]:
        """The ids that each of the Q vectors copies, at least one.

        Args:
            text_ids: Token ids of the text.
        """
        by_rarity = sorted(range(len(text_ids)), key=lambda at: (self._rank.get(text_ids[at], 0), at))
        content = sum(token not in self._rank for token in text_ids)
        kept = [text_ids[at] for at in sorted(by_rarity[: max(content, self._vectors)])]
        return [kept[vector :: self._vectors] or [self._empty] for vector in range(self._vectors)]


def copies(copied: Sequence[Sequence[Sequence[int]]], backbone: Backbone) -> torch.Tensor:
    """The vectors that the tokens of B items make: the embedding of each vector's first token, half of its second, a
    quarter of its third and so on, over the root of the sum of these weights' squares.

    A frozen model reads one token of such a sum; weights tell it which, where equal ones leave none to be read.

    Args:
        copied: Of each item and vector the ids.
        backbone: The model whose input embeddings are copied.

    Returns:
        (B, Q, H), float32.
    """
    vectors = [vector for item in copied for vector in item]
    ids = torch.tensor([token for vector in vectors for token in vector])
    weights = torch.cat([_weights(len(vector)) for vector in vectors])  # (n,)
    owner = torch.repeat_interleave(torch.tensor([len(vector) for vector in vectors]))
    with torch.no_grad():
        rows = backbone.model.get_input_embeddings()(ids.to(backbone.device)).float()  # (n, H)
    sums = rows.new_zeros(len(vectors), rows.shape[1])
    sums.index_add_(0, owner.to(rows.device), rows * weights.to(rows)[:, None])
    return sums.unflatten(0, (len(copied), -1))


def _weights(tokens: int) -> torch.Tensor:
    weights = WEIGHT ** torch.arange(tokens)
    return weights / weights.norm()
