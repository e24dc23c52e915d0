"""The two trainings behind the embedded default, and the first of them for any model.

On 2 cores with AMX a step of 16 items and about 45 questions takes 2.2 s, of which these save most: base weights in
bfloat16 (where the CPU has it in hardware), an output head that sees only the answers' positions, eager attention (the
backward pass of PyTorch's CPU flash attention is slow at these lengths), and compiled decoder layers (3.6 s without).
"""

from __future__ import annotations

import itertools
import math
import random
import re
import shutil
from collections.abc import Container, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch.utils.cpp_extension  # before anything imports the standard library's distutils, or compiling fails
from transformers import EarlyStoppingCallback

from comem_memory import mini
from comem_memory.config import EncoderConfig, LoraSettings, QFormerConfig
from comem_memory.encoder import CONFIG_FILE, MemoryEncoder, encoder_config, fitting_config
from comem_memory.errors import AdapterError, CorpusError
from comem_memory.files.resumable import NOTE, claim
from comem_memory.model.backbone import Backbone
from comem_memory.synthesis import countries
from comem_memory.synthesis.corpus import CorpusBatches, read_corpus, usable_samples
from comem_memory.synthesis.emoji import Picture, emoji
from comem_memory.synthesis.splits import Split
from comem_memory.synthesis.worlds import NUM_FACTS
from comem_memory.training.batches import Batch, WorldBatches
from comem_memory.training.trainer import MemoryTrainer, ProjectorTrainer, bfloat16_is_fast, training_arguments
from comem_memory.training.warm_start import Reading, ReadingTrainer, fit_start, texts_of

DEVELOPMENT_SEED, READING_SEED, SPLIT_SEED = -1, -2, 0
"""A training's own seed is never negative."""
ITEMS = 8
"""Per optimizer step."""
STEPS = 1800
"""On made-up worlds."""
QUESTIONS = 30
"""Of a corpus, per optimizer step."""
EPOCHS = 3
"""Times through a corpus."""
MAX_LENGTH = 512
"""Tokens of an item."""
TYPICAL = 64
"""Batches of items that token frequencies and the Q-Former's start are taken from."""
FIT_TOKENS = 50_000
"""At most so many of them: fitting holds seven times their hidden states, 5 GB at H = 3584."""
DEVELOPMENT_NAMES = 100
"""Emoji that neither training sees."""


def train_encoder(
    backbone: Backbone,
    output_dir: Path,
    *,
    steps: int | None = None,
    reading_steps: int = 200,
    learning_rate: float = 5e-4,
    max_length: int | None = None,
    pictures: bool = True,
    max_facts: int | None = None,
    alone: float = 0.6,
    max_memories: int = 3,
    num_vectors: int | None = None,
    seed: int = 1,
    start: Path | None = None,
    data: Path | None = None,
    questions: int = QUESTIONS,
    distillation: float = 0.0,
    patience: int | None = None,
    gradient_checkpointing: bool = False,
    report_to: str = "none",
) -> MemoryEncoder:
    """Trains a memory encoder on made-up worlds or on a corpus; run it again with the same arguments to resume.

    Args:
        backbone: the model, frozen throughout.
        output_dir: checkpoints, and in the end the adapter folder.
        steps: of 8 items, up to four questions each; of a corpus, of `questions`. By default 1,800 of made-up worlds,
            and three times through a corpus.
        reading_steps: of 8 items, before that; see `reading`.
        learning_rate: of the LoRA; see `QFORMER_RATE` for the Q-Former's.
        max_length: tokens of an item; longer texts are cut, larger pictures scaled down. By default 512, or those of
            `start`.
        pictures: let some items carry an emoji (needs npm); of a corpus, use what needs pictures.
        max_facts: items of up to so many facts, each number as likely; by default up to 8, long ones more often.
        alone: in that share of the steps, the first ones (of made-up items in multiples of 16), a question sees its
            own item alone.
        max_memories: after them it sees up to so many items, its own among them.
        num_vectors: an item becomes so many; by default 8, or as many as with `start`.
        seed: another seed, other items.
        start: adapter folder to go on from with fresh items and schedule, instead of learning to read; for another
            number of vectors its query tokens are interpolated.
        data: corpus folder of `comem synthesize`, instead of made-up worlds.
        questions: of a corpus, in each step; fewer take less memory.
        distillation: see `MemoryTrainer`.
        patience: stop after so many evaluations without a lower loss than before, and keep the best weights.
        gradient_checkpointing: less memory, about a third more time.
        report_to: also log there, as TrainingArguments takes it: tensorboard, wandb, ...

    Raises:
        CorpusError: as in `CorpusBatches`, before anything is trained; or `max_facts` for a corpus.
        ValueError: `max_memories` is more than the 8 made-up items of a step.
        AdapterError: `output_dir` holds a training with other arguments, or an adapter; or `start` is incomplete,
            damaged or of another base model.
    """
    config = _config(backbone, start, num_vectors, max_length)
    if data is None:
        steps = steps or STEPS
        make_batches = partial(_world_batches, num_facts=range(1, max_facts + 1) if max_facts else NUM_FACTS)
    elif max_facts is None:
        sees = pictures and backbone.prompts.supports_images
        steps = steps or math.ceil(EPOCHS * len(usable_samples(data, "train", pictures=sees)) / questions)
        make_batches = partial(_corpus_batches, data, questions)
    else:
        raise CorpusError("A corpus has the items that it has. Leave out max_facts, or train on made-up worlds.")
    train, development, typical = make_batches(
        backbone,
        steps,
        reading_steps + TYPICAL,
        pictures=pictures,
        alone=int(alone * steps),
        max_memories=max_memories,
        seed=seed,
    )
    if (output_dir / CONFIG_FILE).is_file() and not (output_dir / NOTE).is_file():
        raise AdapterError(f"{output_dir} holds an adapter already. Pass a new folder, and go on from it with --start.")
    claim(
        output_dir,
        AdapterError,
        model=config.base_fingerprint,
        steps=steps,
        reading_steps=reading_steps,
        learning_rate=learning_rate,
        max_length=config.max_length,
        pictures=pictures,
        max_facts=max_facts,
        alone=alone,
        max_memories=max_memories,
        vectors=config.qformer.num_query_tokens,
        seed=seed,
        start=start and str(start.resolve()),
        data=data and str(data.resolve()),
        questions=data and questions,
        distillation=distillation,
    )
    if (output_dir / CONFIG_FILE).is_file():
        return MemoryEncoder.from_pretrained(output_dir, backbone)
    if not torch.cuda.is_available():
        _speed_up_on_cpu(backbone, compiled=not gradient_checkpointing)  # which compiling would have to see through
    torch.manual_seed(seed)  # the LoRA's random start
    encoder = MemoryEncoder(backbone, config)
    if gradient_checkpointing:
        encoder.gradient_checkpointing_enable()
    trainer = MemoryTrainer(
        encoder,
        training_arguments(
            output_dir,
            steps=steps,
            learning_rate=learning_rate,
            load_best_model_at_end=patience is not None,
            restore_callback_states_from_checkpoint=patience is not None,
            report_to=report_to,
        ),
        train,
        development,
        distillation=distillation,
    )
    if patience is not None:
        trainer.add_callback(EarlyStoppingCallback(patience))
    checkpoint = trainer.last_checkpoint()
    if checkpoint is None and start is not None:
        encoder.load_weights(start, resize=True)
    elif checkpoint is None:
        learn_to_read(encoder, output_dir / "start", typical, steps=reading_steps)
    trainer.train(resume_from_checkpoint=checkpoint)
    encoder.eval()
    encoder.save_pretrained(output_dir, dtype=torch.bfloat16)
    encoder.load_weights(output_dir)  # as they are stored: what this encoder writes, the folder's can read
    return encoder


