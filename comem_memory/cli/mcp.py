"""`comem mcp`: the memory as an MCP server for one assistant, which starts it."""

from __future__ import annotations

from contextlib import ExitStack

import typer

from comem_memory.cli.app import app, reach_memory


@app.command()
def mcp(context: typer.Context) -> None:
    """Let an assistant remember, recall and forget: an MCP server over standard input and output.

    With --url, or where a server has the directory open, it uses that server and loads no model.
    """
    from comem_memory.server.mcp_server import serve_stdio  # not for --help: it loads torch

    with ExitStack() as opened:
        serve_stdio(lambda: opened.enter_context(reach_memory(context, new=True)))
