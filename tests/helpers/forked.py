"""Scripts in processes of their own, forked from one that has imported the library, which takes seconds."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["comem_memory.testing", "comem_memory.server.running"])


class Forked:
    """A script that runs.

    Args:
        script: Python. What the library reads when it is imported was read before, and at its end nothing is done that
            was left to `atexit`.
        arguments: What `sys.argv` has beside the program's name.
    """

    def __init__(self, script: str, arguments: Sequence[str] = ()) -> None:
        readable, writable = _PROCESSES.Pipe(duplex=False)
        told = script, ["-c", *arguments], dict(os.environ), writable
        self._process = _PROCESSES.Process(target=_run, args=told)
        self._process.start()
        writable.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.stdout = os.fdopen(os.dup(readable.fileno()))
        """What it prints."""
        readable.close()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it if it still runs."""
        self._process.kill()
        self._process.join()

    def wait(self, seconds: float | None = None) -> int:
        """Waits for its end; gives its exit code, or a signal as a negative number."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"It still runs after {seconds} seconds."
        return self._process.exitcode


def _run(script: str, argv: list[str], environment: dict[str, str], output: Connection) -> None:
    os.dup2(output.fileno(), 1)
    output.close()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = argv
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script, "-c", "exec"), names)