def _config(backbone: Backbone, start: Path | None, num_vectors: int | None, max_length: int | None) -> EncoderConfig:
    """The recipe's settings, or those of the adapter to start from, with so many vectors and tokens of an item."""
    if start is None:
        heads = backbone.model.config.get_text_config().num_attention_heads
        qformer, lora = QFormerConfig(hidden_size=backbone.hidden_size, num_attention_heads=heads), LoraSettings()
        max_length = max_length or MAX_LENGTH
    else:
        given = fitting_config(start, backbone)
        qformer, lora = given.qformer, given.lora
        max_length = max_length or given.max_length
    if num_vectors is not None:
        qformer = qformer.model_copy(update={"num_query_tokens": num_vectors})
    # Made-up items are seen once, those of a corpus a few times, and drawing masks took a quarter of a step.
    lora = lora.model_copy(update={"lora_dropout": 0.0})
    return encoder_config(backbone, backbone.fingerprint(), qformer, lora, max_length)


Batches = tuple[Sequence[Batch], Sequence[Batch], Sequence[Batch]]
"""To train with, to develop with, and typical ones to learn to read with."""


def _world_batches(
    backbone: Backbone,
    steps: int,
    reading: int,
    *,
    num_facts: Sequence[int],
    pictures: bool,
    alone: int,
    max_memories: int,
    seed: int,
) -> Batches:
    shown, unseen = (
        split_emoji(random.Random(SPLIT_SEED)) if pictures and backbone.prompts.supports_images else ([], [])
    )
    words = vocabulary_words(backbone, but=country_words())
    world: dict[str, Any] = {"items": ITEMS, "words": words, "num_facts": num_facts}
    return (
        WorldBatches(seed=seed, num_batches=steps, pictures=shown, alone=alone, max_memories=max_memories, **world),
        WorldBatches(seed=DEVELOPMENT_SEED, num_batches=16, pictures=unseen, max_memories=1, **world),
        WorldBatches(seed=READING_SEED, num_batches=reading, **world),
    )


