"""Training a memory encoder: a recipe, what it trains with, its warm start, its trainers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comem_memory.lazy import lazily

if TYPE_CHECKING:
    from comem_memory.training.batches import Batch, Batches, Item, TrainingQuestion
    from comem_memory.training.corpus_batches import CorpusBatches
    from comem_memory.training.data import training_data
    from comem_memory.training.draft_batches import DraftBatches
    from comem_memory.training.memory_trainer import MemoryTrainer
    from comem_memory.training.projector import train_projector
    from comem_memory.training.recipe import TrainingRecipe
    from comem_memory.training.train import train_encoder
    from comem_memory.training.trainer import training_arguments

_HOME = {
    "Batch": "batches",
    "Batches": "batches",
    "CorpusBatches": "corpus_batches",
    "DraftBatches": "draft_batches",
    "Item": "batches",
    "MemoryTrainer": "memory_trainer",
    "TrainingQuestion": "batches",
    "TrainingRecipe": "recipe",
    "train_encoder": "train",
    "train_projector": "projector",
    "training_arguments": "trainer",
    "training_data": "data",
}

__all__ = [
    "Batch",
    "Batches",
    "CorpusBatches",
    "DraftBatches",
    "Item",
    "MemoryTrainer",
    "TrainingQuestion",
    "TrainingRecipe",
    "train_encoder",
    "train_projector",
    "training_arguments",
    "training_data",
]


__getattr__ = lazily(__name__, _HOME)  # a recipe needs no torch, and batches need Faker, which is optional
