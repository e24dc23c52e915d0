"""Other processes: scripts that use the library, and Chroma's server."""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.forked import Forked

NO_RIGHT_TO_WRITE = ("setpriv", "--bounding-set=-dac_override")
"""Starts a program that root's right to write everywhere is taken from; permissions then hold for root too."""
NO_PASSWD_ENTRY = ("unshare", "--user", "--map-user=4242")
"""Starts a program as a user that the system has no entry of, and so no home directory."""
_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def read_only(directory: str | Path) -> tuple[str, ...]:
    """Starts a program that cannot write in a directory, even as root."""
    return ("unshare", "--mount", "sh", "-c", _READ_ONLY, str(directory))


def why_not_read_only() -> str | None:
    """Why a process cannot see a directory as read-only here; `None` where it can."""
    if (
        shutil.which("unshare")
        and not subprocess.run([*read_only(tempfile.gettempdir()), "true"], capture_output=True).returncode
    ):
        return None
    return "A read-only mount needs Linux, and the rights to make one (root)."


def run(script: str, *arguments: object, kill: bool = False, forked: bool = False, within: Sequence[str] = ()) -> str:
    """Run a script in another process; with `kill`, kill it as soon as it prints.

    Args:
        script: The script.
        *arguments: The script's arguments.
        kill: Whether to kill it as soon as it prints.
        forked: Save the seconds of importing the library: see `Forked`.
        within: A command that starts the other process.
    """
    setup = f"""
        import sys, time
        sys.path[:0] = {[str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]!r}
    """
    whole, given = textwrap.dedent(setup) + textwrap.dedent(script), [*map(str, arguments)]
    process: Forked | subprocess.Popen[str]
    if forked:
        process = Forked(whole, given)
    else:
        command = [*within, sys.executable, "-c", whole, *given]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.readline()
    if kill:
        process.send_signal(signal.SIGKILL)
    output += process.stdout.read()
    process.wait()
    return output.strip()


def is_locked(directory: str | Path) -> bool:
    """Whether a memory in a directory is open, in whatever process."""
    lock = FileLock(Path(directory) / "comem.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


@contextmanager
def chroma_server(path: Path, port: int = 0) -> Iterator[str]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("chroma"), "run", "--path", path]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    waited_until = time.monotonic() + 120  # a machine at its limit takes long to start it
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        if server.poll() is not None or time.monotonic() > waited_until:
            server.kill()
            raise RuntimeError(f"Chroma's server does not answer on port {port} (exit code {server.poll()}).")
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()
