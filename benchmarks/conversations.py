"""Scripted conversations with other memories beside this one: `python benchmarks/conversations.py`.

The table of docs/guides/agents.md: what `comem evaluate --questions conversations` prints, and LangMem's own tools on a
LangGraph `InMemoryStore` with the same embedder. LangMem leaves it to a chat model what to store, what to replace and
when to search. No model that runs offline does that well, so that rules stand in for it: `search_memory` is called with
each turn as it is, `limit` 3, and then `manage_memory` to create a memory of it (or of what it states, as
`ComemMiddleware` tells it). Nothing is replaced.

`--development` has them talk about the topics of `conversations.json`, on which changes are decided; the others are for
measuring alone. `--conversations N`, so many of each language.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import langmem
from langchain_core.embeddings import Embeddings
from langgraph.store.memory import InMemoryStore

from comem_memory import ContinuousMemory
from comem_memory.evaluation.agents import ComemAgent, EveryTurn, K
from comem_memory.evaluation.conversations import SCRIPT, Turn, run, table
from comem_memory.integrations.keeping import stated
from comem_memory.retrieval import Embedder, embed_questions

DEVELOPMENT = Path(__file__).with_suffix(".json")
USER = "langgraph_user_id"


class AsEmbeddings(Embeddings):
    """An embedder as LangChain has them."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embedder.embed(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return embed_questions(self.embedder, [text])[0].tolist()


class LangMem:
    """Creates a memory of each turn with `manage_memory`, and recalls with `search_memory`.

    Args:
        embedder: Of the store.
        name: What tables call it.
        keep: What is stored of a turn's text; nothing, where that is empty.
    """

    def __init__(self, embedder: Embedder, name: str, keep: Callable[[str], str]) -> None:
        self.name, self.keep = name, keep
        self.store = InMemoryStore(index={"dims": embedder.dimension, "embed": AsEmbeddings(embedder)})
        namespace = ("memories", f"{{{USER}}}")
        self.manage = langmem.create_manage_memory_tool(namespace, store=self.store)
        self.search = langmem.create_search_memory_tool(namespace, store=self.store)

    def say(self, turn: Turn) -> list[str]:
        config: Any = {"configurable": {USER: turn.user}}
        if turn.kind == "forget":
            [found] = json.loads(self.search.invoke({"query": turn.value, "limit": 1}, config))
            self.manage.invoke({"action": "delete", "id": found["key"]}, config)
        found = json.loads(self.search.invoke({"query": turn.text, "limit": K}, config))
        if kept := self.keep(turn.text):
            self.manage.invoke({"action": "create", "content": kept}, config)
        return [one["value"]["content"] for one in found]

    def kept(self, user: str) -> list[str]:
        return [item.value["content"] for item in self.store.search(("memories", user), limit=1000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--conversations", type=int, default=1)
    options = parser.parse_args()
    with ContinuousMemory.from_pretrained() as memory:
        embedder: Any = memory.key.text
        agents = [
            ComemAgent(memory),
            EveryTurn(embedder),
            LangMem(embedder, "LangMem, every turn", str),
            LangMem(embedder, "LangMem, statements", lambda text: stated(text, memory)),
        ]
        script, seeds = DEVELOPMENT if options.development else SCRIPT, range(options.conversations)
        print(table([run(agent, seeds=seeds, script=script) for agent in agents]).as_markdown())


if __name__ == "__main__":
    main()
