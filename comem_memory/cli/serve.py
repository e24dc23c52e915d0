"""Commands of a server: serve, token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from comem_memory.cli.app import app, console, open_memory
from comem_memory.cli.options import options_of
from comem_memory.server.settings import ServerSettings


@app.command()
@options_of(ServerSettings)
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Name or address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 8420,
    tokens: Annotated[
        Path | None, typer.Option(help="File of comem token; without it whoever reaches the port may do everything.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file of a certificate, with its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Listen beyond this machine without TLS: the network is private.")
    ] = False,
    grace: Annotated[float, typer.Option(min=0, help="Seconds to finish what runs, when told to stop.")] = 30.0,
    ui: Annotated[bool, typer.Option("--ui", help="Show the memory in browsers, too, at /ui.")] = False,
    log: Annotated[Path | None, typer.Option(help="File of the access log; default: standard error.")] = None,
    tracing: Annotated[
        bool, typer.Option("--tracing", help="Send OpenTelemetry spans; the OTEL_ variables say where.")
    ] = False,
    **limits: Any,
) -> None:
    """Serve the memory over HTTP to many clients, which need no model: docs/guides/server.md.

    SIGTERM or SIGINT stops it: new requests are refused, running ones finished, and nothing acknowledged is lost.
    """
    from comem_memory.server import running  # not for --help: it loads torch

    address = running.Address(host, port, tokens, tls_cert, tls_key, plain_http)
    try:
        settings = ServerSettings(**limits)
    except ValidationError as error:
        raise typer.BadParameter(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
    running.log_to(log)
    bound = address.bind()  # before the model is loaded
    directory = None if context.obj["chroma_url"] else context.obj["persist_directory"]

    def ready(url: str) -> None:
        console.print(f"Serving {directory or context.obj['chroma_url']} on {url}")

    add = None
    if ui:
        from comem_memory.ui import mount  # an extra of its own

        add = mount
    with open_memory(context) as memory:
        running.serve(
            memory, address, bound, settings, grace=grace, directory=directory, tracing=tracing, add=add, ready=ready
        )


@app.command()
def token(
    file: Annotated[Path, typer.Argument(help="The file for comem serve --tokens; it keeps hashes alone.")],
    name: Annotated[str, typer.Option(help="Whose token it is, for the access log.")],
    namespaces: Annotated[
        str | None,
        typer.Option(help="What it opens, separated by commas, the default first; NAME/* for all that are below."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="It opens all namespaces: for whoever runs the server.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Its owner may not write.")] = False,
) -> None:
    """Make a token for a server's clients, and print it once. Removing its entry from the file revokes it."""
    if (namespaces is None) != every:
        raise typer.BadParameter("Pass either --namespaces A,B or --all.")
    from comem_memory.server.tokens import new_token  # not for --help: it loads torch

    opened = None if namespaces is None else [one.strip() for one in namespaces.split(",")]
    console.print(new_token(file, name=name, namespaces=opened, writes=not read_only))
