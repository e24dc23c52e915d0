"""The retrieval key of the authors' agents (arXiv 2510.09038)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from comem_memory.errors import ModelError
from comem_memory.retrieval.embedders import Embedder
from comem_memory.retrieval.keys import RetrievalKey
from comem_memory.retrieval.sentence_transformer import SentenceTransformerEmbedder


class ConcatenatedKey(RetrievalKey):
    """A CLIP model's features of text and picture beside each other, and only the whole made of unit length.

    As in `CLIPMultimodalSimilarity` and `Memory` of the agents' code, with CLIP ViT-B/32. Items and questions have the
    same kind of key, [T ; I] / |[T ; I]| with zeros for a missing part, and the score is the cosine, -1 to 1. So the
    part with the longer features counts more, and an item with a part that a question lacks scores lower. Of a text
    the model reads what fits its window, 77 tokens of CLIP.

    Args:
        name_or_path: Hub name or folder of a model that embeds texts and pictures.

    Raises:
        ModelError: There is no such model, or it takes no pictures.
    """

    def __init__(self, name_or_path: str | Path) -> None:
        self._texts = SentenceTransformerEmbedder(name_or_path)
        pictures = self._texts.for_images()
        if pictures is None:
            raise ModelError(f"{name_or_path} embeds no pictures. Pass a CLIP model, as openai/clip-vit-base-patch32.")
        self._pictures = pictures
        super().__init__(self._texts, pictures)

    @property
    def name(self) -> str:
        return f"concatenated {self._texts.name} + {self._pictures.name}"

    def query_key(self, text: str | None = None, image: Image.Image | None = None, **_: Any) -> np.ndarray:
        """As `RetrievalKey.query_key`, with fixed shares."""
        return super().query_key(text, image)

    def _joined(self, text: np.ndarray, image: np.ndarray) -> np.ndarray:
        both = np.concatenate([text, image], axis=1)
        return both / np.linalg.norm(both, axis=1, keepdims=True)

    def _query(self, text: np.ndarray, image: np.ndarray, share: float) -> np.ndarray:
        return self._joined(text[None], image[None])[0]

    def _embed(self, embedder: Embedder, inputs: Sequence[Any], asked: bool) -> np.ndarray:
        """Rows of the length that the model gives them."""
        return (self._texts if embedder is self.text else self._pictures).features(inputs)
