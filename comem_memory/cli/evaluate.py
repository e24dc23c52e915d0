"""Commands that measure: evaluate, report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comem_memory.cli.app import AsJson, app, console, open_memory, print_json
from comem_memory.config import TrajectoryFormat

if TYPE_CHECKING:
    from comem_memory.memory import ContinuousMemory
    from comem_memory.passages import PassageRule

CONVERSATIONS = "conversations"
"""The set that is no list of questions: agents take part in it."""


@app.command()
def evaluate(
    context: typer.Context,
    questions: Annotated[
        str,
        typer.Option(
            help="countries, flags; private notes: notes, notes-development; made-up items: worlds, agents, numbers, "
            "names, yes-no, which, not-in-memory, scenes, spanish, french, german, portuguese, italian; corpus, of "
            "comem synthesize; or a benchmark: squad, locomo, infoseek, ...; next-actions, similar-actions: what an "
            "agent does next, with the run that is asked about in memory or a similar one; or conversations, what an "
            "agent recalls"
        ),
    ] = "countries",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many questions.")] = None,
    facts: Annotated[
        int | None, typer.Option(min=1, help="Of countries: items are notes of so many facts, without flag.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(min=1, help="Search for so many items; else each question gets its own.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=0, max=2, help="Of these, give those at most so much less similar than the first; else all."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Of a corpus, a benchmark or an agent's runs: where the files are.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Of a benchmark, which split, as its files are named; of a corpus, test; of an agent's runs, of "
            "Multimodal-Mind2Web."
        ),
    ] = None,
    format: Annotated[
        TrajectoryFormat | None,
        typer.Option(help="Of an agent's runs without --split: whose files they are; comem-agent unless given."),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(
            help="Only these besides none: text, memory, shuffled memory, ...; separated by commas; and no times."
        ),
    ] = None,
    passages: Annotated[
        bool, typer.Option("--passages", help="Each sentence of an item has vectors of its own, as in comem add.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at once; fewer take less memory.")] = 16,
    answers: Annotated[bool, typer.Option("--answers", help="Of conversations: have the model answer too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare none / text / memory / both / shuffled memory on questions about known items; --json has all answers."""
    if questions == CONVERSATIONS:
        with open_memory(context, persist_directory=None, chroma_url=None) as memory:
            _converse(memory, limit or 1, answers=answers, as_json=as_json)
        return
    from comem_memory.evaluation import tables
    from comem_memory.evaluation.comparison import SOURCES, compare
    from comem_memory.evaluation.first_token import first_token
    from comem_memory.evaluation.question_sets import question_set

    asked_sources = SOURCES if sources is None else [source.strip() for source in sources.split(",")]
    asked = question_set(
        questions,
        num_facts=facts,
        searched=k is not None,
        folder=folder,
        split=split,
        format=format,
        limit=limit,
    )
    with open_memory(context, persist_directory=None, chroma_url=None) as memory:
        rule: PassageRule | None = "sentence" if passages else None
        comparison = compare(
            memory, asked, k=k, margin=margin, sources=asked_sources, passages=rule, batch_size=batch_size
        )
        if not as_json:
            grids = [tables.scores(comparison), tables.kinds(comparison)]
            if comparison.published:
                grids.insert(1, tables.published(comparison))
            for grid in grids:
                console.print(grid.as_rich())
        cost = None if sources else first_token(memory, comparison.asked[:: max(1, comparison.n // 12)][:12])
    if as_json:
        print_json(comparison.as_dict() | ({"first_token": cost.as_dict()} if cost else {}))
    elif cost:
        console.print(tables.costs(cost).as_rich())


def _converse(memory: ContinuousMemory, limit: int, *, answers: bool, as_json: bool) -> None:
    """Has agents take part in scripted conversations, `limit` of each language, and prints what they recall."""
    from comem_memory.evaluation.agents import ComemAgent, EveryTurn
    from comem_memory.evaluation.conversations import Turn, run, table

    def answer(turn: Turn) -> str:
        return memory.namespace(turn.user).answer(turn.text).text

    ours = run(ComemAgent(memory), seeds=range(limit), answer=answer if answers else None)
    texts = memory.key.text
    results = [ours] if texts is None else [ours, run(EveryTurn(texts), seeds=range(limit))]
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        console.print(table(results).as_rich())


@app.command()
def report(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="For report.md, plots and answers; rerun to resume.")],
    limit: Annotated[int, typer.Option(min=1, help="Questions of a comparison.")] = 300,
) -> None:
    """Write every comparison with tables and plots (needs matplotlib and Faker; takes hours without a GPU)."""
    from comem_memory.evaluation.report import write_report

    with open_memory(context, persist_directory=None, chroma_url=None) as memory:
        console.print(f"Written to {write_report(memory, folder, limit=limit)}.")
