"""Agents for scripted conversations: one with this memory, and one that keeps every turn in a plain Chroma."""

from __future__ import annotations

import itertools
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from comem_memory.evaluation.conversations import Turn
from comem_memory.integrations.langchain import ComemMiddleware
from comem_memory.integrations.langchain.chat_model import SERVED
from comem_memory.memory import ContinuousMemory
from comem_memory.retrieval import Embedder, embed_questions
from comem_memory.store.connections import to_process

ANSWER = "I am not sure."
K = 3
"""Items that are recalled for a turn."""


class Unsure(BaseChatModel):
    """Answers `ANSWER` to everything, so that what is measured is the memory; notes which items it was given.

    Asked to forget something, it does what an able model would: it recalls, and forgets what comes first.
    """

    given: list[list[str]]
    forgets: list[str]

    @property
    def _llm_type(self) -> str:
        return "unsure"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.given.append(list(SERVED.get()[-1].ids))
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages[-1]))])

    def _reply(self, last: BaseMessage) -> AIMessage:
        if isinstance(last, ToolMessage) and last.name == "recall" and ": " in str(last.content):
            found = str(last.content).split(": ")[0]
            return AIMessage("", tool_calls=[{"name": "forget", "args": {"id": found}, "id": "2"}])
        if isinstance(last, HumanMessage) and self.forgets:
            return AIMessage("", tool_calls=[{"name": "recall", "args": {"query": self.forgets.pop()}, "id": "1"}])
        return AIMessage(ANSWER)


class ComemAgent:
    """An agent of LangChain with `ComemMiddleware`.

    Args:
        memory: Its memory; each user gets a namespace.
        name: What tables call it.
        settings: For the middleware.
    """

    def __init__(self, memory: ContinuousMemory, name: str = "comem-memory", **settings: Any) -> None:
        self.memory, self.name = memory, name
        self.model = Unsure(given=[], forgets=[])
        middleware = ComemMiddleware(memory, k=K, **settings)
        self.agent: Any = create_agent(self.model, middleware=[middleware], checkpointer=InMemorySaver())

    def say(self, turn: Turn) -> list[str]:
        if turn.kind == "forget":
            self.model.forgets.append(turn.value)
        seen = len(self.model.given)
        config = {"configurable": {"thread_id": turn.session, "user_id": turn.user}}
        self.agent.invoke({"messages": [HumanMessage(turn.text)]}, config=config)
        hits = self.memory.namespace(turn.user).get(self.model.given[seen], skip_missing=True)
        return [hit.text or "" for hit in hits]

    def kept(self, user: str) -> list[str]:
        return [hit.text or "" for hit in self.memory.namespace(user).scan()]


class EveryTurn:
    """Keeps all that a user says in a Chroma collection, and recalls the `K` nearest.

    Args:
        embedder: Makes the keys.
    """

    name = "every turn in Chroma"

    def __init__(self, embedder: Embedder) -> None:
        self.embedder, self.connection = embedder, to_process()
        self.numbers = itertools.count()

    def say(self, turn: Turn) -> list[str]:
        kept = self._of(turn.user)
        if turn.kind == "forget":
            [[found]] = kept.query(query_embeddings=self._asked(turn.value), n_results=1)["ids"]
            kept.delete(ids=[found])
        [texts] = kept.query(query_embeddings=self._asked(turn.text), n_results=K)["documents"] or [[]]
        embeddings: Any = self.embedder.embed([turn.text])
        kept.add(ids=[str(next(self.numbers))], embeddings=embeddings, documents=[turn.text])
        return texts

    def kept(self, user: str) -> list[str]:
        return list(self._of(user).get()["documents"] or [])

    def _asked(self, text: str) -> Any:
        return embed_questions(self.embedder, [text])

    def _of(self, user: str) -> Any:
        return self.connection.client.get_or_create_collection(user, metadata={"hnsw:space": "ip"})
