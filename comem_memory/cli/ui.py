"""The command that shows a memory in the browser: ui."""

from __future__ import annotations

import secrets
import threading
import webbrowser
from typing import Annotated

import typer

from comem_memory.cli.app import app, console, reach_memory, server_of
from comem_memory.server.settings import ServerSettings


@app.command()
def ui(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let in every program and user of this machine.")
    ] = False,
) -> None:
    """Look at the memory in a browser: items, search, answers side by side, a map. Until Ctrl-C."""
    from comem_memory.server import running  # not for --help: it loads torch
    from comem_memory.ui import LOGIN, PATH, Sessions, mount

    token = None if no_token else secrets.token_urlsafe(32)
    address = running.Address(port=port)
    bound = address.bind()  # before the model is loaded
    reached = server_of(context) is not None
    directory = None if reached or context.obj["chroma_url"] else context.obj["persist_directory"]
    signed_in: list[Sessions] = []

    def ready(url: str) -> None:
        page = f"{url}{PATH}/"
        console.print(f"Look at {page if token is None else f'{url}{LOGIN}?token={token}'} (Ctrl-C ends it)")
        if browser:
            # Other users of this machine see what a browser is started with: a code that is used up at once.
            link = page if token is None else f"{url}{LOGIN}?token={signed_in[0].code(token)}"
            threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()

    with reach_memory(context, new=True) as memory:
        running.serve(
            memory,
            address,
            bound,
            ServerSettings(),
            grace=2,
            directory=directory,
            own_token=token,
            api=not reached,
            add=lambda app: signed_in.append(mount(app)),
            ready=ready,
        )
