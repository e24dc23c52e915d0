"""Every setting of a training: default, bounds, and what it does. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from comem_memory.config import Frames, Mode, Settings

ITEMS = 8
"""Made-up items of a batch."""


class TrainingRecipe(Settings):
    """How a memory encoder is trained: the options of `comem train`, each explained by the text under its field.

    Raises:
        pydantic.ValidationError: A setting is out of bounds or unknown, or two do not go together.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    steps: int | None = Field(None, ge=0)
    """Optimizer steps; by default 1800, or 3 times through a corpus; 0 for reader prompts alone."""
    batches: int = Field(1, ge=1)
    """Batches of each optimizer step, 8 made-up items each, which the processes of `accelerate launch` share."""
    warm_start_steps: int = Field(200, ge=1)
    """Steps of the warm start, in which the encoder learns to say what it reads; none with --start."""
    copied: bool | None = None
    """Let vectors begin as copies of the text's tokens, corrected by LoRA and Q-Former; default, or as in --start."""
    reader_tokens: int = Field(8, ge=0)
    """Vectors of each reader prompt, which stands once before what is recalled; none with 0."""
    prompt_steps: int = Field(60, ge=0)
    """Steps in which the reader prompts are trained alone, before the encoder."""
    prompt_rate: float = Field(0.075, gt=0)
    """Learning rate of the reader prompts when trained alone, in standard deviations of the model's embeddings."""
    learning_rate: float = Field(5e-4, gt=0)
    """Learning rate of the LoRA; the Q-Former's is 0.6 of it, the restating prompt's is twice it."""
    max_length: int | None = Field(None, ge=64)
    """Most tokens of an item: longer texts are cut, larger pictures scaled down. By default 512, or as with --start."""
    frames: Frames | None = None
    """Read pictures of one size in a row, such as a clip's frames, as pictures (default) or video; or as in --start."""
    notes: float = Field(0.5, ge=0, le=1)
    """Share of the steps with short notes, lists and random strings instead of made-up items of several facts."""
    restated: float = Field(0.25, ge=0, le=1)
    """Share of the items that are also to be restated whole."""
    pictures: bool = True
    """Let some items carry a drawn scene or an emoji (needs npm); of a corpus, use what needs pictures."""
    max_facts: int | None = Field(None, ge=1, le=8)
    """Most facts of a made-up item or note; by default all that can be said of a thing, and 4 in a note."""
    alone: float = Field(0.6, ge=0, le=1)
    """Share of the steps, the first, in which a question sees its own item alone."""
    max_memories: int = Field(3, ge=1, le=10)
    """Most items that a question sees in the later steps, its own among them; of made-up ones up to 8."""
    vectors: int | None = Field(None, ge=1)
    """Vectors that an item becomes; by default 8, or as many as with --start."""
    seed: int = Field(1, ge=0)
    """Seed of all that is drawn: another seed, other items and another order."""
    start: Path | None = None
    """Adapter to go on from, instead of the warm start; for other --vectors its query tokens are interpolated."""
    recommended_mode: Mode = "both"
    """How the adapter answers unless the user says otherwise; memory, once its vectors answer as well as text does."""
    distillation: float = Field(0.0, ge=0, le=1)
    """Share of the loss that follows the model's own reading of the text."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many evaluations without a lower loss; keep the best weights."""
    gradient_checkpointing: bool = False
    """Train in less memory and about a third more time."""
    report_to: str = "none"
    """Also log there, as TrainingArguments takes it: tensorboard, wandb, ... (to be installed)."""
    data: Path | None = None
    """Corpus folder of comem synthesize, instead of made-up worlds."""
    questions: int = Field(30, ge=1)
    """Questions of a corpus in each step; fewer take less memory."""

    @model_validator(mode="after")
    def _fit_together(self) -> TrainingRecipe:
        if self.data is not None and self.max_facts is not None:
            raise ValueError(
                f"max_facts {self.max_facts} is for made-up items, but data is {self.data}, a corpus, which has the "
                "items that it has. Leave out max_facts or data."
            )
        if self.data is None and self.max_memories > ITEMS:
            raise ValueError(
                f"max_memories {self.max_memories} exceeds the {ITEMS} items of a batch of made-up ones. Lower "
                "max_memories, or pass a corpus as data."
            )
        return self

    def deciding(self) -> dict[str, Any]:
        """What decides the result, as JSON; a training is resumed with the same only."""
        not_deciding = {"patience", "gradient_checkpointing", "report_to"}
        return self.model_dump(mode="json", exclude=not_deciding | ({"questions"} if self.data is None else set()))
