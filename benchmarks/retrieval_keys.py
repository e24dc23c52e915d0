"""How well the keys that need no model hub find facts, and what they take: `python benchmarks/retrieval_keys.py`.

The facts and paraphrased questions of `retrieval_keys.json` are asked among the facts of their language; English
questions among the facts of every other language too. Long items hold an English fact among sentences about countries,
and are asked among one another. The default key is also measured with exact terms beside it, and reranked by the late
interaction, on more facts. Prints Markdown tables of recall@1 and @5 in per cent.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faker import Faker

from comem_memory.config import EncoderFingerprint
from comem_memory.evaluation.question_sets import question_set
from comem_memory.opening import DEFAULT_KEY, KEYS
from comem_memory.retrieval import LateInteractionReranker, RetrievalKey, SentenceTransformerEmbedder
from comem_memory.store import ChromaStore, CollectionIdentity, MemoryRecord, find
from comem_memory.synthesis.countries import item, rows

Pairs = Sequence[tuple[str, str]]
MEASURED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
NAMES = ("all-MiniLM-L6-v2", "multilingual-e5-small")
SENTENCES = (20, 50, 100)
"""Of a long item, some 13 word pieces each."""
INCIDENTS = (
    *("the mail gateway drops attachments", "the login page times out", "backups fail at night"),
    *("the search index is stale", "invoices are printed twice", "the VPN disconnects"),
    *("the build server's disk is full", "push notifications arrive late", "the calendar shows the wrong time zone"),
    *("exports miss the last column", "the payment provider rejects cards", "avatars do not load"),
)
PERSONS = {
    "en_US": ("{name} would rather have {thing}.", "What would {name} rather have?", "tea coffee milk juice"),
    "de_DE": ("{name} möchte lieber {thing}.", "Was möchte {name} lieber?", "Tee Kaffee Milch Saft"),
    "ru_RU": ("{name} предпочитает {thing}.", "Что предпочитает {name}?", "чай кофе молоко сок"),
}
"""Facts of persons that differ by the name alone, by the locale of the names."""
COUNTRIES: dict[str, Any] = {"num_facts": 3, "searched": True, "limit": 300}
"""Notes of three facts about a country, each question asked among all that are drawn."""
FRESH = """
import psutil
from comem_memory.opening import open_key
open_key({name!r}).query_key("What is the code of the safe?")
print(psutil.Process().memory_info().rss // 2**20)
"""


class BeginningOnly(SentenceTransformerEmbedder):
    """Reads one window of a text, as keys did up to version 0.1.0."""

    def _windows(self, text: str, prompt: str) -> list[str]:
        return [text]


def found(key: RetrievalKey, questions: Sequence[str], facts: Sequence[str]) -> np.ndarray:
    """(n,) the rank of each question's own fact, from 1."""
    items = key.item_keys(facts, [None] * len(facts))
    scores = np.stack([key.query_key(question) for question in questions]) @ items.T
    return (scores >= np.diag(scores)[:, None] - 1e-6).sum(axis=1)


def recall(ranks: np.ndarray) -> str:
    return ", ".join(f"{100 * (ranks <= k).mean():.0f}" for k in (1, 5))


def table(head: Iterable[str], lines: Iterable[Sequence[object]]) -> None:
    head = list(head)
    for cells in (head, ["---"] * len(head), *lines):
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    print()


def languages(keys: dict[str, RetrievalKey]) -> None:
    facts: dict[str, Pairs] = MEASURED["languages"]
    english = [question for _, question in facts["English"]]
    groups = np.array(MEASURED["groups"])
    by_language: dict[str, list[str]] = {name: [name] for name in facts}
    by_group: dict[str, list[str]] = {name: [name] for name in dict.fromkeys(MEASURED["groups"])}
    emoji = ["emoji"]
    totals = ["all"]
    for key in keys.values():
        own, across = [], []
        for name, pairs in facts.items():
            told = [fact for fact, _ in pairs]
            own.append(found(key, [question for _, question in pairs], told))
            across.append(found(key, english, told))
            by_language[name] += [recall(own[-1]), recall(across[-1])]
        for name, cells in by_group.items():
            cells += [recall(np.stack(ranks)[:, groups == name]) for ranks in (own, across[1:])]
        totals += [recall(np.stack(own)), recall(np.stack(across[1:]))]
        told, asked = zip(*MEASURED["emoji"], strict=True)
        emoji += ["", recall(found(key, asked, told))]
    columns = [f"{name}: {asked}" for name in keys for asked in ("own language", "asked in English")]
    table(["facts in", *columns], [*by_language.values(), totals, emoji])
    table(["kind of fact, all languages", *columns], by_group.values())


def long_items(number: int, place: str) -> list[str]:
    """An item for each English fact: `number` sentences about countries, the fact early, in the middle or late."""
    sentences = [sentence + "." for row in rows() for sentence in (item(row).text or "").rstrip(".").split(". ")]
    at = {"early": 1, "middle": number // 2, "late": number - 1}[place]
    texts = []
    for one, (fact, _) in enumerate(MEASURED["languages"]["English"]):
        around = random.Random(f"{number}/{one}").sample(sentences, number)
        texts.append(" ".join([*around[:at], fact, *around[at:]]))
    return texts


def lengths(keys: dict[str, RetrievalKey]) -> None:
    questions = [question for _, question in MEASURED["languages"]["English"]]
    lines = []
    for number in SENTENCES:
        for place in ("early", "middle", "late"):
            texts = long_items(number, place)
            lines.append([f"{number}, {place}", *(recall(found(key, questions, texts)) for key in keys.values())])
    table(["sentences, the fact", *keys], lines)


def term_sets() -> dict[str, list[tuple[str, list[str]]]]:
    """Facts among which is searched, each with what is asked about it, by the kind of fact."""
    sets: dict[str, list[tuple[str, list[str]]]] = {}
    for first, kind in ((4001, "codes of incidents"), (1, "codes, in lower case")):
        codes = [f"INC-{first + n:04}" for n in range(len(INCIDENTS))]
        asked = [f"What is {code} about?" for code in codes]
        asked = [question.lower() for question in asked] if "lower" in kind else asked
        told = [f"{code}: {incident}" for code, incident in zip(codes, INCIDENTS, strict=True)]
        sets[kind] = [(fact, [question]) for fact, question in zip(told, asked, strict=True)]
    for locale, (fact, question, things) in PERSONS.items():
        faker = Faker(locale)
        faker.seed_instance(0)
        names = [faker.unique.first_name() + " " + faker.unique.last_name() for _ in range(50)]
        chosen = random.Random(0).choices(things.split(), k=len(names))
        told = [fact.format(name=name, thing=thing) for name, thing in zip(names, chosen, strict=True)]
        sets[f"names, {locale}"] = [(fact, [question.format(name=n)]) for fact, n in zip(told, names, strict=True)]
    for name in ("notes-development", "notes", "countries", "agents", "german"):
        settings = {"searched": True} if name.startswith("notes") else {"limit": 60}
        given = question_set(name, **(COUNTRIES if name == "countries" else settings))
        texts = {one.id: one.text or "" for one in given.items}
        about: dict[str, list[str]] = {text: [] for text in texts.values()}
        for question in given.asked:
            about[texts[question.item_ids[0]]].append(question.text)
        sets[name] = list(about.items())
    english = MEASURED["languages"]["English"]
    for name, pairs in MEASURED["languages"].items():
        sets[name] = [(fact, [question, asked]) for (fact, question), (_, asked) in zip(pairs, english, strict=True)]
    return sets


def terms(key: RetrievalKey) -> None:
    """Each question of `term_sets`, searched by the key alone, with exact terms beside it, and reranked."""
    lines: list[list[object]] = []
    seconds, count = [0.0, 0.0, 0.0], 0
    reranker = LateInteractionReranker(key.text)
    for name, facts in term_sets().items():
        keys = key.item_keys([fact for fact, _ in facts], [None] * len(facts))
        moment = "2026-01-01T00:00:00+00:00"
        records = [
            MemoryRecord(id=f"{n:04}", namespace="a", key=made, block="", text=fact, created_at=moment)
            for n, (made, (fact, _)) in enumerate(zip(keys, facts, strict=True))
        ]
        encoder = EncoderFingerprint(
            base_model="", base_fingerprint="", adapter_hash="", prompt_version=1, num_query_tokens=8, hidden_size=1
        )
        store = ChromaStore.in_memory(
            identity=CollectionIdentity(encoder=encoder, key_name=key.name, key_dimension=key.dimension)
        )
        store.put(records)
        ways = searches(store, key, reranker)
        ranks: list[list[int]] = [[], [], []]
        for n, (_, questions) in enumerate(facts):
            for asked in questions:
                for way, search in enumerate(ways):
                    start = time.perf_counter()
                    found = search(asked)
                    seconds[way] += time.perf_counter() - start
                    ranks[way].append(rank(f"{n:04}", [record.id for record in found]))
        store.close()
        lines.append([name, len(ranks[0]), *(recall(np.array(one)) for one in ranks)])
        count += len(ranks[0])
    lines.append(["time of a search, the first = 1", count, *ratios(seconds)])
    table(["asked about", "questions", "by meaning", "by meaning and exact terms", "the same, reranked"], lines)


def searches(
    store: ChromaStore, key: RetrievalKey, reranker: LateInteractionReranker
) -> list[Callable[[str], list[MemoryRecord]]]:
    """By the key alone, with exact terms beside it, and reranked."""

    def alone(asked: str) -> list[MemoryRecord]:
        return [record for record, _ in store.search(key.query_key(asked), namespace="a", k=5)]

    def beside(asked: str, judge: LateInteractionReranker | None = None) -> list[MemoryRecord]:
        return [one.record for one in find(store, key, asked, None, namespace="a", k=5, reranker=judge)]

    return [alone, beside, lambda asked: beside(asked, reranker)]


def rank(id: str, found: Sequence[str]) -> int:
    return found.index(id) + 1 if id in found else len(found) + 1


def costs(rounds: int) -> None:
    keys = {name: RetrievalKey(SentenceTransformerEmbedder(KEYS[name]())) for name in NAMES}
    paragraphs = [item(row).text for row in rows()[:64]]
    questions = [question for pairs in MEASURED["languages"].values() for _, question in pairs][:64]
    timed: dict[str, Callable[[RetrievalKey], object]] = {
        "items, a paragraph each": lambda key: key.item_keys(paragraphs, [None] * len(paragraphs)),
        "questions, one by one": lambda key: [key.query_key(question) for question in questions],
    }
    lines = []
    for what, work in timed.items():
        seconds: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(rounds + 1):  # the first warms up
            for name, key in keys.items():
                start = time.perf_counter()
                work(key)
                seconds[name].append(time.perf_counter() - start)
        lines.append([f"seconds for 64 {what}", *ratios([statistics.median(seconds[name][1:]) for name in NAMES])])
    starts: dict[str, list[float]] = {name: [] for name in NAMES}
    memory: dict[str, int] = {}
    for _ in range(rounds):
        for name in NAMES:
            start = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", FRESH.format(name=name)], capture_output=True, check=True)
            starts[name].append(time.perf_counter() - start)
            memory[name] = int(done.stdout)
    lines.append(["seconds to start and embed one question", *ratios([statistics.median(starts[n]) for n in NAMES])])
    lines.append(["MiB of such a process then", *memory.values()])
    folders = [KEYS[name]() for name in NAMES]
    sizes = [sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in folders]
    lines.append(["MB on disk", *(f"{size / 1e6:.0f}" for size in sizes)])
    table([f"one thread, median of {rounds}, the first = 1", *NAMES], lines)


def ratios(seconds: Sequence[float]) -> list[str]:
    return [f"{one / seconds[0]:.2f}" for one in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["languages", "lengths", "terms", "costs"])
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which times are taken")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keys = {name: RetrievalKey(SentenceTransformerEmbedder(KEYS[name]())) for name in NAMES}
    if "languages" in given.parts:
        languages(keys)
    if "lengths" in given.parts:
        cut = {f"{name}, beginning only": RetrievalKey(BeginningOnly(KEYS[name]())) for name in NAMES}
        lengths(dict(sorted((cut | keys).items())))
    if "terms" in given.parts:
        terms(keys[DEFAULT_KEY])
    if "costs" in given.parts:
        costs(given.rounds)


if __name__ == "__main__":
    main()
