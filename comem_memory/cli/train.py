"""Commands that make an encoder: synthesize, train, train-projector."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from comem_memory.cli.app import app, console, load_backbone
from comem_memory.config import Answers


@app.command()
def synthesize(
    context: typer.Context,
    output: Annotated[Path, typer.Argument(help="A new folder; rerun to resume.")],
    samples: Annotated[int, typer.Option(min=1, help="Of training; a twentieth as many of development and test.")] = (
        15_600  # of arXiv 2505.17670
    ),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other items.")] = 1,
    answers: Annotated[
        Answers, typer.Option(help="What is to be learnt: the base model's own right answers, or the known ones.")
    ] = Answers.SELF,
    languages: Annotated[
        str, typer.Option(help="Of made-up items and questions, besides English; separated by commas.")
    ] = "spanish,french,german,portuguese,italian",
    pictures: Annotated[
        bool, typer.Option(help="Let some made-up items carry a drawn scene or an emoji (needs npm).")
    ] = True,
    items: Annotated[
        Path | None,
        typer.Option(
            help='Own items instead of made-up ones: lines of {"id", "text", "image", "questions": [{"question", '
            '"answer"}]}. Without questions the base model writes some.'
        ),
    ] = None,
) -> None:
    """Make a corpus of questions about items, to train with: comem train ADAPTER --data OUTPUT."""
    from comem_memory import mini
    from comem_memory.opening import open_key
    from comem_memory.synthesis.drafts import Drafts, WorldDrafts, mixtures
    from comem_memory.synthesis.own_items import OwnDrafts
    from comem_memory.synthesis.synthesize import frozen_reader, synthesize
    from comem_memory.training.recipes import emoji_of_splits

    reader = cache(lambda: frozen_reader(load_backbone(context)))

    def read(asked: Any) -> list[str | None]:
        return reader()(asked)

    settings: dict[str, object] = {"model": context.obj["model"] or mini.NAME, "seed": seed}
    drafts: Drafts
    if items is None:
        named = [language.strip() for language in languages.split(",") if language.strip()]
        drafts = WorldDrafts(seed, mixtures(named, emoji_of_splits() if pictures else None))
        settings |= {"languages": languages, "pictures": pictures}
    else:
        drafts = OwnDrafts(items, seed, open_key(context.obj["key"]), read)
        settings |= {"items": hashlib.sha256(items.read_bytes()).hexdigest()[:16]}
    counts = synthesize(output, drafts, samples=samples, answers=answers, read=read, **settings)
    console.print(f"{', '.join(f'{count} of {split}' for split, count in counts.items())} written to {output}.")


@app.command()
def train(
    context: typer.Context,
    output: Annotated[Path, typer.Argument(help="Checkpoints and the finished adapter; rerun to resume.")],
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Optimizer steps; by default 1800 of 8 made-up items, or 3 times through a corpus."),
    ] = None,
    reading_steps: Annotated[int, typer.Option(min=1, help="Steps of the start, which learns to read.")] = 200,
    learning_rate: Annotated[float, typer.Option(help="Of the LoRA.")] = 5e-4,
    max_length: Annotated[
        int | None, typer.Option(min=64, help="Tokens of an item; by default 512, or as with --start.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Let some items carry an emoji (needs npm).")] = True,
    max_facts: Annotated[
        int | None, typer.Option(min=1, max=8, help="Short notes of up to so many facts, instead of all lengths.")
    ] = None,
    alone: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps, the first, in which a question sees its own item.")
    ] = 0.6,
    max_memories: Annotated[
        int, typer.Option(min=1, max=10, help="After them it sees up to so many (of made-up ones up to 8).")
    ] = 3,
    vectors: Annotated[
        int | None, typer.Option(min=1, help="An item becomes so many; by default 8, or as many as with --start.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other items.")] = 1,
    start: Annotated[Path | None, typer.Option(help="Adapter to go on from, instead of learning to read.")] = None,
    distillation: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the loss that follows the model's own reading of the text.")
    ] = 0.0,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many evaluations without a lower loss; keep the best.")
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, about a third more time.")
    ] = False,
    report_to: Annotated[str, typer.Option(help="Also log to tensorboard, wandb, ... (to be installed).")] = "none",
    data: Annotated[Path | None, typer.Option(help="Corpus of comem synthesize, instead of made-up worlds.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="Of a corpus, in each step; fewer take less memory.")] = 30,
) -> None:
    """Train a memory encoder for the base model on made-up worlds, or on a corpus."""
    from comem_memory.training.recipes import train_encoder

    encoder = train_encoder(
        load_backbone(context, device_map=None),  # Trainer moves it, onto one device
        output,
        steps=steps,
        reading_steps=reading_steps,
        learning_rate=learning_rate,
        max_length=max_length,
        pictures=pictures,
        max_facts=max_facts,
        alone=alone,
        max_memories=max_memories,
        num_vectors=vectors,
        seed=seed,
        start=start,
        distillation=distillation,
        patience=patience,
        gradient_checkpointing=gradient_checkpointing,
        report_to=report_to,
        data=data,
        questions=questions,
    )
    console.print(f"{encoder.num_parameters()}. Saved to {output}.")


@app.command()
def train_projector(
    output: Annotated[Path, typer.Argument(help="Checkpoints and projector.safetensors; rerun to resume.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps of 32 pictures.")] = 260,
) -> None:
    """Train the embedded model's projector between picture and text (needs npm for its pictures)."""
    from comem_memory.training.recipes import train_projector as run

    run(output, steps=steps)
    console.print(f"Saved to {output}.")
