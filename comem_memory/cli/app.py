"""The command line: `comem --help`."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

import comem_memory
from comem_memory.cli.extras import how_to_install
from comem_memory.cli.interrupts import Commands
from comem_memory.errors import ComemError, QueryError
from comem_memory.progress import lines_of_other_bars

if TYPE_CHECKING:
    from comem_memory.memory import ContinuousMemory
    from comem_memory.model import Backbone
    from comem_memory.store import ChromaServer

app = typer.Typer(
    cls=Commands,
    help="Continuous memory: items become vectors, are found again, and a frozen model answers from them.\n\n"
    "Options that stand before the command can also be set as environment variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _filter(text: str) -> dict[str, Any]:
    from comem_memory.store.filters import check_filter  # not for --help: it loads NumPy

    try:
        return check_filter(json.loads(text))
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{text!r} is no JSON: {error}.") from error
    except QueryError as error:
        raise typer.BadParameter(str(error)) from error


URL, NAMESPACE = "comem.url", "comem.namespace"
"""Where a context keeps what commands on items need besides what opens a memory."""
OF_A_SERVER = ("model", "adapter", "answering_url", "answering_token", "key", "reranker")
"""Options of which a server has its own."""
console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)  # users' texts are shown as they are

Directory = Annotated[
    Path, typer.Option("--directory", "-d", envvar="COMEM_DIRECTORY", help="Where the memory is kept.")
]
Server = Annotated[str | None, typer.Option("--server", envvar="COMEM_SERVER", help="URL of a Chroma server.")]
ServerToken = Annotated[
    str | None,
    typer.Option(envvar="COMEM_SERVER_TOKEN", help="Token of that server; better set as an environment variable."),
]
ServerHeader = Annotated[
    list[str] | None,
    typer.Option(envvar="COMEM_SERVER_HEADER", help="Sent to that server too, as Name:value without blanks."),
]
ServerTenant = Annotated[str | None, typer.Option(envvar="COMEM_SERVER_TENANT", help="Tenant on that server.")]
ServerDatabase = Annotated[str | None, typer.Option(envvar="COMEM_SERVER_DATABASE", help="Database of that tenant.")]
ServerCertificates = Annotated[
    Path | None,
    typer.Option(envvar="COMEM_SERVER_CERTIFICATES", help="PEM file of authorities to trust for that server."),
]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="COMEM_URL",
        help="URL of a comem serve, whose model, adapter and key are used; its token is read from COMEM_TOKEN. By "
        "default the one that has the directory open, if one runs.",
    ),
]
Model = Annotated[str | None, typer.Option(envvar="COMEM_MODEL", help="Base model; default: the embedded one.")]
Adapter = Annotated[
    str | None,
    typer.Option(
        envvar="COMEM_ADAPTER",
        help="Folder of a trained memory encoder, or a checkpoint of CoMEM's authors (folder or hub name).",
    ),
]
AnsweringUrl = Annotated[
    str | None,
    typer.Option(
        envvar="COMEM_ANSWERING_URL",
        help="A vLLM server that runs the model that answers, for trusted clients alone (docs/guides/vllm.md).",
    ),
]
AnsweringToken = Annotated[
    str | None,
    typer.Option(envvar="COMEM_ANSWERING_TOKEN", help="API key of that server; better set as an environment variable."),
]
Key = Annotated[
    str | None,
    typer.Option(
        envvar="COMEM_KEY",
        help="Sentence-transformers, CLIP or SigLIP model that items are found with (folder or hub name); embedded: "
        "multilingual-e5-small, the default, and all-MiniLM-L6-v2.",
    ),
]
Reranker = Annotated[
    str | None,
    typer.Option(
        envvar="COMEM_RERANKER",
        help="late-interaction: reads what the default key finds once more, and orders it (docs/guides/retrieval.md).",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        envvar="COMEM_NAMESPACE",
        help="Whose memory; by default the first that the token opens, or 'default'.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Where = Annotated[
    dict[str, Any] | None,
    typer.Option(
        "--where",
        parser=_filter,
        metavar="JSON",
        help='Only items whose metadata and times match, as {"year": {"$gte": 2020}} or '
        '{"comem.created_at": {"$gte": "2026-05-03T00:00:00Z"}}.',
    ),
]
K = Annotated[int, typer.Option("-k", help="Items to recall.")]
Question = Annotated[str | None, typer.Argument(help="Text to search with.")]
ImageFile = Annotated[Path | None, typer.Option("--image", "-i", help="Picture to search with.")]


def _print_version(asked: bool) -> None:
    if asked:
        console.print(f"comem-memory {comem_memory.__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    directory: Directory = Path("comem-memory"),
    server: Server = None,
    server_token: ServerToken = None,
    server_header: ServerHeader = None,
    server_tenant: ServerTenant = None,
    server_database: ServerDatabase = None,
    server_certificates: ServerCertificates = None,
    model: Model = None,
    adapter: Adapter = None,
    answering_url: AnsweringUrl = None,
    answering_token: AnsweringToken = None,
    key: Key = None,
    reranker: Reranker = None,
    namespace: Namespace = None,
    url: Url = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if wrong := [header for header in server_header or () if ":" not in header]:
        raise typer.BadParameter(f"{wrong[0]!r} is not Name:value.", param_hint="--server-header")
    headers = dict(header.split(":", 1) for header in server_header or ())
    settings = {
        "token": server_token,
        "headers": headers,
        "tenant": server_tenant,
        "database": server_database,
        "certificates": server_certificates,
    }
    context.obj = {
        "model": model,
        "adapter": adapter,
        "answering_url": answering_url,
        "answering_token": answering_token,
        "key": key,
        "reranker": reranker,
        "persist_directory": directory,
        "chroma_url": server and _server(server, settings),
        "namespace": "default" if namespace is None else namespace,
    }
    context.meta[URL], context.meta[NAMESPACE] = url, namespace


def _server(url: str, settings: dict[str, Any]) -> ChromaServer:
    from comem_memory.store import ChromaServer  # not for --help: it loads torch

    return ChromaServer(url=url, **settings)


@contextmanager
def open_memory(context: typer.Context, **other: Any) -> Iterator[ContinuousMemory]:
    """The memory with its model, in this process."""
    from comem_memory.memory import ContinuousMemory  # not for --help: it loads torch

    with ContinuousMemory.from_pretrained(**context.obj | other) as memory:
        yield memory


@contextmanager
def reach_memory(context: typer.Context, *, new: bool = False) -> Iterator[ContinuousMemory]:
    """The memory of a server that is named, or has the directory open; else as `open_memory`.

    Args:
        context: Of the command.
        new: Where there is no memory, one is made, which else is refused.

    Raises:
        StoreLocationError: There is no memory, and not `new`.
    """
    server = server_of(context)
    if server is None:
        if not new:
            check_there(context)
        with open_memory(context) as memory:
            yield memory
        return
    from comem_memory.memory import ContinuousMemory

    url, token = server
    with ContinuousMemory.connect(url, token, namespace=context.meta[NAMESPACE]) as memory:
        yield memory


def check_there(context: typer.Context) -> None:
    """
    Raises:
        StoreLocationError: There is no memory in the directory, or at the Chroma server.
    """
    from comem_memory.cli import places  # not for --help: it loads chromadb

    places.check_there(context.obj["persist_directory"], context.obj["chroma_url"])


def server_of(context: typer.Context) -> tuple[str, str | None] | None:
    """URL and token of the server that commands on items use, if there is one; warns of options that it has itself."""
    server: tuple[str, str | None] | None = None
    if context.meta[URL] is not None:
        server = context.meta[URL], os.environ.get("COMEM_TOKEN")
    elif context.obj["chroma_url"] is None:
        from comem_memory.server.announcement import find_server

        found = find_server(context.obj["persist_directory"])
        server = None if found is None else (found.url, found.token)
    if server is not None and (given := [name for name in OF_A_SERVER if _is_given(context, name)]):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        told = f"{options} changes nothing here: the server at {server[0]} has its own."
        warnings.warn(told, stacklevel=1)  # from one place, so that a command that asks twice says it once
    return server


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands in the command itself, and not in the environment."""
    source = context.find_root().get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def load_backbone(context: typer.Context, **model_kwargs: Any) -> Backbone:
    """The frozen model without a memory."""
    from comem_memory import opening  # not for --help: it loads torch

    return opening.load_backbone(context.obj["model"], **model_kwargs)


