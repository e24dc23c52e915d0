"""Texts, and the documents and nodes of LangChain and LlamaIndex, as items; and nested metadata, which come back."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.memories import same_picture
from langchain_core.documents import Document
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import ImageNode, TextNode

from comem_memory import ContinuousMemory, MemoryItem, Step, Trajectory
from comem_memory.errors import InvalidItemError, QueryError
from comem_memory.testing import tiny_memory, tiny_picture

NESTED: dict[str, Any] = {
    "author": {"name": "Ada", "born": {"year": 1815}, "empty": {}},
    "tags": ["tea", "green"],
    "pages": [1, 2],
    "shares": [1, 0.5],
    "mixed": [1, "a", None, {"b": [True]}],
    "none": [],
    "plain": "note",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("conversion")) as memory:
        yield memory


@pytest.fixture
def memory(shared: ContinuousMemory) -> Iterator[ContinuousMemory]:
    yield shared
    shared.clear()


def png(seed: int) -> bytes:
    content = BytesIO()
    tiny_picture(seed).save(content, format="PNG")
    return content.getvalue()


def test_trajectories_are_items(memory: ContinuousMemory):
    steps = [
        Step(picture=png(1), reasoning="I open it.", action="click()"),
        Step(action="wait()"),
        Step(action="stop()"),
    ]
    run = Trajectory(task="Buy a lamp", steps=steps, outcome="failure", domain="shop", metadata={"n": 1}, id="run")
    item = run.item()
    assert (item.text, item.id, item.thin) == ("shop: Buy a lamp", "run", True)
    assert item.content == (png(1), "I open it.\nclick()", "wait()", "stop()", "Outcome: failure")
    assert item.metadata == {"n": 1, "outcome": "failure", "domain": "shop"}
    done = Trajectory(task="Buy a lamp", steps=[Step(picture=tiny_picture(2), action="stop()")])
    assert memory.add(run) == ["run"] and len(memory.add(iter([run, done]))) == 2
    [hit] = memory.get("run")
    assert hit.content is not None and hit.content[1:] == item.content[1:] and same_picture(str(hit.content[0]), png(1))
    assert [hit.text for hit in memory.scan(where={"outcome": "success"})] == ["Buy a lamp"]


def test_texts_documents_and_nodes_can_be_added_alone_and_together(memory: ContinuousMemory):
    assert memory.add("A brass key.") == memory.add(MemoryItem(text="A brass key."))
    assert memory.add(Document(page_content="Tea.", id="tea", metadata={"n": 1})) == ["tea"]
    assert memory.add(TextNode(text="Milk.", id_="milk", metadata={"n": 2})) == ["milk"]
    assert memory.add(LlamaDocument(text="Rice.", id_="rice", metadata={"n": 3})) == ["rice"]
    ids = memory.add(
        ["Salt.", Document(page_content="Oil."), TextNode(text="Flour.", id_="f"), MemoryItem(text="Egg.")]
    )
    assert [hit.text for hit in memory.get(ids)] == ["Salt.", "Oil.", "Flour.", "Egg."]
    assert [hit.metadata for hit in memory.get(["tea", "milk", "rice"])] == [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_they_can_be_added_without_blocking(memory: ContinuousMemory):
    assert await memory.aadd([Document(page_content="Tea.", id="tea")]) == ["tea"]


def test_a_node_brings_its_picture(memory: ContinuousMemory, tmp_path: Path):
    path = tmp_path / "flag.png"
    path.write_bytes(png(1))
    nodes = [
        ImageNode(id_="path", image_path=str(path)),
        ImageNode(id_="base64", text="A flag.", image=base64.b64encode(png(2)).decode()),
    ]
    memory.add(nodes)
    pictures = [hit.image for hit in memory.get(["path", "base64"])]
    assert same_picture(pictures[0], path) and same_picture(pictures[1], png(2))
    with pytest.raises(InvalidItemError, match="is a URL, and a memory fetches none"):
        memory.add(ImageNode(text="A flag.", image_url="https://example.com/flag.png"))
    with pytest.raises(InvalidItemError, match="base64 is damaged"):
        memory.add(ImageNode(id_="bad", image="abcde"))


def test_a_document_s_picture_is_not_opened(memory: ContinuousMemory):
    document = Document(page_content="A flag.", metadata={"comem.similarity": 0.5, "comem.image": "/etc/flag.png"})
    with pytest.raises(InvalidItemError, match="opens no file that a document names"):
        memory.add(document)
    del document.metadata["comem.image"]
    [id] = memory.add(document)
    assert memory.get(id)[0].metadata == {}, "what we noted ourselves is left out"


def test_a_document_s_times_and_what_it_supersedes_are_the_item_s(memory: ContinuousMemory):
    memory.add(["Tea.", Document(page_content="Milk.", id="milk")])
    [tea] = memory.search("Tea.", k=1)
    said = "2026-05-01T09:00:00.000000+02:00"
    given = {"comem.said_at": said, "comem.expires": timedelta(days=1), "comem.created_at": "then"}
    memory.add(Document(page_content="Green tea.", id="green", metadata=given | {"comem.supersedes": [tea.id], "n": 1}))
    memory.add(TextNode(text="Rice.", id_="rice", metadata=given | {"comem.supersedes": "milk"}))
    green, rice = memory.get(["green", "rice"])
    assert (green.said_at, green.supersedes, green.metadata) == (said, (tea.id,), {"n": 1})
    assert (rice.said_at, rice.supersedes) == (said, ("milk",)) and "then" not in (rice.created_at, green.created_at)
    assert green.expires is not None and memory.count() == 2
    again = Document(page_content="Green tea.", id="green", metadata={"comem.expires": None})
    memory.add(again)
    assert memory.get("green")[0].expires is None and memory.get("green")[0].said_at == said
    with pytest.raises(InvalidItemError, match="timezone"):
        memory.add(Document(page_content="Salt.", metadata={"comem.said_at": "2026-05-01T09:00:00"}))


def test_nested_metadata_come_back_and_their_values_can_be_filtered(memory: ContinuousMemory):
    [id] = memory.add(Document(page_content="Tea.", id="tea", metadata=NESTED))
    memory.add(MemoryItem(id="milk", text="Milk.", metadata={"author": {"name": "Eve"}}))
    [hit] = memory.get(id)
    assert hit.metadata == NESTED
    assert memory.search("Tea.", k=1)[0].metadata == NESTED
    for where in (
        {"author.name": "Ada"},
        {"author.born.year": {"$lt": 1900}},
        {"tags": {"$contains": "green"}},
        {"pages": {"$contains": 2.0}},
        {"shares": {"$contains": 1}},
        {"$and": [{"plain": "note"}, {"tags": {"$not_contains": "black"}}]},
    ):
        assert [hit.id for hit in memory.search("Tea.", where=where)] == ["tea"], where
    assert [hit.id for hit in memory.search("Tea.", where={"tags": {"$not_contains": "tea"}})] == ["milk"]
    with pytest.raises(QueryError, match="cannot be understood"):
        memory.count(where={"tags": {"$contains": ["tea"]}})


def test_none_is_left_out_and_tuples_and_numpy_are_python_s(memory: ContinuousMemory):
    metadata = {"a": None, "b": {"c": None, "d": (1, 2)}, "e": [np.int64(3)]}
    memory.add(MemoryItem(id="tea", text="Tea.", metadata=metadata))
    assert memory.get("tea")[0].metadata == {"b": {"d": [1, 2]}, "e": [3]}


def test_nested_metadata_are_replaced_exported_and_encoded_again(memory: ContinuousMemory, tmp_path: Path):
    memory.add(MemoryItem(id="tea", text="Tea.", metadata=NESTED))
    memory.export(tmp_path / "folder")
    other = memory.namespace("other")
    other.load(tmp_path / "folder")
    assert other.get("tea")[0].metadata == NESTED
    memory.update("tea", text="Black tea.")
    assert memory.get("tea")[0].metadata == NESTED
    memory.update("tea", metadata={"author": {"nick": "A."}})
    assert memory.get("tea")[0].metadata == {"author": {"nick": "A."}}
    assert memory.count(where={"author.name": "Ada"}) == 0
    other.clear()


def test_nested_metadata_outlive_the_process(tmp_path: Path):
    with tiny_memory(tmp_path) as memory:
        memory.add(MemoryItem(id="tea", text="Tea.", metadata=NESTED))
    with tiny_memory(tmp_path) as memory:
        assert memory.get("tea")[0].metadata == NESTED
