"""For tests, ours and yours: tiny random models of every family, and embedders that load nothing."""

from comem_memory.testing.stand_ins import (
    ColourEmbedder,
    LetterEmbedder,
    tiny_encoder,
    tiny_key,
    tiny_memory,
    tiny_picture,
    tiny_sound,
)
from comem_memory.testing.tiny_models import FAMILIES, HEARING, HIDDEN_SIZE, SPECIAL, Family, tiny_backbone

__all__ = [
    "FAMILIES",
    "HEARING",
    "HIDDEN_SIZE",
    "SPECIAL",
    "ColourEmbedder",
    "Family",
    "LetterEmbedder",
    "tiny_backbone",
    "tiny_encoder",
    "tiny_key",
    "tiny_memory",
    "tiny_picture",
    "tiny_sound",
]
