"""Which of a text's tokens each vector starts as a copy of.

The frozen model reads its own token embeddings best, so an encoder that copies starts every vector as one: of a content
token, or of several where a text has more of them than there are vectors. What copies cannot hold (the words between,
the order within a vector, a picture) LoRA and Q-Former learn as a correction that is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from comem_memory.model import Backbone


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
    """The vectors that the tokens of B items make: the sum of their embeddings over the square root of their number.

    Args:
        copied: Of each item and vector the ids.
        backbone: The model whose input embeddings are copied.

    Returns:
        (B, Q, H), float32.
    """
    ids = torch.tensor([token for item in copied for vector in item for token in vector])
    sizes = torch.tensor([len(vector) for item in copied for vector in item])
    with torch.no_grad():
        rows = backbone.model.get_input_embeddings()(ids.to(backbone.device)).float()  # (n, H)
    owner = torch.repeat_interleave(sizes).to(rows.device)
    sums = rows.new_zeros(len(sizes), rows.shape[1]).index_add_(0, owner, rows)
    return (sums / sizes.to(rows)[:, None].sqrt()).unflatten(0, (len(copied), -1))
