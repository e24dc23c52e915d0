"""A server in a process of its own, as `comem serve` runs one, with a tiny memory in a directory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.forked import Forked

SCRIPT = """
import json, sys
from pathlib import Path
from comem_memory.server.running import Address, log_to, serve
from comem_memory.server.settings import ServerSettings
from comem_memory.testing import tiny_memory

directory, given = Path(sys.argv[1]), json.loads(sys.argv[2])
paths = {name: Path(given[name]) for name in ("tokens", "certificate", "key") if name in given}
address = Address(host=given.get("host", "127.0.0.1"), **paths)
log_to(Path(given["log"]) if "log" in given else None)
bound = address.bind()
if "ui" in given:
    from comem_memory.ui import mount
with tiny_memory(directory, family=given.get("family", "llava")) as memory:
    if "window" in given:
        memory.encoder.backbone.model.config.get_text_config().max_position_embeddings = given["window"]
    serve(
        memory, address, bound, ServerSettings(**given.get("settings", {})), grace=given.get("grace", 30),
        directory=directory, add=mount if "ui" in given else None, ready=lambda url: print(url, flush=True),
    )
print("closed", flush=True)
"""


class ServerProcess:
    """A running server.

    Args:
        process: Its process, which said where it is.
    """

    def __init__(self, process: Forked) -> None:
        self.process, self.url = process, process.stdout.readline().strip()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> tuple[int, str]:
        """Waits for its end: exit code, and the last that it printed."""
        rest = self.process.stdout.read().strip()
        return self.process.wait(60), rest


@contextmanager
def server_process(directory: Path, **given: Any) -> Iterator[ServerProcess]:
    """Starts one and waits until it is ready; in the end it is killed if it still runs.

    Args:
        directory: The memory's directory.
        **given: host, tokens, certificate, key, log, grace, settings, a dict of `ServerSettings`, window, the tokens
            that the model reads, family, of which it is, and ui, to show the page.
    """
    process = Forked(SCRIPT, [str(directory), json.dumps(given, default=str)])
    try:
        yield ServerProcess(process)
    finally:
        process.kill()
