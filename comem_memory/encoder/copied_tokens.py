"""Which of a text's tokens each vector starts as a copy of.

The frozen model reads its own token embeddings best, so an encoder that copies starts every vector as one: of a content
token, or of several where a text has more of them than there are vectors, the earliest the strongest. What copies
cannot hold (the words between, the order within a vector, a picture) LoRA and Q-Former learn as a correction that is
added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from comem_memory.model import Backbone

WEIGHT = 0.5
"""Of a vector's token, of that of the token before it."""
SHORTEST = 3
"""Letters of a word that is copied once: shorter ones are often part of a code."""


class CopiedTokens:
    """Divides a text's tokens among Q vectors.

    Content tokens in turn: number c belongs to vector c modulo Q. Where there are more than Q, words that come again
    are left out first, but for numbers and the parts of codes. Where there are fewer, the least frequent function
    tokens fill up, each with a vector of its own, in the text's order; what is left copies the empty token.

    Args:
        function_tokens: Ids of the tokens that tell little, the most frequent first.
        vectors: Vectors Q of an item.
        empty: Id of the token that a vector without any copies.
        spell: What a token stands for, with the space before it; without it, words that come again are copied again.
    """

    def __init__(
        self, function_tokens: Sequence[int], *, vectors: int, empty: int, spell: Callable[[int], str] | None = None
    ) -> None:
        self._rank = {token: len(function_tokens) - rank for rank, token in enumerate(function_tokens)}
        self._vectors, self._empty, self._spell = vectors, empty, spell

    def of(self, text_ids: Sequence[int]) -> list[list[int]]:
        """The ids that each of the Q vectors copies, at least one.

        Args:
            text_ids: Token ids of the text.
        """
        content = [at for at, token in enumerate(text_ids) if token not in self._rank]
        if len(content) > self._vectors:
            places = content if self._spell is None else self._said_once(_words(text_ids, self._spell), content)
        else:
            by_rarity = sorted(range(len(text_ids)), key=lambda at: (self._rank.get(text_ids[at], 0), at))
            places = sorted(by_rarity[: self._vectors])
        kept = [text_ids[at] for at in places]
        return [kept[vector :: self._vectors] or [self._empty] for vector in range(self._vectors)]

    def _said_once(self, words: Iterable[tuple[str, list[int]]], content: Sequence[int]) -> list[int]:
        """Where the content tokens are, without words that come again, until there is a vector for each.

        A name such as Pago Pago keeps both.
        """
        kept, last = set(content), dict[str, int]()
        for word, places in words:
            follows_itself = last.get(word) == places[0] - 1
            if word in last and not follows_itself and len(kept) > self._vectors:
                kept -= set(places)
            last[word] = places[-1]
        return sorted(kept)


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


def _words(text_ids: Sequence[int], spell: Callable[[int], str]) -> Iterator[tuple[str, list[int]]]:
    """Words of `SHORTEST` letters or more, and where their tokens are."""
    word, places = "", list[int]()
    for at, part in enumerate([*map(spell, text_ids), ""]):
        if word[-1:].isalpha() and part[:1].isalpha():
            word, places = word + part, [*places, at]
            continue
        if sum(map(str.isalpha, word)) >= SHORTEST:
            yield word.strip(), places
        word, places = part, [at]
