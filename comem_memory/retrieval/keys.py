"""Retrieval keys: embeddings of an item's text and image, joined into the one vector that searches compare.

Legend: n inputs, D numbers in a key. Anything with the three members of `Embedder` can take the place of the
embedders here.
"""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from comem_memory.errors import InvalidItemError, QueryError
from comem_memory.files.images import load_image
from comem_memory.retrieval.efficientnet import (
    IMAGE_MEAN,
    IMAGE_SIZE,
    IMAGE_STD,
    EfficientNetLite0,
    EfficientNetLite0Config,
)


class Embedder(Protocol):
    """Texts or images to vectors whose inner product says how alike they are."""

    @property
    def name(self) -> str:
        """Changes whenever the vectors would: model, weights, preprocessing."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    def embed(self, inputs: Sequence[Any]) -> np.ndarray:
        """n texts, or n PIL images -> (n, dimension) float32, rows of unit length."""


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
    image, and no fixed share serves both. An item that lacks one part scores as if that cosine were 0.

    Args:
        text: Embeds texts; without it, items are found by image only.
        image: Embeds images; without it, items are found by text only.
        text_weight: W, between 0 and 1, both excluded.
    """

    def __init__(
        self, text: Embedder | None = None, image: Embedder | None = None, *, text_weight: float = 0.5
    ) -> None:
        if text is None and image is None:
            raise ValueError("A RetrievalKey has neither text nor image embedder. Pass one, or both.")
        if not 0 < text_weight < 1:
            raise ValueError(f"text_weight is {text_weight}. Pass a number between 0 and 1, both excluded.")
        self.text, self.image, self.text_weight = text, image, text_weight

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

    def item_keys(self, texts: Sequence[str | None], images: Sequence[Image.Image | None]) -> np.ndarray:
        """Keys to store.

        Args:
            texts: One per item; `None` or blank where it has none.
            images: One per item; `None` where it has none.

        Returns:
            (n, D), float32.

        Raises:
            InvalidItemError: An item could never be found, because it has nothing that these embedders embed.
        """
        text, image = self._parts(texts, images)
        lost = [n for n in range(len(texts)) if not (text[n].any() or image[n].any())]
        if lost:
            raise InvalidItemError(
                f"Item {lost[0]} of {len(texts)} has nothing to be found by: {self._embeds()}. "
                "Add that part to the item, or give the memory a RetrievalKey with both embedders."
            )
        text_scale, image_scale = self._scales
        return np.concatenate([text_scale * text, image_scale * image], axis=1)

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
        [t], [i] = self._parts([text], [image])
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
        self, texts: Sequence[str | None], images: Sequence[Image.Image | None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n, text dimension) and (n, image dimension): unit rows, or zeros."""
        present = [text if text and text.strip() else None for text in texts]
        return _embed_present(self.text, present), _embed_present(self.image, images)

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


def _embed_present(embedder: Embedder | None, inputs: Sequence[Any]) -> np.ndarray:
    if embedder is None:
        return np.zeros((len(inputs), 0), np.float32)
    rows = [row for row, value in enumerate(inputs) if value is not None]
    embeddings = np.zeros((len(inputs), embedder.dimension), np.float32)
    if rows:
        embeddings[rows] = embedder.embed([inputs[row] for row in rows])
    return embeddings


class _TorchEmbedder(ABC):
    """A model that is loaded when it is first needed and used by one thread at a time."""

    _family: str
    _probe: Any  # any valid input

    def __init__(self) -> None:
        self._lock = threading.RLock()  # tokenizers do not allow two threads

    @abstractmethod
    def _load(self) -> nn.Module: ...

    @abstractmethod
    def _vectors(self, inputs: Sequence[Any]) -> torch.Tensor:
        """(n, dimension), of any length."""

    @cached_property
    def _model(self) -> nn.Module:
        with self._lock:
            return self._load().eval()

    @cached_property
    def name(self) -> str:
        with self._lock:
            return f"{self._family} {_fingerprint(self._model)}"

    @cached_property
    def dimension(self) -> int:
        return int(self.embed([self._probe]).shape[1])

    def embed(self, inputs: Sequence[Any]) -> np.ndarray:
        batches = []
        with self._lock, torch.inference_mode():
            for start in range(0, len(inputs), 16):
                vectors = self._vectors(inputs[start : start + 16]).float().cpu()
                batches.append(nn.functional.normalize(vectors, dim=1))
        return torch.cat(batches).numpy() if batches else np.zeros((0, self.dimension), np.float32)


def _fingerprint(model: nn.Module) -> str:
    """12 hexadecimal digits from each tensor's name, shape and up to 64 of its values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.flatten()
        sample = values[:: max(1, len(values) // 64)][:64].cpu().double().numpy()  # MPS has no float64
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + sample.astype("<f8").tobytes())
    return digest.hexdigest()[:12]


class SentenceTransformerEmbedder(_TorchEmbedder):
    """Texts, by a sentence-transformers model, from a folder or the hub."""

    _family, _probe = "sentence-transformers", "text"

    def __init__(self, name_or_path: str | Path) -> None:
        super().__init__()
        self._source = str(name_or_path)

    def _load(self) -> nn.Module:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ImportError(
                "SentenceTransformerEmbedder needs a package that is not installed. "
                "Install it with: pip install sentence-transformers"
            ) from error
        model: nn.Module = SentenceTransformer(self._source)
        return model

    def _vectors(self, inputs: Sequence[str]) -> torch.Tensor:
        model: Any = self._model
        vectors: torch.Tensor = model.encode(list(inputs), convert_to_tensor=True, show_progress_bar=False)
        return vectors


class ClipEmbedder(_TorchEmbedder):
    """Texts or images, by a CLIP or SigLIP model of transformers, from a folder or the hub.

    Two embedders of one model, a text and an image one, share its weights.
    """

    def __init__(self, name_or_path: str | Path, modality: Literal["text", "image"]) -> None:
        super().__init__()
        self._source, self._modality = str(name_or_path), modality
        self._family = f"clip-{modality}"
        self._probe = "text" if modality == "text" else Image.new("RGB", (32, 32))

    def _load(self) -> nn.Module:
        model: nn.Module
        model, self._processor = _clip(self._source)
        return model

    def _vectors(self, inputs: Sequence[Any]) -> torch.Tensor:
        model: Any = self._model
        if self._modality == "text":
            config = model.config
            # SigLIP was trained on texts padded to full length and gives other vectors for shorter ones.
            padding = "max_length" if config.model_type.startswith("siglip") else True
            length = config.text_config.max_position_embeddings
            batch = self._processor(
                text=list(inputs), padding=padding, truncation=True, max_length=length, return_tensors="pt"
            )
            features = model.get_text_features(**batch.to(model.device))
        else:
            batch = self._processor(images=[load_image(image) for image in inputs], return_tensors="pt")
            features = model.get_image_features(**batch.to(model.device))
        vectors: torch.Tensor = getattr(features, "pooler_output", features)  # a tensor before transformers 5
        return vectors


@lru_cache(maxsize=2)
def _clip(source: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoProcessor

    processors: Any = AutoProcessor  # its from_pretrained has no annotations
    return AutoModel.from_pretrained(source), processors.from_pretrained(source)


class EfficientNetEmbedder(_TorchEmbedder):
    """Images, by feature maps of EfficientNet-Lite0: colours and shapes where they are, and what they depict.

    Each block of `_BLOCKS` is pooled over a grid, centred by its mean over many pictures (else cosines
    are near 1) and brought to unit length, so that none dominates. Blocks and mean come from emoji drawn by
    two artists, without flags. Pictures are cropped to what is not transparent and stretched to a square:
    margin and aspect ratio are the artist's choice.

    Args:
        weights: A safetensors file or a state dict with the names of the public checkpoint.
        mean: (D,) float32, as `fit_mean` returns it; by default the one that fits the public checkpoint.
    """

    _probe = Image.new("RGB", (32, 32))

    def __init__(self, weights: str | Path | Mapping[str, torch.Tensor], *, mean: torch.Tensor | None = None) -> None:
        super().__init__()
        self._weights = weights
        self._mean = load_file(_MEAN_FILE)["mean"] if mean is None else mean
        self._family = f"efficientnet-lite0-v1 {hashlib.sha256(self._mean.numpy().tobytes()).hexdigest()[:8]}"

    def _load(self) -> nn.Module:
        weights = self._weights if isinstance(self._weights, Mapping) else load_file(self._weights)
        model = EfficientNetLite0(EfficientNetLite0Config())
        wanted = model.state_dict()
        model.load_state_dict({name: tensor for name, tensor in weights.items() if name in wanted})
        return model

    def _vectors(self, inputs: Sequence[Image.Image]) -> torch.Tensor:
        blocks = torch.split(self._features(inputs) - self._mean, _BLOCK_SIZES, dim=1)
        return torch.cat([nn.functional.normalize(block, dim=1) for block in blocks], dim=1)

    def _features(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(n, D) pooled feature maps, before centring."""
        pixels = torch.stack([_pixels(image) for image in images])
        maps = self._model(pixels).hidden_states
        pooled = []
        for stage, grid, channels in _BLOCKS:
            side = int(maps[stage].shape[1] ** 0.5)
            square = maps[stage].transpose(1, 2).reshape(len(images), channels, side, side)
            pooled.append(nn.functional.adaptive_avg_pool2d(square, grid).flatten(1))
        return torch.cat(pooled, dim=1)

    def fit_mean(self, images: Iterable[Image.Image]) -> torch.Tensor:
        """(D,) float32: the mean feature over pictures of many kinds, not over those to be told apart.

        The one in this package is from 600 pictures each of the npm packages emoji-datasource-google and
        emoji-datasource-twitter (64 pixels, no flags).
        """
        total, count = torch.zeros(sum(_BLOCK_SIZES), dtype=torch.float64), 0
        with self._lock, torch.inference_mode():
            for image in images:
                total += self._features([image])[0]
                count += 1
        return (total / count).float()


_BLOCKS = ((6, 1, 320), (4, 2, 112), (1, 3, 24))
"""(stage, cells a side, channels): what is shown, its parts, its colours; 320 + 448 + 216 = 984 numbers."""
_BLOCK_SIZES = [grid * grid * channels for _, grid, channels in _BLOCKS]
_MEAN_FILE = Path(__file__).parent.parent / "data" / "efficientnet_mean.safetensors"


def _pixels(image: Image.Image) -> torch.Tensor:
    """(3, IMAGE_SIZE, IMAGE_SIZE), normalised as EfficientNet-Lite0 expects."""
    square = load_image(image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    scaled = torch.from_numpy(np.asarray(square, np.float32) / 255)
    return ((scaled - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)).permute(2, 0, 1)
