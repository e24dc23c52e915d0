"""Commands for the authors' checkpoints: convert, export-authors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from comem_memory.cli.app import AsJson, app, console, print_json


@app.command()
def convert(
    checkpoint: Annotated[str, typer.Argument(help="Folder, .safetensors file or hub name, in the authors' layout.")],
    base: Annotated[str, typer.Option(help="Model that its encoder was trained from: folder or hub name.")],
    out: Annotated[Path, typer.Option(help="New folder for the adapter; rerun to resume.")],
    frozen: Annotated[
        Literal["base", "from-checkpoint", "apart"],
        typer.Option(help="Whose weights answer beside the adapter, see above."),
    ] = "base",
    layout: Annotated[
        Literal["knowledge", "trajectory"] | None,
        typer.Option(
            help="How the encoder reads items: step by step as CoMEM's items, or as the trajectories of the authors' "
            "agents, whose released checkpoints need no telling.  [default: knowledge]"
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            help="Keep the whole update of every matrix instead of a LoRA of low rank, for encoders that were trained "
            "without a LoRA. The adapter is then larger than the base model: m*n + min(m,n)^2 float32 numbers for an "
            "m x n matrix, on disk and in memory, two to four times the matrix in bfloat16."
        ),
    ] = False,
    heads: Annotated[int, typer.Option(min=1, help="Attention heads of the Q-Former.")] = 16,
    as_json: AsJson = False,
) -> None:
    """Make an adapter from a checkpoint that the authors of CoMEM released, reading it tensor by tensor.

    The authors' training code also puts a LoRA into the model that answers (model_inf), so a checkpoint may need its
    own frozen weights. --frozen base lets the published base model answer: right where model_inf is that model, else
    the answers come from another model than the encoder was trained for. --frozen from-checkpoint writes the
    checkpoint's own model to OUT/frozen, to be loaded instead: right where both were trained from one base model, but a
    second model on disk. --frozen apart writes it to OUT/answering, from where it answers beside the base model, which
    then only encodes: right in any case, also where the encoder comes from another base model than model_inf (UI-TARS
    with a Qwen2.5-VL that answers), but two models in memory. The report says whether they differ.
    """
    from comem_memory.convert import convert_checkpoint

    report = convert_checkpoint(
        checkpoint, base=base, out=out, frozen=frozen, layout=layout, exact=exact, num_attention_heads=heads
    )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        console.print(report.as_table())
        console.print(f"Adapter written to {out}. Use it with --model {report.frozen_model} --adapter {out}.")


@app.command()
def export_authors(
    adapter: Annotated[Path, typer.Argument(help="Folder of a trained memory encoder.")],
    base: Annotated[str, typer.Option(help="Model that it belongs to: folder or hub name.")],
    out: Annotated[Path, typer.Option(help="New folder for the checkpoint; rerun to resume.")],
) -> None:
    """Write an adapter as a checkpoint in the layout of CoMEM's authors (merged weights, model_inf, Q-Former)."""
    from comem_memory.convert import export_checkpoint

    export_checkpoint(adapter, base=base, out=out)
    console.print(f"Checkpoint written to {out}.")
