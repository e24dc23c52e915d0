"""Requests a second of many clients of `comem serve`, against as many threads that use a memory in their own process.

Both hold the same items, each in a directory of its own, and take turns; the clients are threads of this process:

    python benchmarks/server.py --clients 16 --items 100 --seconds 5 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import httpx

from comem_memory import ContinuousMemory


def rate(clients: int, seconds: float, work: Callable[[int, int], object]) -> float:
    """Calls a second of all clients together, each in a thread.

    Args:
        clients: How many.
        seconds: How long they go on.
        work: Is called with the client's number and the number of its call.
    """
    calls = [0] * clients
    ends_at = time.perf_counter() + seconds

    def go_on(client: int) -> None:
        while time.perf_counter() < ends_at:
            work(client, calls[client])
            calls[client] += 1

    begun = time.perf_counter()
    threads = [threading.Thread(target=go_on, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(calls) / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--items", type=int, default=100, help="Stored before.")
    parser.add_argument("--seconds", type=float, default=5, help="Of each measurement.")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    texts = [f"Room {number} has {number * 7} chairs." for number in range(asked.items)]
    rates: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        command = [Path(sys.executable).with_name("comem"), "--directory", f"{folder}/served", "serve", "--port", "0"]
        command += ["--rate", "1000000/second", "--writes-at-once", str(asked.clients), "--log", f"{folder}/log"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            clients = [httpx.Client(base_url=f"{url}/v1", timeout=300) for _ in range(asked.clients)]
            for text in texts:
                clients[0].post("/items", json={"items": [{"text": text}]}).raise_for_status()
            with ContinuousMemory.from_pretrained(persist_directory=f"{folder}/own") as memory:
                memory.add(texts, progress=False)

                def question(client: int, call: int) -> str:
                    return f"How many chairs are in room {(31 * client + call) % asked.items}?"

                def post(client: int, path: str, body: object) -> None:
                    clients[client].post(path, json=body).raise_for_status()

                for round_ in range(asked.rounds):

                    def said(client: int, call: int, way: str, round_: int = round_) -> str:
                        return f"Client {client} said {call} in round {round_}, {way}."

                    ways: dict[str, Callable[[int, int], object]] = {
                        "search, own": lambda c, n: memory.search(question(c, n)),
                        "search, served": lambda c, n: post(c, "/search", {"text": question(c, n)}),
                        "add, own": lambda c, n: memory.add(said(c, n, "own")),
                        "add, served": lambda c, n: post(c, "/items", {"items": [{"text": said(c, n, "served")}]}),
                    }
                    for name, work in ways.items():
                        rates[name].append(rate(asked.clients, asked.seconds, work))
        finally:
            server.terminate()
            server.wait()
    print(json.dumps({"asked": vars(asked), "calls a second": rates}))
    for name in ("search", "add"):
        own, served = (statistics.median(rates[f"{name}, {way}"]) for way in ("own", "served"))
        print(f"{name}: {own:.1f} a second in one process, {served:.1f} served, ratio {served / own:.2f}")


if __name__ == "__main__":
    main()
