"""Answers from a vLLM server against those of the same model in this process, in one run.

`make test-vllm` makes the environment; then `COMEM_VLLM=.venv/vllm/bin/python python benchmarks/vllm_users.py` starts
the server, asks and stops it. Both run the embedded default's language model in float32 and answer greedily.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from helpers.vllm import FLAGS, vllm_server

from comem_memory import ContinuousMemory, mini
from comem_memory.chat import Chat, ChatSettings
from comem_memory.model import AnsweringModel, ServedModel

USERS = 16
COLOURS = (
    *("blue", "red", "green", "white", "black", "pink", "grey", "brown"),
    *("gold", "teal", "violet", "orange", "amber", "ivory", "olive", "ruby"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="medians are of so many")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, PyTorch with {torch.get_num_threads()} threads here")
    with TemporaryDirectory() as folder, ContinuousMemory.from_pretrained() as memory:
        text = Path(folder) / "text"
        text.symlink_to(mini.text_model())
        memory.add([f"The {colour} door opens with the {colour} key." for colour in COLOURS])
        started = time.perf_counter()
        with vllm_server(text, mini.TEXT_NAME, *FLAGS) as url:
            print(f"the server answers after {time.perf_counter() - started:.0f} s")
            served = ServedModel(url, mini.TEXT_NAME, location=str(text))
            users(memory, served, rounds=options.rounds, tokens=options.tokens)
            second_turn(memory, served, rounds=options.rounds)


def users(memory: ContinuousMemory, served: AnsweringModel[Any], *, rounds: int, tokens: int) -> None:
    """Answers a second of `USERS` users who ask at the same time; here they are answered one after another."""
    asked, prompts = [], []
    for colour in COLOURS:
        turns = [{"role": "user", "content": f"What opens the {colour} door? Tell a story of it."}]
        vectors = memory.recall(turns, k=3, mode="memory").memory
        asked.append((memory.backbone.prompt(turns), vectors))
        prompts.append((served.prompt(turns), vectors))
    settings = {"max_new_tokens": tokens, "min_new_tokens": tokens}

    def ask(model: AnsweringModel[Any], one: tuple[Any, torch.Tensor | None]) -> list[int]:
        return model.generate([one[0]], [one[1]], **settings)[0]

    seconds: dict[str, list[float]] = {
        "one after another, here": [],
        f"{USERS} at once, vLLM": [],
        "one alone, vLLM": [],
    }
    for _ in range(rounds):
        begun = time.perf_counter()
        ours = [ask(memory.backbone, one) for one in asked]
        seconds["one after another, here"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        with ThreadPoolExecutor(USERS) as pool:
            theirs = list(pool.map(lambda one: ask(served, one), prompts))
        seconds[f"{USERS} at once, vLLM"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        ask(served, prompts[0])
        seconds["one alone, vLLM"].append(time.perf_counter() - begun)
        same = sum(one == other for one, other in zip(ours, theirs, strict=True))
        print(f"{same} of {USERS} answers of {tokens} tokens are the same")
    for name, took in seconds.items():
        median = statistics.median(took)
        count = 1 if "alone" in name else USERS
        print(f"{name}: {median:.2f} s (median of {rounds}), {count / median:.2f} answers a second")
    ratio = statistics.median(a / b for a, b in zip(*list(seconds.values())[:2], strict=True))
    print(f"vLLM answers {ratio:.1f} times as many a second as one after another here")


def second_turn(memory: ContinuousMemory, served: AnsweringModel[Any], *, rounds: int) -> None:
    """Time to the first token of a conversation's second turn, after its first one was answered and without."""
    vectors = memory.recall([{"role": "user", "content": "What opens the blue door?"}], k=3, mode="memory").memory
    for name, model in (("here", memory.backbone), ("vLLM", served)):
        first: list[float] = []
        cold: list[float] = []
        for n in range(2 * rounds):
            told = " ".join(f"Note {n}.{line}: the {colour} door is oak." for line, colour in enumerate(COLOURS))
            begin = [{"role": "user", "content": f"{told} What opens the blue door?"}]
            after = [
                *begin,
                {"role": "assistant", "content": "The blue key."},
                {"role": "user", "content": "Are you sure?"},
            ]
            chat = Chat(model)
            if n % 2:
                chat.reply(begin, vectors, ChatSettings(max_tokens=1))
            begun = time.perf_counter()
            pieces = chat.stream(after, vectors, ChatSettings(max_tokens=8))
            next(pieces)
            (first if n % 2 else cold).append(time.perf_counter() - begun)
            for _ in pieces:
                pass
        known, unknown = statistics.median(first), statistics.median(cold)
        length = model.prompt_length(chat.prompt(after), vectors)
        print(
            f"{name}: the second turn ({length} tokens) begins after {known * 1000:.0f} ms where the first was "
            f"answered before, {unknown * 1000:.0f} ms where not ({unknown / known:.1f} times as long)"
        )


if __name__ == "__main__":
    main()
