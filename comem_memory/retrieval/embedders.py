"""What an embedder is, and what those of torch have in common. Legend: n inputs."""

from __future__ import annotations

import hashlib
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from comem_memory.model import torch_defaults
from comem_memory.process_bound import ProcessBound


class Embedder(Protocol):
    """Texts or images to vectors whose inner product says how alike they are: about 0 for what has nothing in common.

    One that embeds questions differently from what they ask for is a `QueryEmbedder` too.
    """

    @property
    def name(self) -> str:
        """Changes whenever vectors would no longer be comparable: model, weights, prompts."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    def embed(self, inputs: Sequence[Any]) -> np.ndarray:
        """n texts, or n PIL images -> (n, dimension) float32, rows of unit length."""


@runtime_checkable
class QueryEmbedder(Protocol):
    """What an embedder has that embeds questions in another way than items."""

    def embed_queries(self, inputs: Sequence[Any]) -> np.ndarray:
        """n questions -> (n, dimension) float32, rows of unit length, to compare with what `embed` gives."""


def embed_questions(embedder: Embedder, questions: Sequence[Any]) -> np.ndarray:
    """n questions -> (n, dimension), in their own way where the embedder has one."""
    return embedder.embed_queries(questions) if isinstance(embedder, QueryEmbedder) else embedder.embed(questions)


class TorchEmbedder(ProcessBound):
    """A model that is loaded when it is first needed and used by one thread at a time."""

    _family: str
    _probe: Any  # any valid input

    def __init__(self) -> None:
        self._lock = threading.RLock()  # tokenizers do not allow two threads

    def _not_pickled(self) -> str:
        return (
            "An embedder cannot be pickled: its model belongs to this process. Send the name or folder of the model, "
            "and make the embedder there."
        )

    @abstractmethod
    def _load(self) -> nn.Module: ...

    @abstractmethod
    def _vectors(self, inputs: Sequence[Any]) -> torch.Tensor:
        """(n, dimension), of any length."""

    @cached_property
    def _model(self) -> nn.Module:
        with self._lock, torch_defaults():
            return self._load().eval()

    @cached_property
    def name(self) -> str:
        with self._lock:
            return f"{self._family} {_fingerprint(self._model)}"

    @cached_property
    def dimension(self) -> int:
        return int(self.embed([self._probe]).shape[1])

    def embed(self, inputs: Sequence[Any]) -> np.ndarray:
        return self._embed(inputs, self._vectors)

    def _embed(self, inputs: Sequence[Any], vectors_of: Callable[[Sequence[Any]], torch.Tensor]) -> np.ndarray:
        batches = []
        with self._lock, torch_defaults(), torch.inference_mode():
            for start in range(0, len(inputs), 16):
                vectors = vectors_of(inputs[start : start + 16]).float().cpu()
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
