"""What memory costs in time and space, as ratios of one run: `python benchmarks/speed.py`; `--json` for the numbers.

Recall in int8, the rest with the embedded default model. What is compared takes turns, so that other work on the
machine slows all of it alike. A store of 100,000 items takes 12 GB at hidden size 3584 while it is measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from storage import TEXT, random_identity
from tqdm.auto import tqdm

from comem_memory import Backbone, MemoryEncoder, mini
from comem_memory.chat import Chat, ChatSettings
from comem_memory.evaluation.peak_memory import peak_resident
from comem_memory.model import Message
from comem_memory.opening import default_key, load_backbone
from comem_memory.store import ChromaStore, MemoryRecord, decode_block, encode_block
from comem_memory.synthesis.countries import item, rows

K = 10
QUESTION = "Which of these countries has the longest coast?"
DECODED = 64
"""Tokens of an answer, of which all but the first are timed."""

Name = TypeVar("Name", bound=Hashable)


def medians(measures: dict[Name, Callable[[], float]], rounds: int) -> dict[Name, float]:
    """Median seconds by name over rounds in which each is measured once, after one that does not count."""
    seconds: dict[Name, list[float]] = {name: [] for name in measures}
    for _ in range(rounds + 1):
        for name, measure in measures.items():
            seconds[name].append(measure())
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# -- recall --------------------------------------------------------------------------------------------------


def recall(sizes: Sequence[int], questions: int, hidden_size: int) -> dict[str, dict[str, float]]:
    """By number of items: median milliseconds of a question's key, search and, of that, fetching; and of decoding."""
    key = default_key()
    asked = [f"{row['name']}, {TEXT[: 20 + i % 40]}" for i, row in zip(range(questions), rows() * 100, strict=False)]
    found: dict[str, dict[str, float]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            store = random_store(Path(folder), size, hidden_size, key.name, key.dimension)
            parts: dict[str, list[float]] = {"key": [], "search": [], "fetch": [], "decode": []}
            for question in asked:
                start = time.perf_counter()
                vector = key.query_key(question)
                keyed = time.perf_counter()
                hits = store.search(vector, namespace="default", k=K)
                searched = time.perf_counter()
                for record, _ in hits:
                    decode_block(record.block, item_id=record.id)
                decoded = time.perf_counter()
                store.get([record.id for record, _ in hits], namespace="default")
                fetched = time.perf_counter()
                for name, seconds in zip(
                    parts, (keyed - start, searched - keyed, fetched - decoded, decoded - searched), strict=True
                ):
                    parts[name].append(seconds * 1000)
            store.close()
            found[f"{size:,}"] = {name: statistics.median(times) for name, times in parts.items()}
    return found


def random_store(folder: Path, size: int, hidden_size: int, key_name: str, key_dimension: int) -> ChromaStore:
    """Items with random keys of unit length; their blocks are 64 random ones in turn."""
    generator = np.random.default_rng(0)
    identity = random_identity(hidden_size, key_name, key_dimension)
    store = ChromaStore.embedded(folder, identity=identity)
    vectors = torch.from_numpy(generator.standard_normal((64, 8, hidden_size), np.float32))
    blocks = [encode_block(one, "int8") for one in vectors]
    for start in tqdm(range(0, size, 1000), desc=f"{size:,} items", unit="k", disable=None):
        keys = generator.standard_normal((min(1000, size - start), key_dimension), np.float32)
        keys /= np.linalg.norm(keys, axis=1, keepdims=True)
        store.put(
            [
                MemoryRecord(
                    id=str(start + i), namespace="default", key=one, block=blocks[(start + i) % len(blocks)], text=TEXT
                )
                for i, one in enumerate(keys)
            ]
        )
    return store


# -- the model -----------------------------------------------------------------------------------------------


def first_token(backbone: Backbone, ks: Sequence[int], rounds: int) -> dict[str, dict[str, float]]:
    """By k: seconds to the first token with nothing, with k items as memory, and with their texts in the prompt."""
    texts = [item(row).text for row in rows()]

    def generate(messages: list[Message], memory: torch.Tensor | None) -> float:
        return timed(lambda: backbone.generate([backbone.prompts.prompt_inputs(messages)], [memory], max_new_tokens=1))

    def measures(k: int) -> dict[str, Callable[[], float]]:
        told = "\n".join(str(text) for text in texts[:k])
        return {
            "none": lambda: generate([user(QUESTION)], None),
            "memory": lambda: generate([user(QUESTION)], random_memory(backbone, k)),
            "text": lambda: generate([user(f"{told}\n\n{QUESTION}")], None),
        }

    return {str(k): medians(measures(k), rounds) for k in ks}


def decoding(backbone: Backbone, rounds: int) -> dict[str, float]:
    """Tokens a second after the first, with nothing and with k items as memory."""
    prompt = backbone.prompts.prompt_inputs([user(QUESTION)])

    def seconds(tokens: int, memory: torch.Tensor | None) -> float:
        settings = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        return timed(lambda: backbone.generate([prompt], [memory], **settings))

    memories = {"none": None, f"memory, k={K}": random_memory(backbone, K)}
    measures = {
        name: lambda memory=memory: seconds(DECODED, memory) - seconds(1, memory) for name, memory in memories.items()
    }
    return {name: (DECODED - 1) / taken for name, taken in medians(measures, rounds).items()}


def second_turn(backbone: Backbone, ks: Sequence[int], rounds: int) -> dict[str, dict[str, float]]:
    """By k: seconds to the first token of a chat's second turn, what the first one ran being reused, and not."""
    one, full = ChatSettings(max_tokens=1), ChatSettings(max_tokens=24)

    def measures(k: int) -> dict[str, Callable[[], float]]:
        memory, first = random_memory(backbone, k), [user(QUESTION)]
        said = Chat(backbone).reply(first, memory, full).text
        second = [*first, {"role": "assistant", "content": said}, user("And which one has the shortest?")]

        def turn(answered: bool) -> float:
            chat = Chat(backbone)
            if answered:
                chat.reply(first, memory, full)
            return timed(lambda: chat.reply(second, memory, one))

        return {"reused": lambda: turn(True), "not": lambda: turn(False)}

    return {str(k): medians(measures(k), rounds) for k in ks}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def random_memory(backbone: Backbone, k: int) -> torch.Tensor:
    """Of k items, as long as token embeddings."""
    scale = backbone.model.get_input_embeddings().weight.std()
    return torch.randn(8 * k, backbone.hidden_size, generator=torch.Generator().manual_seed(k)) * scale


# -- memory of the machine -----------------------------------------------------------------------------------


def peak_memory() -> dict[str, float]:
    """Highest resident MiB beyond the libraries', of encoding and answering with one base model and with two."""
    spawn = multiprocessing.get_context("spawn")  # a child that has this process's memory would tell its peak
    peaks: dict[str, float] = {}
    for name, copies in (("one model", 1), ("two models", 2)):
        results = spawn.Queue()
        child = spawn.Process(target=_peak, args=(copies, results))
        child.start()
        peaks[name] = results.get() / 2**20
        child.join()
    return peaks


def _peak(copies: int, results: multiprocessing.Queue) -> None:
    before = peak_resident()
    encoder = MemoryEncoder.from_pretrained(mini.ADAPTER, load_backbone())
    answering = encoder.backbone if copies == 1 else load_backbone()
    [memory] = encoder.encode([encoder.inputs(item(rows()[0]).text)])
    answering.generate([answering.prompts.prompt_inputs([user(QUESTION)])], [memory], max_new_tokens=8)
    results.put(peak_resident() - before)


# -- report --------------------------------------------------------------------------------------------------


def tables(found: dict[str, Any]) -> list[Table]:
    shown = []
    if "recall" in found:
        table = Table("items", "key", "search", "of which fetch", "decode", title=f"ms a question, k={K}, medians")
        for size, parts in found["recall"].items():
            table.add_row(size, *(f"{parts[name]:.2f}" for name in ("key", "search", "fetch", "decode")))
        shown.append(table)
    if "first_token" in found:
        table = Table("k", "none", "memory", "text", title="time to first token, none = 1")
        for k, seconds in found["first_token"].items():
            table.add_row(k, *(f"{seconds[name] / seconds['none']:.2f}" for name in ("none", "memory", "text")))
        shown.append(table)
    if "decoding" in found:
        bare = found["decoding"]["none"]
        table = Table("with", "tokens a second, none = 1", title="decoding")
        for name, speed in found["decoding"].items():
            table.add_row(name, f"{speed / bare:.2f}")
        shown.append(table)
    if "second_turn" in found:
        table = Table("k", "reused : not", "reused, k=1 is 1", title="second turn's time to first token")
        first = next(iter(found["second_turn"].values()))["reused"]
        for k, seconds in found["second_turn"].items():
            table.add_row(k, f"{seconds['reused'] / seconds['not']:.2f}", f"{seconds['reused'] / first:.2f}")
        shown.append(table)
    if "peak_memory" in found:
        table = Table("with", "MiB", title="peak memory beyond the libraries'")
        for name, size in found["peak_memory"].items():
            table.add_row(name, f"{size:.0f}")
        shown.append(table)
    return shown


PARTS = ("recall", "first_token", "decoding", "second_turn", "peak_memory")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--stores", nargs="+", type=int, default=(1_000, 10_000), help="items; 100000 takes 12 GB")
    parser.add_argument("--hidden-size", type=int, default=3584, help="of the recalled vectors")
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    if "recall" in arguments.parts:
        found["recall"] = recall(arguments.stores, arguments.questions, arguments.hidden_size)
    if {"first_token", "decoding", "second_turn"} & set(arguments.parts):
        backbone = load_backbone()
        if "first_token" in arguments.parts:
            found["first_token"] = first_token(backbone, (1, 3, 10, 50), arguments.rounds)
        if "decoding" in arguments.parts:
            found["decoding"] = decoding(backbone, arguments.rounds)
        if "second_turn" in arguments.parts:
            found["second_turn"] = second_turn(backbone, (1, 10, 50), arguments.rounds)
    if "peak_memory" in arguments.parts:
        found["peak_memory"] = peak_memory()
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        for table in tables(found):
            Console().print(table)
