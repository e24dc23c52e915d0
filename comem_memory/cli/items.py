"""Commands on items: add, search, ask, describe, delete, stats."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from comem_memory.cli.app import (
    NAMESPACE,
    AsJson,
    ImageFile,
    K,
    Question,
    app,
    console,
    print_json,
    reach_memory,
    server_of,
)
from comem_memory.cli.bulk import add_with_ray
from comem_memory.config import Mode
from comem_memory.types import MemoryHit


@app.command()
def add(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="A .jsonl, .txt or .md file, a picture, a folder of those, - for stdin.")
    ],
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
    """Store items: JSON lines, one text a line, or pictures with a .txt beside.

    A JSON line is an object with "text", "image", "id", "metadata", "said_at", "expires" and "supersedes", or some of
    them; times in ISO 8601, as 2026-05-03T18:30:00+02:00, and for "expires" also P30D.
    """
    if ray is not None:
        add_with_ray(context, source, ray, as_json, truncate=truncate, concurrency=workers, num_gpus=gpus)
        return
    from comem_memory.files import read_items  # not for --help: it loads Pillow and httpx

    with reach_memory(context) as memory:
        ids = memory.add(read_items(source), truncate=truncate)
        if as_json:
            print_json({"ids": ids, "count": memory.count()})
        else:
            console.print(f"{len(ids)} items given, {memory.count()} in namespace {memory.name!r}.")


@app.command()
def search(
    context: typer.Context, text: Question = None, image: ImageFile = None, k: K = 3, as_json: AsJson = False
) -> None:
    """Find the items most similar to a text, a picture, or both."""
    with reach_memory(context) as memory:
        hits = [_hit(hit) for hit in memory.search(text, image, k=k)]
    if as_json:
        print_json(hits)
    else:
        table = Table("similarity", Column("id", overflow="fold"), "text", "image")
        for hit in hits:
            table.add_row(f"{hit['similarity']:.3f}", hit["id"], (hit["text"] or "")[:120], hit["image"])
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
    as_json: AsJson = False,
) -> None:
    """Answer a question from memory, printing as the model writes."""
    with reach_memory(context) as memory:
        if as_json:
            answer = memory.answer(question, image, k=k, mode=mode)
            print_json(
                {
                    "answer": answer.text,
                    "prompt_tokens": answer.prompt_tokens,
                    "hits": [_hit(hit) for hit in answer.hits],
                }
            )
            return
        for piece in memory.stream(question, image, k=k, mode=mode):
            console.print(piece, end="")
        console.print()


@app.command()
def describe(
    context: typer.Context, id: Annotated[str, typer.Argument(help="The item.")], as_json: AsJson = False
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
    ids: Annotated[list[str], typer.Argument(help="The items.")],
    as_json: AsJson = False,
) -> None:
    """Delete items by id."""
    with reach_memory(context) as memory:
        deleted = memory.delete(ids=ids)
        if as_json:
            print_json({"deleted": deleted, "count": memory.count()})
        else:
            console.print(f"{deleted} deleted, {memory.count()} left.")


@app.command()
def stats(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what the memory holds, and with which encoder; no model is loaded."""
    namespace, counts, encoder, key = _contents(context)
    shown = {
        "namespace": namespace,
        "items": counts.get(namespace, 0),
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


def _contents(context: typer.Context) -> tuple[str, dict[str, int], str | None, str | None]:
    """Whose memory is meant, how many items each namespace holds, and what made their vectors and keys, if any."""
    from comem_memory.store.filters import check_namespace

    namespace: str = check_namespace(context.obj["namespace"])
    if (server := server_of(context)) is not None:
        from comem_memory.client.connection import Connection
        from comem_memory.server.wire import MemoryInfo, Stats

        named = {} if context.meta[NAMESPACE] is None else {"namespace": namespace}
        with closing(Connection(*server)) as connection:
            told = connection.get("/v1/stats", Stats)
            namespace = connection.get("/v1/memory", MemoryInfo, named).namespace
        return namespace, told.items, told.encoder, told.retrieval_key
    from comem_memory.store.chroma import ChromaStore

    directory, url = context.obj["persist_directory"], context.obj["chroma_url"]
    if url is None and not any(ChromaStore.check_location(directory).glob("*")):
        return namespace, {}, None, None
    opened = ChromaStore.embedded(directory, identity=None) if url is None else ChromaStore.server(url, identity=None)
    with closing(opened) as store:
        counts = {name: store.count(namespace=name) for name in store.namespaces()}
        return namespace, counts, str(store.identity.encoder), store.identity.key_name


def _hit(hit: MemoryHit) -> dict[str, Any]:
    return {
        "id": hit.id,
        "similarity": hit.similarity,
        "text": hit.text,
        "image": getattr(hit, "picture_url", None) or hit.image,
        "metadata": hit.metadata,
        "created_at": hit.created_at,
        "truncated": hit.truncated,
        "updated_at": hit.updated_at,
        "said_at": hit.said_at,
        "expires": hit.expires,
        "supersedes": hit.supersedes,
        "superseded_by": hit.superseded_by,
    }
