"""Retrieval keys: embeddings of an item's text and image, joined into the one vector that searches compare.

Legend: n inputs, D numbers in a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from comem_memory.errors import InvalidItemError, QueryError
from comem_memory.retrieval.embedders import Embedder, embed_questions


class RetrievalKey:
    """An embedding of the text beside one of the image, such that one inner product compares both.

    With w = `text_weight`, unit vectors t and i, and zeros for a missing part:

    | vector | value | score: inner product with an item's key, -1 to 1 |
    |---|---|---|
    | key of an item | [sqrt(w) t ; sqrt(1 - w) i] | |
    | query, both parts | [s / sqrt(w) t ; (1 - s) / sqrt(1 - w) i] | s cos(texts) + (1 - s) cos(images) |
    | query, a text | the same with s = 1 | cos(texts); 0 for an item without text |
    | query, an image | the same with s = 0 | cos(images); 0 for an item without image |

    The share s is `text_weight`, unless `query_key` is shown how well each part does alone: "What is the
    capital of Aruba?" is settled by its text, "What is the capital of the country with this flag?" by its
    image, and no fixed share serves both. An item that lacks one part scores as if that cosine were 0; so the cosine
    of two inputs that have nothing in common should be about 0, as with the embedders of the keys that come with this
    package. Of a text's length, a key takes in what its embedder does: all of it, with `SentenceTransformerEmbedder`.

    Args:
        text: Embeds texts; without it, items are found by image only.
        image: Embeds images; without it, items are found by text only.
        text_weight: The w of the table, between 0 and 1, both excluded.
        min_similarity: Of a question in words with an item that answers it; what is less similar is not about it.
            `benchmarks/min_similarity.py` measures it; `None` where nobody has.
    """

    def __init__(
        self,
        text: Embedder | None = None,
        image: Embedder | None = None,
        *,
        text_weight: float = 0.5,
        min_similarity: float | None = None,
    ) -> None:
        if text is None and image is None:
            raise ValueError("A RetrievalKey has neither text nor image embedder. Pass one, or both.")
        if not 0 < text_weight < 1:
            raise ValueError(f"text_weight is {text_weight}. Pass a number between 0 and 1, both excluded.")
        self.text, self.image, self.text_weight = text, image, text_weight
        self.min_similarity = min_similarity

    @property
    def name(self) -> str:
        """Embedders and weight: keys of another name are not comparable."""
        if self.text is None or self.image is None:
            return _only(self.text or self.image).name
        return f"{self.text_weight:g} {self.text.name} + {1 - self.text_weight:g} {self.image.name}"

    @property
    def dimension(self) -> int:
        """Numbers in a key."""
        return sum(embedder.dimension for embedder in (self.text, self.image) if embedder is not None)

    def item_keys(
        self,
        texts: Sequence[str | None],
        images: Sequence[Image.Image | None],
        ids: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Keys to store.

        Args:
            texts: One per item; `None` or blank where it has none.
            images: One per item; `None` where it has none.
            ids: One per item, by which errors name it; by default its place.

        Returns:
            (n, D), float32.

        Raises:
            InvalidItemError: An item could never be found, because it has nothing that these embedders embed.
        """
        text, image = self._parts(texts, images)
        lost = [n for n in range(len(texts)) if not (text[n].any() or image[n].any())]
        if lost:
            name = f"{lost[0]} of {len(texts)}" if ids is None else repr(ids[lost[0]])
            raise InvalidItemError(
                f"Item {name} has nothing to be found by: {self._embeds()}. "
                "Add that part to the item, or give the memory a RetrievalKey with both embedders."
            )
        return self._joined(text, image)

    def passage_keys(self, passages: Sequence[str]) -> np.ndarray:
        """What tells the passages of an item apart: (n, text dimension), float32; without a text embedder (n, 0)."""
        return self._embed_present(self.text, passages, asked=False)

    def query_key(
        self,
        text: str | None = None,
        image: Image.Image | None = None,
        *,
        best: Callable[[np.ndarray], Sequence[float]] | None = None,
    ) -> np.ndarray:
        """The vector to search with; a part without embedder is ignored if there is another.

        Args:
            text: A question or description.
            image: A picture.
            best: Takes a (D,) key, returns the similarities of the `PROBE` nearest items, best first; asked
                once a part when there are two. Shares then grow with the square of how far the part's first
                item stands out from the others.

        Returns:
            (D,), float32.

        Raises:
            QueryError: Nothing to search for, or only what these embedders do not embed.
        """
        [t], [i] = self._parts([text], [image], asked=True)
        if not (t.any() or i.any()):
            raise QueryError(f"There is nothing to search for: {self._embeds()}. Pass another text or image.")
        if not t.any():
            return self._query(t, i, 0.0)
        if not i.any():
            return self._query(t, i, 1.0)
        share = self.text_weight
        if best is not None:
            by_text = _standing_out(best(self._query(t, i, 1.0)))
            by_image = _standing_out(best(self._query(t, i, 0.0)))
            if by_text or by_image:
                share = by_text**2 / (by_text**2 + by_image**2)
        return self._query(t, i, share)

    def of_texts(self, asked: np.ndarray, key: np.ndarray) -> float:
        """What the texts give to the similarity of a question's vector and an item's key, (D,) each.

        Pictures give the rest; where the question has one part alone, that part gives all of it.
        """
        words = 0 if self.text is None else self.text.dimension
        return float(np.dot(asked[:words], key[:words]))

    def _joined(self, text: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Keys of items, (n, D), from both parts of each."""
        text_scale, image_scale = self._scales
        return np.concatenate([text_scale * text, image_scale * image], axis=1)

    def _query(self, text: np.ndarray, image: np.ndarray, share: float) -> np.ndarray:
        text_scale, image_scale = self._scales
        return np.concatenate([share / text_scale * text, (1 - share) / image_scale * image])

    @property
    def _scales(self) -> tuple[float, float]:
        """Lengths of the two parts of an item's key."""
        if self.text is None or self.image is None:
            return 1.0, 1.0
        return self.text_weight**0.5, (1 - self.text_weight) ** 0.5

    def _parts(
        self, texts: Sequence[str | None], images: Sequence[Image.Image | None], *, asked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n, text dimension) and (n, image dimension) of items, or of what is `asked`: unit rows, or zeros."""
        present = [text if text and text.strip() else None for text in texts]
        return self._embed_present(self.text, present, asked), self._embed_present(self.image, images, asked)

    def _embed_present(self, embedder: Embedder | None, inputs: Sequence[Any], asked: bool) -> np.ndarray:
        if embedder is None:
            return np.zeros((len(inputs), 0), np.float32)
        rows = [row for row, value in enumerate(inputs) if value is not None]
        embeddings = np.zeros((len(inputs), embedder.dimension), np.float32)
        if rows:
            embeddings[rows] = self._embed(embedder, [inputs[row] for row in rows], asked)
        return embeddings

    def _embed(self, embedder: Embedder, inputs: Sequence[Any], asked: bool) -> np.ndarray:
        return embed_questions(embedder, inputs) if asked else embedder.embed(inputs)

    def _embeds(self) -> str:
        if self.text is None:
            return "this memory's key embeds images only"
        return "this memory's key embeds texts only" if self.image is None else "text and image are empty"


PROBE = 20
"""Items whose similarities say how far the first stands out; of 5, 10, 20 the best on two artists' emoji."""


def _standing_out(similarities: Sequence[float]) -> float:
    """How far the first similarity lies above the mean of the others; 0 where there is no other."""
    first, *others = similarities[:PROBE] or [0.0]
    return first - sum(others) / len(others) if others else 0.0


def _only(embedder: Embedder | None) -> Embedder:
    assert embedder is not None  # RetrievalKey has at least one
    return embedder
