"""Training a memory encoder: warm start, reader prompts, then the answers of a frozen model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from transformers import EarlyStoppingCallback

from comem_memory.config import EncoderConfig, LoraSettings, QFormerConfig
from comem_memory.encoder import CONFIG_FILE, READER_FILE, MemoryEncoder, encoder_config, fitting_config
from comem_memory.errors import AdapterError
from comem_memory.files import NOTE, claim
from comem_memory.model import Backbone, torch_defaults
from comem_memory.training.data import training_data
from comem_memory.training.function_tokens import function_tokens
from comem_memory.training.hardware import speed_up_on_cpu
from comem_memory.training.memory_trainer import MemoryTrainer
from comem_memory.training.reader_prompt import start_from_memories, train_reader_prompts
from comem_memory.training.recipe import TrainingRecipe
from comem_memory.training.trainer import batches_of_each_process, save_once, training_arguments
from comem_memory.training.warm_start import texts_of, warm_start

MAX_LENGTH = 512
"""Tokens of an item."""
SAVE_STEPS = 25
"""Steps between checkpoints: on a slow machine a quarter of an hour. Early stopping saves when it evaluates."""
TYPICAL_TEXTS = 128
"""Of which vectors the reader prompts start as the mean."""


@torch_defaults()
def train_encoder(
    backbone: Backbone,
    output_dir: Path,
    recipe: TrainingRecipe = TrainingRecipe(),  # noqa: B008  # frozen
) -> MemoryEncoder:
    """Trains a memory encoder on made-up worlds or on a corpus; run it again with the same recipe to resume.

    Args:
        backbone: The model, frozen throughout.
        output_dir: Checkpoints, and in the end the adapter folder.
        recipe: Every setting.

    Raises:
        CorpusError: As in `training_data`, before anything is trained; or no item has a text for the warm start.
        DownloadError: As in `training_data`.
        AdapterError: `output_dir` holds a training with another recipe, or an adapter; or `recipe.start` is incomplete,
            damaged or of another base model; or the model has no video input for `recipe.frames`; or
            processes cannot share the batches of a step.
    """
    batches_of_each_process(recipe.batches)
    config = _encoder_config(backbone, recipe)
    data = training_data(backbone, recipe)
    steps = len(data.train) // recipe.batches

    @cache
    def typical() -> list[str]:
        return texts_of(
            data.warm_start[i] for i in range(recipe.warm_start_steps * recipe.batches, len(data.warm_start))
        )

    copying = recipe.start is None if recipe.copied is None else recipe.copied
    begins_copying = copying and config.function_tokens is None
    if begins_copying:
        config = config.model_copy(update={"function_tokens": tuple(function_tokens(backbone, typical()))})
    if (output_dir / CONFIG_FILE).is_file() and not (output_dir / NOTE).is_file():
        raise AdapterError(f"{output_dir} holds an adapter already. Pass a new folder, and go on from it with --start.")
    as_run = recipe.model_copy(
        update={
            "steps": steps,
            "max_length": config.max_length,
            "vectors": config.qformer.num_query_tokens,
            "copied": config.function_tokens is not None,
            "start": recipe.start and recipe.start.resolve(),
            "data": recipe.data and recipe.data.resolve(),
        }
    )
    claim(output_dir, AdapterError, model=config.base_fingerprint, **as_run.deciding())
    if (output_dir / CONFIG_FILE).is_file():
        return MemoryEncoder.from_pretrained(output_dir, backbone)
    if not torch.cuda.is_available():
        # Compiling would have to see through the checkpoints.
        speed_up_on_cpu(backbone, max_length=config.max_length, compiled=not recipe.gradient_checkpointing)
    torch.manual_seed(recipe.seed)  # the LoRA's random start
    encoder = MemoryEncoder(backbone, config)
    if recipe.gradient_checkpointing:
        encoder.gradient_checkpointing_enable()
    trainer = MemoryTrainer(
        encoder,
        training_arguments(
            output_dir,
            steps=steps,
            learning_rate=recipe.learning_rate,
            batches_a_step=recipe.batches,
            load_best_model_at_end=recipe.patience is not None,
            **({} if recipe.patience else {"save_steps": SAVE_STEPS}),
            restore_callback_states_from_checkpoint=recipe.patience is not None,
            report_to=recipe.report_to,
        ),
        data.train,
        data.development,
        distillation=recipe.distillation,
    )
    if recipe.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(recipe.patience))
    checkpoint = trainer.last_checkpoint()
    if checkpoint is None:
        if recipe.start is None:
            warm_start(
                encoder,
                output_dir / "warm-start",
                data.warm_start,
                steps=recipe.warm_start_steps,
                batches_a_step=recipe.batches,
            )
        else:
            encoder.load_weights(recipe.start, resize=True)
        if encoder.reader_prompts and not (recipe.start and (recipe.start / READER_FILE).is_file()):
            start_from_memories(encoder, [text for text in typical() if text][:TYPICAL_TEXTS])
        if begins_copying:
            encoder.begin_as_copies()
        if encoder.reader_prompts and len(data.prompts):
            train_reader_prompts(
                encoder,
                output_dir / "reader-prompts",
                data.prompts,
                data.development,
                learning_rate=recipe.prompt_rate * backbone.token_embeddings.float().std().item(),
                batches_a_step=recipe.batches,
            )
    if len(data.train):
        trainer.train(resume_from_checkpoint=checkpoint)
    encoder.eval()
    save_once(encoder, output_dir, dtype=torch.bfloat16)
    encoder.load_weights(output_dir)  # as they are stored: what this encoder writes, the folder's can read
    return encoder


def _encoder_config(backbone: Backbone, recipe: TrainingRecipe) -> EncoderConfig:
    """The settings of the encoder to be trained: the recipe's, else those of the adapter to start from."""
    if recipe.start is None:
        heads = backbone.model.config.get_text_config().num_attention_heads
        qformer, lora = QFormerConfig(hidden_size=backbone.hidden_size, num_attention_heads=heads), LoraSettings()
        max_length, copied_but, frames, margin = MAX_LENGTH, None, recipe.frames or "pictures", None
    else:
        given = fitting_config(recipe.start, backbone)
        qformer, lora, max_length = given.qformer, given.lora, given.max_length
        copied_but = None if recipe.copied is False else given.function_tokens
        frames, margin = recipe.frames or given.frames, given.margin
    if recipe.vectors is not None:
        qformer = qformer.model_copy(update={"num_query_tokens": recipe.vectors})
    # Made-up items are seen once, those of a corpus a few times, and drawing masks took a quarter of a step.
    lora = lora.model_copy(update={"lora_dropout": 0.0})
    config = encoder_config(
        backbone,
        backbone.fingerprint(),
        qformer,
        lora,
        recipe.max_length or max_length,
        recommended_mode=recipe.recommended_mode,
        num_reader_tokens=recipe.reader_tokens,
        function_tokens=copied_but,
        frames=frames,
    )
    return config.model_copy(update={"margin": margin})
