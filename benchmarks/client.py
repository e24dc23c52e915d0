"""What it costs a process to use a memory: opened there with its model, or served by another process.

    python benchmarks/client.py

Starts `comem serve` with the embedded default in a temporary directory, then each of these in a process of its own, and
prints seconds until it ended, seconds of CPU, and the most memory that it held. The two agents are the same program.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AGENT = """
import sys
from comem_memory import ContinuousMemory
from comem_memory.integrations.langchain import ChatComem, ComemMiddleware
from langchain.agents import create_agent

def opened():
    if sys.argv[1].startswith("http"):
        return ContinuousMemory.connect(sys.argv[1])
    return ContinuousMemory.from_pretrained(persist_directory=sys.argv[1])

with opened() as memory:
    chat = ChatComem(memory=memory, max_tokens=16)
    agent = create_agent(chat, middleware=[ComemMiddleware(memory, tools=False)])
    said = {"role": "user", "content": "My locker is number 58."}
    agent.invoke({"messages": [said]})
    asked = {"role": "user", "content": "Which number is my locker?"}
    assert agent.invoke({"messages": [asked]})["messages"][-1].response_metadata["memory_ids"]
"""


def measured(what: str, *command: object) -> None:
    """Runs a command and prints what it took."""
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{what}: exit status {status}")
    cpu = used.ru_utime + used.ru_stime
    print(f"| {what} | {seconds:.1f} | {cpu:.1f} | {used.ru_maxrss / 1000:.0f} |", flush=True)


def main() -> None:
    comem, python = Path(sys.executable).with_name("comem"), sys.executable
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "memory"
        print("| | seconds | of CPU | MB |\n|---|---|---|---|")
        measured("agent, memory opened there", python, "-c", AGENT, directory)
        measured("`comem search`, opened there", comem, "-d", directory, "search", "locker")
        measured("`comem stats`, opened there", comem, "-d", directory, "stats")
        server = subprocess.Popen(
            [comem, "-d", directory, "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        measured("agent, memory served", python, "-c", AGENT, url)
        measured("`comem search`, served", comem, "-d", directory, "search", "locker")
        measured("`comem stats`, served", comem, "-d", directory, "stats")
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
