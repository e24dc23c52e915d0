"""What a recipe trains with: made-up worlds, or a corpus."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from comem_memory.model import Backbone
from comem_memory.synthesis.corpus import read_corpus, usable_samples
from comem_memory.synthesis.drafts import MixedDrafts, WorldDrafts, mixtures
from comem_memory.synthesis.emoji import emoji_of_splits
from comem_memory.synthesis.groups import Mixture
from comem_memory.synthesis.note_drafts import NoteDrafts
from comem_memory.synthesis.notes import NoteMixture
from comem_memory.synthesis.splits import Split
from comem_memory.training.batches import Batch, Batches
from comem_memory.training.corpus_batches import CorpusBatches
from comem_memory.training.draft_batches import DraftBatches
from comem_memory.training.names import country_words, vocabulary_words
from comem_memory.training.recipe import ITEMS, TrainingRecipe

STEPS = 1800
"""On made-up worlds."""
EPOCHS = 3
"""Times through a corpus."""
ASKED = 4
"""Questions about each made-up item, at most."""
DEVELOPMENT_SEED, WARM_START_SEED, PROMPT_SEED = -1, -2, -3
"""A training's own seed is never negative."""
DEVELOPMENT_BATCHES = 16
"""Of made-up items."""
DEVELOPMENT_QUESTIONS = 480
"""Of a corpus, at most."""
TYPICAL = 64
"""Batches of items that token frequencies and the Q-Former's start are taken from."""


class TrainingData(NamedTuple):
    train: Sequence[Batch]
    """As many each optimizer step as the recipe says, here as in the others."""
    development: Sequence[Batch]
    warm_start: Sequence[Batch]
    """Those of the warm start, and then `TYPICAL` ones."""
    prompts: Sequence[Batch]
    """Those with which the reader prompts are trained alone."""


def training_data(backbone: Backbone, recipe: TrainingRecipe) -> TrainingData:
    """The batches of a recipe.

    Raises:
        CorpusError: `recipe.data` is no corpus, or has nothing for a model that takes no pictures.
        DownloadError: Made-up items are to have pictures, and npm is missing or cannot fetch the emoji.
    """
    pictures = recipe.pictures and backbone.prompts.supports_images
    make: Callable[..., Batches]
    if recipe.data is None:
        mixtures_of, notes = _mixtures(backbone, recipe, pictures), _notes(backbone, recipe)

        def make(split: Split, *, seed: int, **others: Any) -> DraftBatches:
            drafts = MixedDrafts(seed, recipe.notes, NoteDrafts(seed, notes), WorldDrafts(seed, mixtures_of))
            return DraftBatches(drafts, split, seed=seed, **others)

        steps, developed = STEPS, DEVELOPMENT_BATCHES
    else:
        make = partial(CorpusBatches, recipe.data, questions=recipe.questions, pictures=pictures)
        samples = len(usable_samples(recipe.data, "train", pictures=pictures))
        steps = math.ceil(EPOCHS * samples / (recipe.questions * recipe.batches))
        asked = min(DEVELOPMENT_QUESTIONS, len(read_corpus(recipe.data, "development")))
        developed = math.ceil(asked / recipe.questions)
    steps = steps if recipe.steps is None else recipe.steps
    batches = recipe.batches
    return TrainingData(
        make(
            "train",
            seed=recipe.seed,
            num_batches=steps * batches,
            max_memories=recipe.max_memories,
            alone=int(recipe.alone * steps) * batches,
            restated_share=recipe.restated,
        ),
        make("development", seed=DEVELOPMENT_SEED, num_batches=developed, max_memories=1),
        make("train", seed=WARM_START_SEED, num_batches=recipe.warm_start_steps * batches + TYPICAL, max_memories=1),
        make(
            "train",
            seed=PROMPT_SEED - recipe.seed,
            num_batches=recipe.prompt_steps * batches,
            max_memories=1,
            restated_share=0.5,
        ),
    )


def _notes(backbone: Backbone, recipe: TrainingRecipe) -> NoteMixture:
    words = vocabulary_words(backbone, but=country_words())
    return NoteMixture(words=words) if recipe.max_facts is None else NoteMixture(recipe.max_facts, words=words)


def _mixtures(backbone: Backbone, recipe: TrainingRecipe, pictures: bool) -> dict[Split, Mixture]:
    """Made-up items in English, half of whose made-up names are words that the model knows."""
    words = vocabulary_words(backbone, but=country_words())
    english = mixtures((), emoji_of_splits() if pictures else None)
    return {
        split: replace(mixture, items=ITEMS, questions=ASKED, words=words, max_facts=recipe.max_facts)
        for split, mixture in english.items()
    }