def print_json(value: Any) -> None:
    escaped = sys.stdout.encoding.lower() != "utf-8"  # other encodings lack characters, and JSON can do without
    sys.stdout.write(json.dumps(value, ensure_ascii=escaped) + "\n")


def main() -> None:
    """Runs the command; what goes wrong is one line on standard error and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # of a character that the terminal lacks, the command does not fail
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        with _progress_on_standard_error():
            app()
    except Exception as error:
        if os.environ.get("COMEM_TRACEBACK"):
            raise
        fail(_told(error))


def _told(error: Exception) -> str:
    """What went wrong, and what to do."""
    if isinstance(error, ComemError | OSError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        how = how_to_install(error.name)
        return f"{error}. Install " + (
            f"what has it: {how}" if how else f"the package that has the module {error.name}."
        )
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return (
            f"{str(error).partition('.')[0]}. docs/guides/precision.md has settings that take less memory; a training "
            "goes on with --gradient-checkpointing when it is given again."
        )
    return f"{type(error).__name__}: {error}. This is a defect of comem-memory: COMEM_TRACEBACK=1 shows where it lies."


@contextmanager
def _progress_on_standard_error() -> Iterator[None]:
    """Lines tell of long work where standard error is no terminal, which has bars."""
    logger, handler = logging.getLogger("comem_memory.progress"), logging.StreamHandler()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with nullcontext() if sys.stderr.isatty() else lines_of_other_bars():
            yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(1)
