"""Commands that make an encoder: synthesize, train, train-projector."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from comem_memory.cli.app import app, console, load_backbone
from comem_memory.cli.options import options_of
from comem_memory.synthesis.corpus import Answers, first_error
from comem_memory.training.recipe import TrainingRecipe


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
    ] = "self",
    languages: Annotated[
        str, typer.Option(help="Of made-up items and questions, besides English; separated by commas.")
    ] = "spanish,french,german,portuguese,italian",
    pictures: Annotated[
        bool, typer.Option(help="Let some made-up items carry a drawn scene or an emoji (needs npm).")
    ] = True,
    items: Annotated[
        Path | None,
        typer.Option(
            help='Own items instead of made-up ones: lines of {"id", "text", "image", "content", "questions": '
            '[{"question", "answer"}]}. Without questions the base model writes some.'
        ),
    ] = None,
) -> None:
    """Make a corpus of questions about items, to train with: comem train ADAPTER --data OUTPUT."""
    from comem_memory import mini
    from comem_memory.opening import open_key
    from comem_memory.synthesis.corpus_writer import frozen_reader, synthesize
    from comem_memory.synthesis.drafts import Drafts, WorldDrafts, mixtures
    from comem_memory.synthesis.emoji import emoji_of_splits
    from comem_memory.synthesis.own_items import OwnDrafts

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
        settings |= {"key": context.obj["key"], "items": hashlib.sha256(items.read_bytes()).hexdigest()[:16]}
    counts = synthesize(output, drafts, samples=samples, answers=answers, read=read, **settings)
    console.print(f"{', '.join(f'{count} of {split}' for split, count in counts.items())} written to {output}.")


@app.command()
@options_of(TrainingRecipe)
def train(
    context: typer.Context,
    output: Annotated[Path, typer.Argument(help="Checkpoints and the finished adapter; rerun to resume.")],
    **options: Any,
) -> None:
    """Train a memory encoder for the base model on made-up worlds, or on a corpus."""
    try:
        recipe = TrainingRecipe(**options)
    except ValidationError as error:
        raise typer.BadParameter(first_error(error)) from error
    from comem_memory.training.train import train_encoder

    encoder = train_encoder(load_backbone(context, device_map=None), output, recipe)  # Trainer moves it to one device
    console.print(f"{encoder.num_parameters()}. Saved to {output}.")


@app.command()
def train_projector(
    output: Annotated[Path, typer.Argument(help="Checkpoints and projector.safetensors; rerun to resume.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps of 32 pictures.")] = 260,
) -> None:
    """Train the embedded model's projector between picture and text (needs npm for its pictures)."""
    from comem_memory.training.projector import train_projector as run

    run(output, steps=steps)
    console.print(f"Saved to {output}.")
