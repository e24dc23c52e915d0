"""Seeded stand-ins for tests, ours and yours: tiny random models, and embedders that load nothing."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from comem_memory.encoder import MemoryEncoder
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Backbone
from comem_memory.retrieval import RetrievalKey
from comem_memory.store import ChromaStore, identity_of
from comem_memory.testing.tiny_models import Family, seeded, tiny_backbone


def tiny_encoder(backbone: Backbone, *, seed: int = 0) -> MemoryEncoder:
    """A memory encoder whose LoRA and Q-Former are random, so that every weight matters."""
    with seeded(seed), torch.no_grad():
        encoder = MemoryEncoder.create(backbone, num_attention_heads=4, max_length=512)
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
            elif name.startswith("qformer"):
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return encoder


def tiny_memory(persist_directory: Path | None = None, *, family: Family = "llava") -> ContinuousMemory:
    """A memory with a tiny encoder and `tiny_key`.

    Args:
        persist_directory: Where to keep it; by default it lives as long as the object.
        family: Of which of `FAMILIES` its model is.
    """
    encoder, key = tiny_encoder(tiny_backbone(family)), tiny_key()
    identity = identity_of(encoder, key)
    if persist_directory is None:
        return ContinuousMemory(encoder, key, ChromaStore.in_memory(identity=identity))
    store = ChromaStore.embedded(persist_directory, identity=identity)
    return ContinuousMemory(encoder, key, store, picture_directory=persist_directory / "pictures")


def tiny_picture(seed: int = 0, *, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture of 8 x 8 random colours, `size` pixels (width, height) large."""
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)


def tiny_sound(seed: int = 0, *, seconds: float = 0.5, rate: int = 8000) -> bytes:
    """A WAV file of a chord of three random tones."""
    pitches = np.random.default_rng(seed).uniform(200, 3000, (3, 1))
    wave_form = np.sin(2 * np.pi * pitches * np.arange(int(seconds * rate)) / rate).mean(axis=0)
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes((wave_form * 32767).astype("<i2").tobytes())
    return file.getvalue()


class LetterEmbedder:
    """Texts by the counts of their letter pairs, so that similar spelling is close."""

    name = "letters"
    dimension = 128

    def embed(self, inputs: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(inputs), self.dimension), np.float32)
        for row, text in enumerate(inputs):
            lowered = text.lower()
            for a, b in zip(lowered, f"{lowered} "[1:], strict=True):
                vectors[row, (ord(a) * 31 + ord(b)) % self.dimension] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


class ColourEmbedder:
    """Pictures by their colours on a coarse grid."""

    name = "colours"
    dimension = 48

    def embed(self, inputs: Sequence[Image.Image]) -> np.ndarray:
        grids = [np.asarray(image.convert("RGB").resize((4, 4)), np.float32).ravel() - 127.5 for image in inputs]
        vectors = np.stack(grids) if grids else np.zeros((0, self.dimension), np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def tiny_key() -> RetrievalKey:
    """A retrieval key of both embedders."""
    return RetrievalKey(LetterEmbedder(), ColourEmbedder())
