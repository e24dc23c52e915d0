"""Texts, and pictures where the model takes them, by a sentence-transformers, CLIP or SigLIP model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from comem_memory.errors import ModelError
from comem_memory.files import load_image
from comem_memory.retrieval.embedders import TorchEmbedder

TWO_TOWERS = ("clip", "siglip")
"""Kinds of transformers' models that embed texts and pictures alike."""


class SentenceTransformerEmbedder(TorchEmbedder):
    """Texts, or with `for_images` pictures, by a model that sentence-transformers loads.

    Args:
        name_or_path: Hub name or folder of a sentence-transformers model, or of a CLIP or SigLIP model as transformers
            saves it. It is loaded when it is first needed.

    Raises:
        ModelError: When it is loaded: there is no such model, or it is neither of these.
    """

    _family = "sentence-transformers"
    _probe: Any = "text"

    def __init__(self, name_or_path: str | Path) -> None:
        super().__init__()
        self._source = str(name_or_path)

    def for_images(self) -> SentenceTransformerEmbedder | None:
        """An embedder of pictures by the same model, whose weights both use; `None` if the model takes texts only."""
        model: Any = self._model
        if not model.supports("image"):
            return None
        images = SentenceTransformerEmbedder(self._source)
        images._model, images._lock = self._model, self._lock
        images._family, images._probe = "sentence-transformers images", Image.new("RGB", (32, 32))
        return images

    def _load(self) -> nn.Module:
        from sentence_transformers import SentenceTransformer  # slow to import
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.util import is_sentence_transformer_model

        model: nn.Module
        try:
            if is_sentence_transformer_model(self._source):
                model = SentenceTransformer(self._source)
                return model
            config = AutoConfig.from_pretrained(self._source)
            if config.model_type in TWO_TOWERS:
                towers = Transformer(self._source, processing_kwargs={"text": _text_settings(config)})
                model = SentenceTransformer(modules=[towers])
                return model
            found = f"it is a {config.model_type} model without modules.json."
        except (OSError, ValueError) as error:
            found = str(error)
        raise ModelError(
            f"The model {self._source!r} cannot make retrieval keys: {found} Pass the hub name or folder of a "
            "sentence-transformers, CLIP or SigLIP model."
        )

    def _vectors(self, inputs: Sequence[Any]) -> torch.Tensor:
        model: Any = self._model
        opened = [load_image(one) if isinstance(one, Image.Image) else one for one in inputs]
        vectors: torch.Tensor = model.encode(opened, convert_to_tensor=True, show_progress_bar=False)
        return vectors


def _text_settings(config: PretrainedConfig) -> dict[str, Any]:
    """How such a model reads texts: cut at its window, which its tokenizer need not name, and SigLIP's padded to it.

    SigLIP was trained on padded texts and gives other vectors for shorter ones.
    """
    padding = "max_length" if config.model_type == "siglip" else True
    return {"padding": padding, "truncation": True, "max_length": config.text_config.max_position_embeddings}
