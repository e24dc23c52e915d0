"""Texts, and pictures where the model takes them, by a sentence-transformers, CLIP or SigLIP model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from comem_memory.errors import ModelError
from comem_memory.files import load_image
from comem_memory.model import torch_defaults
from comem_memory.retrieval.embedders import TorchEmbedder

TWO_TOWERS = ("clip", "siglip")
"""Kinds of transformers' models that embed texts and pictures alike."""
OVERLAP = 1 / 8
"""Share of a window that the next one begins with again, so that no sentence is read only in halves."""


@dataclass(frozen=True)
class Window:
    """A part of a text that the model reads whole.

    Args:
        vector: (dimension,) of unit length.
        tokens: (tokens, D) last hidden states, from the prompt to the end; the first token is left out.
    """

    vector: torch.Tensor
    tokens: torch.Tensor


class SentenceTransformerEmbedder(TorchEmbedder):
    """Texts, or with `for_images` pictures, by a model that sentence-transformers loads.

    A text that is longer than the model's window is read in windows of that length, spread evenly over all of it and
    overlapping by at least `OVERLAP`; its vector is the mean of theirs. So all of it counts, each sentence the less,
    the more there is beside it: what is asked about one sentence finds short items best.

    A model that declares prompts for questions (`query`) or for what is found (`document`, `passage`, `corpus`) gets
    them.

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
                model.max_seq_length = config.text_config.max_position_embeddings
                return model
            found = f"it is a {config.model_type} model without modules.json."
        except (OSError, ValueError) as error:
            found = str(error)
        raise ModelError(
            f"The model {self._source!r} cannot make retrieval keys: {found} Pass the hub name or folder of a "
            "sentence-transformers, CLIP or SigLIP model."
        )

    @cached_property
    def name(self) -> str:
        usual, prompts = self._prompt(), (self._query_prompt, self._item_prompt)
        if isinstance(self._probe, Image.Image) or prompts == (usual, usual):
            return super().name
        return f"{super().name} {hashlib.sha256(repr(prompts).encode()).hexdigest()[:8]}"

    @property
    def _query_prompt(self) -> str:
        return self._prompt("query")

    @property
    def _item_prompt(self) -> str:
        return self._prompt("document", "passage", "corpus")

    def _prompt(self, *names: str) -> str:
        """The first of these prompts that the model declares; else the one that it puts before everything, if any."""
        model: Any = self._model
        return next((model.prompts[one] for one in (*names, model.default_prompt_name) if model.prompts.get(one)), "")

    def embed_queries(self, inputs: Sequence[Any]) -> np.ndarray:
        """n questions, texts or PIL images -> (n, dimension) float32, rows of unit length."""
        return self._embed(inputs, lambda some: self._encoded(some, "encode_query", self._query_prompt))

    def read(self, texts: Sequence[str], *, asked: bool = False) -> list[list[Window]]:
        """Each of n texts by its windows, float32 on the CPU; with `asked`, as questions."""
        model: Any = self._model
        prompt = self._query_prompt if asked else self._item_prompt
        windows = [self._windows(text, prompt) for text in texts]
        every = [window for some in windows for window in some]
        with self._lock, torch_defaults(), torch.inference_mode():
            encoded = model.encode(every, prompt=prompt, output_value=None, batch_size=16, show_progress_bar=False)
        read = iter(
            Window(
                nn.functional.normalize(one["sentence_embedding"].float().cpu(), dim=0),
                one["token_embeddings"][one["attention_mask"].bool()][1:].float().cpu(),
            )
            for one in encoded
        )
        return [[next(read) for _ in some] for some in windows]

    def features(self, inputs: Sequence[Any]) -> np.ndarray:
        """n texts, without prompts and cut at the model's window, or n PIL images -> (n, dimension) float32, of the
        length that the model gives them."""
        model: Any = self._model
        if isinstance(self._probe, Image.Image):
            inputs = [load_image(one) for one in inputs]
        with self._lock, torch_defaults(), torch.inference_mode():
            vectors: torch.Tensor = model.encode(inputs, prompt="", convert_to_tensor=True, show_progress_bar=False)
        return vectors.float().cpu().numpy()

    def _vectors(self, inputs: Sequence[Any]) -> torch.Tensor:
        return self._encoded(inputs, "encode_document", self._item_prompt)

    def _encoded(self, inputs: Sequence[Any], method: str, prompt: str) -> torch.Tensor:
        model: Any = self._model
        settings: dict[str, Any] = {"convert_to_tensor": True, "show_progress_bar": False}
        if isinstance(self._probe, Image.Image):
            pictures: torch.Tensor = model.encode([load_image(one) for one in inputs], **settings)
            return pictures
        windows = [self._windows(text, prompt) for text in inputs]
        encode = getattr(model, method)
        vectors = encode([window for some in windows for window in some], prompt=prompt, **settings)
        parts = nn.functional.normalize(vectors.float(), dim=1).split([len(some) for some in windows])
        return torch.stack([part.mean(dim=0) for part in parts])

    def _windows(self, text: str, prompt: str) -> list[str]:
        """Overlapping parts of a text, each of which the model reads whole."""
        model: Any = self._model
        tokenizer = model.tokenizer
        if model.max_seq_length is None or not getattr(tokenizer, "is_fast", False):  # reads without limit, or not told
            return [text]
        size = model.max_seq_length - len(tokenizer(prompt)["input_ids"])
        places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        if len(places) <= size:
            return [text]
        count = 1 + math.ceil((len(places) - size) / (size * (1 - OVERLAP)))
        begins = np.linspace(0, len(places) - size, count).astype(int)
        return [text[places[begin][0] : places[begin + size - 1][1]] for begin in begins]


def _text_settings(config: PretrainedConfig) -> dict[str, Any]:
    """How such a model reads texts: cut at its window, which its tokenizer need not name, and SigLIP's padded to it.

    SigLIP was trained on padded texts and gives other vectors for shorter ones.
    """
    padding = "max_length" if config.model_type == "siglip" else True
    return {"padding": padding, "truncation": True, "max_length": config.text_config.max_position_embeddings}
