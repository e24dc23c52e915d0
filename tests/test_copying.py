"""Open memories, their parts and their adapters: copies share them, and pickling refuses at once or sends settings."""

import copy
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comem_memory import ContinuousMemory
from comem_memory.errors import NotPicklableError
from comem_memory.integrations import langchain, llama_index
from comem_memory.retrieval import EfficientNetEmbedder, RetrievalKey
from comem_memory.testing import tiny_memory


@pytest.fixture(scope="module")
def memory() -> Iterator[ContinuousMemory]:
    with tiny_memory() as memory:
        yield memory.namespace("ada")


ADAPTERS = {
    "memory": lambda memory: memory,
    "chat": lambda memory: langchain.ChatComem(memory=memory, max_tokens=4, stop=["x"]),
    "middleware": langchain.ComemMiddleware,
    "retriever": lambda memory: langchain.ComemRetriever(memory=memory),
    "store": langchain.ComemStore,
    "vector store": langchain.ComemVectorStore,
    "history": lambda memory: langchain.ComemChatMessageHistory(memory, "s1"),
    "llm": lambda memory: llama_index.ComemLLM(memory=memory, max_tokens=4, stop=["x"]),
    "chat memory": lambda memory: llama_index.ComemMemory(memory=memory),
    "block": lambda memory: llama_index.ComemMemoryBlock(memory=memory),
    "nodes": llama_index.ComemRetriever,
    "node store": llama_index.ComemLlamaVectorStore,
}


def memory_in(adapter: Any) -> Any:
    return adapter.transcript.memory if hasattr(adapter, "transcript") else getattr(adapter, "memory", adapter)


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest, memory: ContinuousMemory) -> Any:
    return ADAPTERS[request.param](memory)


def test_pickling_an_open_memory_is_refused_at_once_and_changes_nothing(adapter: Any, memory: ContinuousMemory):
    start = time.perf_counter()
    with pytest.raises(NotPicklableError, match="Send the persist_directory or chroma_url and the namespace .'ada'"):
        pickle.dumps(adapter)
    assert time.perf_counter() - start < 0.5
    assert memory_in(adapter) is memory


def test_copies_share_the_memory(adapter: Any, memory: ContinuousMemory):
    copies = [copy.deepcopy(adapter), copy.deepcopy([adapter])[0]]
    if adapter is not memory:
        copies.append(copy.copy(adapter))
    if hasattr(adapter, "model_copy"):
        copies += [adapter.model_copy(), adapter.model_copy(deep=True)]
    assert [memory_in(one) is memory for one in copies] == [True] * len(copies)
    assert copy.copy(memory).count() == memory.count()


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        ("backbone", "Send its name .'tiny"),
        ("encoder", "Save it with save_pretrained, send the folder"),
        ("key", "Send the name or folder of the model"),
    ],
)
def test_what_a_memory_is_made_of_is_shared_and_not_pickled(memory: ContinuousMemory, part: str, instead: str):
    key = RetrievalKey(image=EfficientNetEmbedder({}))
    made = key if part == "key" else getattr(memory, part)
    for pickled in (made, [made]):
        with pytest.raises(NotPicklableError, match=instead):
            pickle.dumps(pickled)
    copied = [copy.deepcopy([made])[0], copy.copy(made)]
    if part == "key":
        assert [one.image for one in copied] == [key.image] * 2
    else:
        assert copied[0] is made
        assert vars(copied[1]) == vars(made)


@pytest.mark.parametrize("kind", ["chat", "llm"])
def test_a_deep_copy_has_settings_of_its_own_and_answers(kind: str, memory: ContinuousMemory):
    model: Any = ADAPTERS[kind](memory)
    copied = copy.deepcopy(model)
    copied.stop.append("y")
    assert model.stop == ["x"]
    ask = {"chat": lambda one: one.invoke("Hi").text, "llm": lambda one: one.complete("Hi").text}[kind]
    assert ask(copied) == ask(model)


def test_a_chat_model_that_is_not_open_is_its_settings(tmp_path: Path):
    chat = langchain.ChatComem(persist_directory=str(tmp_path), namespace="ada", k=2, stop=["x"])
    sent = pickle.loads(pickle.dumps(chat))
    assert sent.model_dump() == chat.model_dump() and sent.namespace == "ada"
