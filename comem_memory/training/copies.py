"""A text's content tokens copied into vectors: what a perfect encoder without packing would write.

Content are all tokens but the most frequent ones, which are function words and punctuation in any language; a token
with a digit always counts. Token number c among them belongs to vector c modulo Q, so that a causal model can tell as
it reads; a vector is the sum of its tokens' embeddings over the square root of their number, and a vector without any
is the embedding of the token that ends the turn.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from comem_memory.errors import CorpusError
from comem_memory.model import Backbone

FREQUENT = 0.004
"""Share of all tokens from which on a token without a digit is no content."""


class Copies:
    """Copies texts.

    Args:
        backbone: The frozen model, whose token embeddings are copied.
        texts: Typical items; how often a token occurs in them is how often it occurs.
        vectors: Vectors Q of an item.

    Raises:
        CorpusError: No typical item has a text.
    """

    def __init__(self, backbone: Backbone, texts: Iterable[str], *, vectors: int) -> None:
        self.backbone, self.vectors = backbone, vectors
        self.embeddings = backbone.token_embeddings.float()
        ids = torch.tensor([i for text in texts for i in backbone.prompts.text_ids(text)], dtype=torch.long)
        if not len(ids):
            raise CorpusError("No item has a text to copy from. Add items with texts.")
        counts = torch.bincount(ids, minlength=len(self.embeddings))
        frequent = (counts / counts.sum() > FREQUENT).nonzero().flatten().tolist()
        words = [token for token in frequent if not any(c.isdigit() for c in backbone.decode([token]))]
        self.is_content = torch.ones(len(self.embeddings), dtype=torch.bool)  # (vocabulary,)
        self.is_content[words] = False

    def copy(self, text: str) -> torch.Tensor:
        """The vectors of a text, (Q, H), float32, on the model's device; of a text without content, all its tokens'."""
        ids = self.backbone.prompts.text_ids(text)
        content = [i for i in ids if self.is_content[i]] or ids
        end = self.backbone.prompts.turn_end_ids[:1]
        own = [content[place :: self.vectors] or end for place in range(self.vectors)]
        return torch.stack([self.embeddings[tokens].sum(0) / len(tokens) ** 0.5 for tokens in own])
