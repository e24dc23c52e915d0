"""Commands on items: add, search, list, history, namespaces, ask, describe, delete, clear, stats."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from comem_memory.cli.app import (
    AsJson,
    ImageFile,
    K,
    Question,
    Where,
    app,
    console,
    print_json,
    reach_memory,
)
from comem_memory.cli.bulk import add_with_ray
from comem_memory.cli.completion import item_ids
from comem_memory.cli.kept import Kept, reach_kept, shown
from comem_memory.config import Mode, Split, TrajectoryFormat
from comem_memory.content import amounts_of
from comem_memory.errors import ItemNotFoundError, counted

if TYPE_CHECKING:
    from comem_memory.conversion import Addable
    from comem_memory.files import Reading


@app.command()
def add(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A .jsonl, .txt, .md or .pdf file, a picture, a clip, a folder of those, - for stdin; or several.",
        ),
    ],
    format: Annotated[
        TrajectoryFormat | None,
        typer.Option(
            help="Sources are .json or .jsonl files of agents' runs, or folders of them, and each run is an item: of "
            "CoMEM's authors, of browser-use, or messages of LangChain, LangGraph or OpenAI."
        ),
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option(
            help="Texts and PDF pages become an item a piece: cut at the headings of Markdown, or by size (needs "
            "comem-memory[split]); by default each is one item."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most characters of a piece: 1000 with --split size; with --split heading, longer pieces stay whole "
            "without it.",
        ),
    ] = None,
    passages: Annotated[
        bool,
        typer.Option(
            "--passages",
            help="Each sentence of a text has vectors of its own, of which a question gets those that it is about; the "
            "text stays one item.",
        ),
    ] = False,
    page_pictures: Annotated[
        bool, typer.Option("--page-pictures", help="Items of PDF pages have the picture of their page too.")
    ] = False,
    truncate: Annotated[bool, typer.Option(help="Cut texts that are too long.")] = False,
    ray: Annotated[
        Path | None,
        typer.Option(
            help="Encode with Ray Data into shards in this folder, then store them; also reads Parquet. A run that was "
            "stopped goes on. RAY_ADDRESS names a cluster; without it Ray starts on this machine."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many encode at a time, with --ray.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each worker, with --ray.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Store items: JSON lines, texts, PDF files; pictures, clips, recordings with a .txt beside; runs of agents.

    A JSON line is an object with "text", "image", "content", "thin", "id", "metadata", "said_at", "expires",
    "supersedes" and "passages", or some of them; times in ISO 8601, as 2026-05-03T18:30:00+02:00, and for "expires"
    also P30D; content as [{"type": "text", "text": "..."}, {"type": "image", "image": "p.png"}]. A line that is no
    object is a text. A text file is one item, a PDF file one a page; their metadata say the "source", and the "page" or
    "headings".
    """
    if size is not None and split is None:
        raise typer.BadParameter("--size is for --split. Pass --split heading or --split size.")
    reading: Reading = {"split": split, "size": size, "page_pictures": page_pictures}
    if format is not None and (ray is not None or split is not None or page_pictures):
        raise typer.BadParameter("--format reads whole runs. Leave out --ray, --split and --page-pictures.")
    if ray is not None:
        if passages:
            raise typer.BadParameter("--ray encodes whole texts. Leave out --passages, or give lines with passages.")
        if len(sources) > 1:
            raise typer.BadParameter("--ray takes one source. Pass a folder of the files.")
        add_with_ray(
            context, sources[0], ray, as_json, truncate=truncate, concurrency=workers, num_gpus=gpus, **reading
        )
        return
    from comem_memory.files import read_items, read_trajectories  # not for --help: they load Pillow and httpx

    items: Iterator[Addable]  # what is wrong with a source is said before the model is loaded
    if format is None:
        items = chain.from_iterable([read_items(source, **reading) for source in sources])
    else:
        items = read_trajectories(sources, format)
    with reach_memory(context, new=True) as memory:
        ids = memory.add(items, truncate=truncate, passages="sentence" if passages else None)
        if as_json:
            print_json({"ids": ids, "count": memory.count()})
        else:
            console.print(f"{counted(len(ids), 'item')} given, {memory.count()} in namespace {memory.name!r}.")


@app.command()
def search(
    context: typer.Context,
    text: Question = None,
    image: ImageFile = None,
    k: K = 3,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Find the items most similar to a text, a picture, or both."""
    with reach_memory(context) as memory:
        hits = [
            shown(hit, hit.image_location, hit.content_locations)
            for hit in memory.search(text, image, k=k, where=where)
        ]
    if as_json:
        print_json(hits)
    else:
        from comem_memory.types import told_similarity  # not for --help: it loads torch

        told = [told_similarity(hit["similarity"], hit["similarity_of_texts"], 3) for hit in hits]
        console.print(_table("similarity", told, hits))


@app.command(name="list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Items at most.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="Pass over so many newer items.")] = 0,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Show the items that were stored last, newest first; no model is loaded."""
    with reach_kept(context) as kept:
        items = kept.newest(limit=limit, offset=offset, where=where)
    if as_json:
        print_json({"items": items, "count": items.total})
        return
    console.print(_table("stored", [_stored(item) for item in items], items))
    left = f" Older ones: --offset {offset + len(items)}" if offset + len(items) < items.total else ""
    console.print(f"{len(items)} of {counted(items.total, 'item')} in namespace {kept.namespace!r}.{left}")


@app.command()
def history(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="The item.", autocompletion=item_ids)],
    as_json: AsJson = False,
) -> None:
    """Show an item with those that it took the place of or that took its place, oldest first; no model is loaded."""
    with reach_kept(context) as kept:
        items = kept.history(id)
    if as_json:
        print_json(items)
    else:
        console.print(_table("stored", [_stored(item) for item in items], items))


