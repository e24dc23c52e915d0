"""What clients of HTTP servers need besides httpx: headers checked before they are sent, requests that can be ended."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress


def unsendable(headers: Mapping[str, str]) -> str | None:
    """The name of the first header whose value has characters outside printable ASCII, such as line breaks.

    httpx itself would name the value, which may be a secret, in its error.
    """
    return next((name for name, value in headers.items() if not (value.isascii() and value.isprintable())), None)


@contextmanager
def hung_up_when(stopped: threading.Event, connections: Sequence[socket.socket]) -> Iterator[None]:
    """Within it the newest connection is shut down when `stopped` is set, so that whoever waits for it returns at once.

    Args:
        stopped: Set when the caller gives up.
        connections: May be empty at first, and grow.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            if stopped.is_set() and connections:
                with suppress(OSError):  # it is closed already
                    connections[-1].shutdown(socket.SHUT_RDWR)
                return

    watching = threading.Thread(target=watch, name="comem-stop", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