def _corpus_batches(
    data: Path,
    questions: int,
    backbone: Backbone,
    steps: int,
    reading: int,
    *,
    pictures: bool,
    alone: int,
    max_memories: int,
    seed: int,
) -> Batches:
    learnt: dict[str, Any] = {"seed": seed, "alone": alone, "max_memories": max_memories}
    shown: dict[str, Any] = {"questions": questions, "pictures": pictures and backbone.prompts.supports_images}
    batches = math.ceil(min(16 * QUESTIONS, len(read_corpus(data, "development"))) / questions)
    return (
        CorpusBatches(data, "train", num_batches=steps, **learnt, **shown),
        CorpusBatches(data, "development", seed=DEVELOPMENT_SEED, num_batches=batches, max_memories=1, **shown),
        CorpusBatches(data, "train", seed=READING_SEED, num_batches=reading, max_memories=1, **shown),
    )


def learn_to_read(encoder: MemoryEncoder, output_dir: Path, batches: Sequence[Batch], *, steps: int) -> None:
    """The start of training: see `reading`. Finished, it is an adapter folder; interrupted, it begins anew."""
    if (output_dir / CONFIG_FILE).is_file():
        encoder.load_weights(output_dir)
        return
    typical = _up_to(FIT_TOKENS, encoder, texts_of(batches[i] for i in range(steps, steps + TYPICAL)))
    reading = Reading(encoder, typical)
    arguments = training_arguments(
        output_dir, steps=steps, learning_rate=1e-3, warmup_steps=20, eval_steps=50, save_strategy="no"
    )
    ReadingTrainer(reading, typical, arguments, batches, [batches[i] for i in range(steps, steps + 8)]).train()
    fit_start(reading, typical)
    encoder.save_pretrained(output_dir)


def _up_to(tokens: int, encoder: MemoryEncoder, texts: Iterable[str]) -> list[str]:
    """Different texts that are so long together, or all."""
    found = list(dict.fromkeys(texts))
    longest = encoder.encoder_config.max_length
    ends = itertools.accumulate(min(len(encoder.backbone.prompts.text_ids(text)), longest) for text in found)
    return found[: max(1, sum(end <= tokens for end in ends))]


def vocabulary_words(backbone: Backbone, *, but: Container[str] = ()) -> list[str]:
    """Capitalised words that are one token of the model, without those in `but`: names that are easy to spell."""
    words = {backbone.prompts.tokenizer.decode([i]) for i in backbone.prompts.tokenizer.get_vocab().values()}
    return sorted(w[1:] for w in words if re.fullmatch(" [A-Z][a-z]{2,}", w) and w[1:] not in but)


def country_words() -> set[str]:
    """Every word of what the countries' questions and answers say."""
    said = (f"{question.text} {question.answer}" for row in countries.rows() for question in countries.questions(row))
    return {word for text in said for word in re.findall(r"\w+", text)}


def train_projector(output_dir: Path, *, steps: int, batch: int = 32) -> None:
    """Trains the embedded model's projector to name emoji, and writes `projector.safetensors`; resumes like above."""
    torch.manual_seed(1)  # the projector's random start
    model, processor = mini.assemble()
    backbone = Backbone(model, processor, name=mini.NAME)
    model.set_attn_implementation("eager")
    if bfloat16_is_fast():
        model.model.language_model.to(torch.bfloat16)
        model.lm_head.to(torch.bfloat16)
    rng, order = random.Random(SPLIT_SEED), list[Picture]()
    shown, unseen = split_emoji(rng)
    while len(order) < steps * batch:
        epoch = shown[:]
        rng.shuffle(epoch)
        order += epoch
    trainer = ProjectorTrainer(
        backbone,
        training_arguments(output_dir, steps=steps, learning_rate=1e-3, warmup_steps=20, save_steps=75, eval_steps=75),
        [order[i * batch : (i + 1) * batch] for i in range(steps)],
        [unseen[i : i + batch] for i in range(0, len(unseen), batch)],
    )
    trainer.train(resume_from_checkpoint=trainer.last_checkpoint())
    trainer.save_model()


def split_emoji(rng: random.Random) -> tuple[list[Picture], list[Picture]]:
    """Pictures to train with, and pictures of other things to develop with."""
    pictures = emoji()
    names = sorted({picture.name for picture in pictures})
    rng.shuffle(names)
    held_out = set(names[:DEVELOPMENT_NAMES])
    return [p for p in pictures if p.name not in held_out], [p for p in pictures if p.name in held_out]


def emoji_of_splits() -> dict[Split, Sequence[Picture]]:
    """The same for corpora: half of what is held out, by name, for development and half for test."""
    shown, unseen = split_emoji(random.Random(SPLIT_SEED))
    names = sorted({picture.name for picture in unseen})
    test = {*names[::2]}
    return {
        "train": shown,
        "development": [picture for picture in unseen if picture.name not in test],
        "test": [picture for picture in unseen if picture.name in test],
    }


def _speed_up_on_cpu(backbone: Backbone, *, compiled: bool) -> None:
    backbone.model.to(torch.bfloat16 if bfloat16_is_fast() else torch.float32)
    backbone.model.set_attn_implementation("eager")
    if compiled and shutil.which("g++"):  # torch.compile writes C++
        torch._dynamo.config.recompile_limit = 64  # with and without adapter, mask and gradient
        for layer in backbone.model.get_decoder().layers:
            layer.compile(dynamic=True)