@app.command()
def namespaces(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the namespaces that hold items, and how many; no model is loaded."""
    with reach_kept(context) as kept:
        counts, _, _ = kept.stats()
    if as_json:
        print_json(counts)
    else:
        table = Table(Column("namespace", overflow="fold"), Column("items", justify="right"))
        for name, count in counts.items():
            table.add_row(name, str(count))
        console.print(table)


@app.command()
def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    image: ImageFile = None,
    k: K = 3,
    mode: Annotated[
        Mode | None,
        typer.Option(
            help="Give the model the items' vectors, texts, both or none; by default as the adapter recommends."
        ),
    ] = None,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question from memory, printing as the model writes."""
    with reach_memory(context) as memory:
        if as_json:
            answer = memory.answer(question, image, k=k, where=where, mode=mode)
            print_json(
                {
                    "answer": answer.text,
                    "prompt_tokens": answer.prompt_tokens,
                    "hits": [shown(hit, hit.image_location, hit.content_locations) for hit in answer.hits],
                }
            )
            return
        for piece in memory.stream(question, image, k=k, where=where, mode=mode):
            console.print(piece, end="")
        console.print()


@app.command()
def describe(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="The item.", autocompletion=item_ids)],
    as_json: AsJson = False,
) -> None:
    """Show what an item's vectors say, beside its stored text."""
    with reach_memory(context) as memory:
        description = memory.describe(id)
    if as_json:
        print_json({"text": description.text, "restated": description.restated})
    else:
        console.print(f"stored    {description.text or ''}\nrestated  {description.restated}")


@app.command()
def delete(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(help="The items.", autocompletion=item_ids)] = None,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Delete items by id, by a filter, or by both; no model is loaded."""
    if not ids and not where:
        raise typer.BadParameter("Pass ids or --where. To delete everything in a namespace: comem clear.")
    with reach_kept(context) as kept:
        if as_json:
            print_json({"deleted": kept.delete(ids or None, where), "count": kept.count()})
            return
        before, earlier = kept.count(), [] if where else _earlier(kept, ids or [])
        deleted = kept.delete(ids or None, where)
        left = kept.count()
        of_history = deleted - (before - left)  # which are not counted
        told = f", {of_history} of them in history and recalled no more" if of_history > 0 else ""
        console.print(f"{deleted} deleted{told}, {left} left.")
        if earlier:
            stay, them = ("version stays", "it") if len(earlier) == 1 else ("versions stay", "them")
            console.print(
                f"{len(earlier)} earlier {stay} in history, recalled no more. "
                f"To delete {them} too: comem delete {shlex.join(earlier)}"
            )


@app.command()
def clear(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete everything in a namespace, history and pictures too: how a user is forgotten; no model is loaded."""
    with reach_kept(context) as kept:
        if not yes:
            typer.confirm(
                f"Delete all {counted(kept.count(), 'item')} of namespace {kept.namespace!r}?", abort=True, err=True
            )
        deleted = kept.clear()
    if as_json:
        print_json({"deleted": deleted})
    else:
        console.print(f"{deleted} deleted, those included that others took the place of.")


@app.command()
def stats(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what the memory holds, and with which encoder; no model is loaded."""
    with reach_kept(context) as kept:
        counts, encoder, key = kept.stats()
    shown = {
        "namespace": kept.namespace,
        "items": counts.get(kept.namespace, 0),
        "namespaces": counts,
        "encoder": encoder,
        "retrieval_key": key,
    }
    if as_json:
        print_json(shown)
    else:
        table = Table(show_header=False)
        for name, value in shown.items():
            table.add_row(name, str(value))
        console.print(table)


def _earlier(kept: Kept, ids: Sequence[str]) -> list[str]:
    """What current ones of these items took the place of, directly or not, without these items."""
    earlier = set[str]()
    for id in ids:
        with suppress(ItemNotFoundError):
            versions = {item["id"]: item["superseded_by"] for item in kept.history(id)}
            if versions[id] is None:
                earlier |= {version for version, by in versions.items() if by is not None}
    return sorted(earlier.difference(ids))


def _stored(item: dict[str, Any]) -> str:
    return f"{datetime.fromisoformat(item['created_at']).astimezone():%Y-%m-%d %H:%M}"


def _table(first: str, values: list[str], items: list[dict[str, Any]]) -> Table:
    """A line for each item, after a first column of its own, with the beginning of its text and how much it holds."""
    pictures, parts = any(item["image"] for item in items), any(item["content"] for item in items)
    table = Table(first, Column("id", overflow="fold"), "text", *["parts"] * parts, *["image"] * pictures)
    for value, item in zip(values, items, strict=True):
        text = " ".join((item["text"] or "").split())[:120]
        table.add_row(value, item["id"], text, *[_parts(item)] * parts, *[item["image"]] * pictures)
    return table


def _parts(item: dict[str, Any]) -> str:
    """How many texts and pictures an item of several has, and how many of them are not in its vectors."""
    left_out = f" ({len(item['left_out'])} of them left out)" if item["left_out"] else ""
    return amounts_of(item["content"] or ()) + left_out
