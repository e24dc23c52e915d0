"""`ComemStore` keeps, finds and lists as LangGraph's own store does: the same tests are held against both."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers.scripted import Scripted
from helpers.served import as_opened
from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import InvalidItemError, QueryError
from comem_memory.integrations.langchain import ChatComem, ComemStore
from comem_memory.testing import LetterEmbedder, tiny_memory

ADA, BOB, TEAM = ("users", "ada"), ("users", "bob"), ("team",)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContinuousMemory]:
    with tiny_memory(tmp_path_factory.mktemp("store")) as memory:
        yield memory


@pytest.fixture
def memory(shared: ContinuousMemory) -> Iterator[ContinuousMemory]:
    yield shared
    for name in shared.store.namespaces():
        shared.namespace(name).clear()


def letters(texts: list[str]) -> list[list[float]]:
    return LetterEmbedder().embed(texts).tolist()


@pytest.fixture(params=["langgraph", "here", "served"])
def store(request: pytest.FixtureRequest) -> Iterator[BaseStore]:
    if request.param == "langgraph":
        yield InMemoryStore(index={"dims": LetterEmbedder.dimension, "embed": letters})
        return
    with as_opened(request.param, request.getfixturevalue("memory")) as seen:
        yield ComemStore(seen)


def keys(items: list[SearchItem]) -> list[str]:
    return [item.key for item in items]


class TestBoth:
    def test_what_is_put_comes_back(self, store: BaseStore):
        value = {
            "content": "Ada drinks tea.",
            "nested": {"list": [1, "a", None, {"b": 2.5}], "none": None, "": {"$x": True}},
            "comem.id": 1,
            "a.b": "dotted",
            "big": 2**80,
            "half": "\ud83d",
        }
        before = datetime.now(UTC)
        store.put(ADA, "tea", value)
        item = store.get(ADA, "tea")
        assert item is not None
        assert (item.namespace, item.key, item.value) == (ADA, "tea", value)
        assert before <= item.created_at <= item.updated_at
        assert store.get(ADA, "milk") is None
        assert store.get(BOB, "tea") is None

    def test_a_key_that_is_put_again_has_the_new_value(self, store: BaseStore):
        store.put(ADA, "tea", {"content": "Ada drinks tea.", "n": 1})
        store.put(ADA, "tea", {"content": "Ada drinks tea.", "n": 2})
        assert [item.value["n"] for item in store.search(ADA)] == [2]
        assert keys(store.search(ADA, filter={"n": 1})) == []
        store.put(ADA, "tea", {"a": 1}, index=False)
        store.put(ADA, "tea", {"a": [1]}, index=False)
        assert keys(store.search(ADA, filter={"a": 1})) == []
        assert store.get(ADA, "tea").value == {"a": [1]}  # type: ignore[union-attr]

    def test_what_is_deleted_is_gone(self, store: BaseStore):
        store.put(ADA, "tea", {"content": "Ada drinks tea."})
        store.put(BOB, "tea", {"content": "Bob drinks tea."})
        store.delete(ADA, "tea")
        store.delete(ADA, "never there")
        assert store.get(ADA, "tea") is None
        assert store.search(ADA, query="tea") == []
        assert keys(store.search(BOB, query="tea")) == ["tea"]

    def test_a_prefix_searches_all_below(self, store: BaseStore):
        for namespace in (ADA, BOB, TEAM, (*ADA, "work"), ("users2", "ada")):
            store.put(namespace, "tea", {"content": f"{namespace[-1]} drinks tea."})
        for query in (None, "tea"):
            assert {item.namespace for item in store.search(("users",), query=query)} == {ADA, BOB, (*ADA, "work")}
            assert {item.namespace for item in store.search(ADA, query=query)} == {ADA, (*ADA, "work")}
            assert len(store.search((), query=query)) == 5
            assert store.search(("nobody",), query=query) == []

    @pytest.mark.parametrize("part", ["a/b", "a%2Fb", "a%2fb", "%", "ä 山", "a\x1fb", "a\nb", "*"])
    def test_a_namespace_is_never_another(self, store: BaseStore, part: str):
        store.put(("x", part), "k", {"content": "one"})
        store.put(("x", "a", "b"), "k", {"content": "two"})
        assert store.get(("x", part), "k").value == {"content": "one"}  # type: ignore[union-attr]
        assert [item.value["content"] for item in store.search(("x", part))] == ["one"]
        assert store.list_namespaces() == sorted([("x", part), ("x", "a", "b")])

    def test_similar_values_come_first_with_their_scores(self, store: BaseStore):
        store.put(ADA, "tea", {"content": "Ada drinks green tea."})
        store.put(ADA, "car", {"content": "Her lorry won't start, oh no!"})
        store.put(BOB, "tea", {"content": "Bob drinks black tea."})
        found = store.search(("users",), query="Ada drinks green tea.")
        assert [(item.namespace, item.key) for item in found] == [(ADA, "tea"), (BOB, "tea"), (ADA, "car")]
        scores = [item.score for item in found]
        assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
        assert all(item.score is None for item in store.search(ADA))

    def test_pages_are_whole(self, store: BaseStore):
        for i in range(7):
            store.put(ADA if i % 2 else BOB, f"k{i}", {"content": f"note number {i}", "n": i})
        for asked in ({}, {"query": "note number"}, {"filter": {"n": {"$gte": 0}}}):
            pages = [store.search(("users",), limit=3, offset=offset, **asked) for offset in (0, 3, 6, 9)]
            assert [len(page) for page in pages] == [3, 3, 1, 0]
            assert sorted(key for page in pages for key in keys(page)) == [f"k{i}" for i in range(7)]

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ({"color": "red"}, ["a", "b"]),
            ({"color": {"$eq": "red"}}, ["a", "b"]),
            ({"color": {"$ne": "red"}}, ["c", "d"]),
            ({"score": {"$gt": 3.5}}, ["a", "c"]),
            ({"score": {"$gte": 3.5}}, ["a", "c", "d"]),
            ({"score": {"$lt": 3.5}}, ["b"]),
            ({"score": {"$lte": 3.5}}, ["b", "d"]),
            ({"score": {"$gt": 3, "$lt": 4.5}}, ["c", "d"]),
            ({"score": {"$gte": 4}, "color": "green"}, ["c"]),
            ({"new": True}, ["a"]),
            ({"by": {"name": "Ada"}}, ["a"]),
            ({"by": {"age": {"$gt": 30}}}, ["a"]),
            ({"by": {"name": "Ada", "age": 30}}, []),
            ({"dotted.name": 1}, ["d"]),
            ({"dotted": {"name": 1}}, ["c"]),
            ({"unknown": 1}, []),
        ],
    )
    @pytest.mark.parametrize("query", [None, "red apple"])
    def test_filters(self, store: BaseStore, filter: dict[str, Any], expected: list[str], query: str | None):
        rows = {
            "a": {"text": "red apple", "color": "red", "score": 4.5, "by": {"name": "Ada", "age": 36}, "new": True},
            "b": {"text": "red car", "color": "red", "score": 3, "by": {"name": "Bob", "age": 20}, "new": False},
            "c": {"text": "green apple", "color": "green", "score": 4.0, "by": {"name": "C", "age": 3}}
            | {"dotted": {"name": 1}},
            "d": {"text": "blue car", "score": 3.5, "by": {"name": "D", "age": 4}, "dotted.name": 1},
        }
        for key, value in rows.items():
            store.put(ADA, key, value)
        assert sorted(keys(store.search(("users",), query=query, filter=filter))) == expected

    def test_fields_say_what_is_found(self, store: BaseStore):
        value = {"title": "zebra zebra", "body": {"parts": [{"text": "quiet owl"}, {"text": "lazy owl"}]}, "n": 1}
        store.put(ADA, "title", value, index=["title"])
        store.put(ADA, "parts", value, index=["body.parts[*].text"])
        assert keys(store.search(ADA, query="zebra zebra"))[0] == "title"
        assert keys(store.search(ADA, query="lazy owl"))[0] == "parts"

    def test_what_is_not_indexed_has_no_rank(self, store: BaseStore):
        store.put(ADA, "tea", {"content": "Ada drinks tea."})
        store.put(ADA, "secret", {"content": "Ada drinks tea."}, index=False)
        store.put(ADA, "nothing", {"content": "Ada drinks tea."}, index=["missing"])
        assert keys(store.search(ADA, query="Ada drinks tea.", limit=1)) == ["tea"]
        assert [item.score for item in store.search(ADA, query="tea")][1:] in ([], [None, None])
        assert sorted(keys(store.search(ADA))) == ["nothing", "secret", "tea"]
        assert store.get(ADA, "secret") is not None

    def test_odd_queries(self, store: BaseStore):
        store.put(ADA, "tea", {"content": "Ada drinks tea."})
        for query in ("", None, "test " * 300, "!@#$%^&*()"):
            assert keys(store.search(ADA, query=query)) == ["tea"]

    def test_namespaces_are_listed(self, store: BaseStore):
        names = ["a b c", "a b d e", "a b d i", "a b f", "a c f", "b a f", "users 123", "users 456 settings"]
        namespaces = [tuple(name.split()) for name in names]
        for namespace in namespaces:
            store.put(namespace, "k", {"data": 1})

        def listed(**asked: Any) -> list[str]:
            return [" ".join(namespace) for namespace in store.list_namespaces(**asked)]

        assert listed() == names
        assert listed(prefix=("a", "b")) == names[:4]
        assert listed(suffix=("f",)) == ["a b f", "a c f", "b a f"]
        assert listed(prefix=("a",), suffix=("f",)) == ["a b f", "a c f"]
        assert listed(prefix=("a", "b"), max_depth=3) == ["a b c", "a b d", "a b f"]
        assert listed(prefix=("a", "b"), limit=2) == names[:2]
        assert listed(prefix=("a", "b"), limit=9, offset=2) == names[2:4]
        assert listed(prefix=("a", "*", "f")) == ["a b f", "a c f"]
        assert listed(suffix=("*", "settings")) == ["users 456 settings"]
        assert listed(prefix=("none",)) == listed(prefix=("users", "123", "x")) == []

    def test_a_batch_reads_what_was_there_before_it(self, store: BaseStore):
        store.put(ADA, "tea", {"content": "old"})
        results = store.batch(
            [
                PutOp(ADA, "tea", {"content": "new"}),
                PutOp(ADA, "tea", {"content": "newest"}),
                PutOp(BOB, "milk", {"content": "milk"}),
                GetOp(ADA, "tea"),
                SearchOp(("users",), limit=5),
                ListNamespacesOp((MatchCondition("prefix", ("users",)),)),
            ]
        )
        assert results[:3] == [None] * 3
        assert results[3].value == {"content": "old"}  # type: ignore[union-attr]
        assert keys(results[4]) == ["tea"]  # type: ignore[arg-type]
        assert results[5] == [ADA]
        assert store.get(ADA, "tea").value == {"content": "newest"}  # type: ignore[union-attr]
        store.batch([PutOp(ADA, "tea", None), PutOp(BOB, "milk", None)])
        assert store.search(()) == []

    async def test_async_twins(self, store: BaseStore):
        await asyncio.gather(*(store.aput(ADA, f"k{i}", {"content": f"note {i}"}) for i in range(5)))
        assert (await store.aget(ADA, "k3")).value == {"content": "note 3"}  # type: ignore[union-attr]
        assert keys(await store.asearch(("users",), query="note 3", limit=1)) == ["k3"]
        assert await store.alist_namespaces() == [ADA]
        await store.adelete(ADA, "k3")
        assert await store.aget(ADA, "k3") is None

    def test_namespaces_that_langgraph_refuses(self, store: BaseStore):
        for namespace in ((), ("the", "thing.about"), ("some", ""), ("langgraph", "foo")):
            with pytest.raises(InvalidNamespaceError):
                store.put(namespace, "foo", {"a": "b"})
        store.batch([PutOp(("langgraph", "foo"), "bar", {"a": "b"})])
        assert store.get(("langgraph", "foo"), "bar").value == {"a": "b"}  # type: ignore[union-attr]


class TestComem:
    def test_it_outlives_the_process(self, tmp_path: Path):
        with tiny_memory(tmp_path) as memory:
            ComemStore(memory).put(ADA, "tea", {"content": "Ada drinks tea."})
        with tiny_memory(tmp_path) as memory:
            [item] = ComemStore(memory).search((), query="tea")
            assert (item.namespace, item.value) == (ADA, {"content": "Ada drinks tea."})

    def test_what_becomes_vectors(self, memory: ContinuousMemory):
        store = ComemStore(memory)
        store.put(ADA, "a", {"content": "Ada drinks tea."})
        store.put(ADA, "b", {"kind": "Memory", "content": {"content": "Ada drinks tea."}})
        store.put(ADA, "c", {"kind": "Memory", "text": "Ada drinks tea."}, index=["text", "kind"])
        store.put(ADA, "d", {"n": 1}, index=False)
        ComemStore(memory, fields=["text"]).put(ADA, "e", {"kind": "Memory", "text": "Ada drinks tea."})
        assert [hit.text for hit in store.view(ADA).get(["a", "b", "c", "d", "e"])] == [
            "Ada drinks tea.",
            '{"content": {"content": "Ada drinks tea."}, "kind": "Memory"}',
            "Ada drinks tea.\nMemory",
            "...",
            "Ada drinks tea.",
        ]
        assert all(hit.metadata == {} for hit in store.view(ADA).get(["a", "b"]))

    def test_two_memories_namespaces_stay_apart(self, memory: ContinuousMemory):
        memory.add(MemoryItem(text="Not the store's."))
        memory.namespace("users/ada").add(MemoryItem(text="Not the store's."))
        one, other = ComemStore(memory.namespace("a")), ComemStore(memory.namespace("a/b"))
        one.put(("b", "c"), "k", {"content": "one"})
        other.put(("c",), "k", {"content": "other"})
        for store, namespace, content in ((one, ("b", "c"), "one"), (other, ("c",), "other")):
            assert store.list_namespaces() == [namespace]
            assert [item.value["content"] for item in store.search(())] == [content]
        assert ComemStore(memory).list_namespaces() == []

    def test_a_chat_model_reads_its_items_and_it_reads_the_memory_s(self, memory: ContinuousMemory):
        store = ComemStore(memory)
        store.put(ADA, "tea", {"content": "Ada drinks tea."})
        view = store.view(ADA)
        assert ChatComem(memory=view, k=1, max_tokens=2).invoke("Tea?").response_metadata["memory_ids"] == ["tea"]
        [id] = view.add(MemoryItem(text="Ada lives in Turin.", metadata={"n": 1}))
        assert store.get(ADA, id).value == {"content": "Ada lives in Turin.", "n": 1}  # type: ignore[union-attr]

    def test_what_cannot_be_kept_is_refused_before_anything_is_written(self, memory: ContinuousMemory):
        store = ComemStore(memory)
        for key, value, message in (
            ("set", {"a": {1, 2}}, "key 'set' is not JSON.*Put texts"),
            ("", {"a": 1}, "an id must not be empty"),
        ):
            with pytest.raises(InvalidItemError, match=message):
                store.batch([PutOp(ADA, "good", {"a": 1}), PutOp(ADA, key, value)])
        assert store.search(()) == []

    @pytest.mark.parametrize("filter", [{"a": [1]}, {"a": None}, {"a": {"$in": [1]}}, {"a": {"$gt": "b"}}, {"a": {}}])
    def test_a_filter_that_cannot_be_understood_is_named(self, memory: ContinuousMemory, filter: dict[str, Any]):
        store = ComemStore(memory)
        store.put(ADA, "tea", {"a": 1})
        for query in (None, "tea"):
            with pytest.raises(QueryError, match="cannot be understood"):
                store.search((), filter=filter, query=query)

    def test_long_values_are_kept_whole(self, memory: ContinuousMemory):
        store = ComemStore(memory)
        store.put(ADA, "long", {"content": "tea " * 3000})
        assert store.get(ADA, "long").value == {"content": "tea " * 3000}  # type: ignore[union-attr]


class TestExpiry:
    def test_what_has_expired_is_gone(self, memory: ContinuousMemory):
        store = ComemStore(memory)
        store.put(ADA, "long", {"content": "milk"}, ttl=60)
        store.put(ADA, "ever", {"content": "rice"})
        store.put(ADA, "short", {"content": "tea"}, ttl=3 / 60)
        assert keys(store.search(ADA, refresh_ttl=False)) == ["ever", "long", "short"]
        time.sleep(3.1)
        assert store.get(ADA, "short") is None
        assert keys(store.search(ADA)) == sorted(keys(store.search(ADA, query="tea"))) == ["ever", "long"]

    def test_reading_renews_unless_told_not_to(self, memory: ContinuousMemory):
        store = ComemStore(memory, ttl={"default_ttl": 60})
        store.put(ADA, "tea", {"content": "tea", "n": 1})
        [first] = store.view(ADA).get("tea")
        store.get(ADA, "tea", refresh_ttl=False)
        assert store.view(ADA).get("tea")[0].expires == first.expires
        assert store.get(ADA, "tea").value == {"content": "tea", "n": 1}  # type: ignore[union-attr]
        [renewed] = store.view(ADA).get("tea")
        assert renewed.expires > first.expires
        assert keys(store.search(ADA, filter={"n": 1})) == ["tea"]
        [again] = store.view(ADA).get("tea")
        assert again.expires > renewed.expires and again.updated_at == first.updated_at

    def test_put_without_ttl_it_stays(self, memory: ContinuousMemory):
        store = ComemStore(memory)
        store.put(ADA, "tea", {"content": "tea"}, ttl=60)
        store.put(ADA, "tea", {"content": "tea"})
        store.get(ADA, "tea")
        assert store.view(ADA).get("tea")[0].expires is None


@dataclass
class Context:
    user_id: str


@tool
def save(note: str, runtime: ToolRuntime[Context]) -> str:
    """Saves a note."""
    assert runtime.store is not None
    runtime.store.put(("notes", runtime.context.user_id), note[:8], {"content": note})
    return "Saved."


@tool
def look_up(question: str, runtime: ToolRuntime[Context]) -> str:
    """Finds notes."""
    assert runtime.store is not None
    found = runtime.store.search(("notes", runtime.context.user_id), query=question, limit=1)
    return str([item.value["content"] for item in found])


def calls(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": "1"}])


class TestAgents:
    def test_a_graph_is_compiled_with_it(self, memory: ContinuousMemory):
        def answer(state: MessagesState, runtime: Runtime[Context]) -> dict[str, Any]:
            assert runtime.store is not None
            said = state["messages"][-1].text
            found = runtime.store.search(("facts",), query=said, limit=1)
            runtime.store.put(("facts",), "last", {"content": said})
            return {"messages": [AIMessage(found[0].value["content"] if found else "Nothing.")]}

        graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile(store=ComemStore(memory))
        assert graph.invoke({"messages": "Ada drinks tea."})["messages"][-1].text == "Nothing."
        assert graph.invoke({"messages": "What does Ada drink?"})["messages"][-1].text == "Ada drinks tea."

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_an_agent_s_tools_have_it_and_users_stay_apart(self, memory: ContinuousMemory, is_async: bool):
        answers = [calls("save", note="I drink tea."), AIMessage("Ok."), calls("look_up", question="drink?")]
        found = []
        for user in ("ada", "bob"):
            model = Scripted(answers=[*(answers if user == "ada" else answers[1:]), AIMessage("Done.")])
            agent = create_agent(model, [save, look_up], store=ComemStore(memory), context_schema=Context)
            for said in ("I drink tea.", "What do I drink?"):
                asked: Any = {"messages": said}
                context = Context(user)
                state = (
                    await agent.ainvoke(asked, context=context) if is_async else agent.invoke(asked, context=context)
                )
            found.append(state["messages"][-2].text)
        assert found == ["['I drink tea.']", "[]"]

    async def test_langmem_s_tools_write_and_search_it(self, memory: ContinuousMemory):
        langmem = pytest.importorskip("langmem")
        namespace = ("memories", "{user_id}")
        tools = [langmem.create_manage_memory_tool(namespace), langmem.create_search_memory_tool(namespace)]
        store = ComemStore(memory)

        def agent(*answers: AIMessage) -> Any:
            return create_agent(Scripted(answers=[*answers, AIMessage("Ok.")]), tools, store=store)

        ada: Any = {"configurable": {"user_id": "ada"}}
        write = agent(calls("manage_memory", content="Ada drinks tea.", action="create"))
        await write.ainvoke({"messages": "I drink tea."}, ada)
        [item] = store.search(("memories", "ada"))
        assert item.value == {"content": "Ada drinks tea."}
        assert store.view(("memories", "ada")).get(item.key)[0].text == "Ada drinks tea."
        change = agent(calls("manage_memory", content="Ada drinks milk.", action="update", id=item.key))
        change.invoke({"messages": "Milk now."}, ada)
        for user, finds in (("ada", True), ("bob", False)):
            search = agent(calls("search_memory", query="What does Ada drink?", filter={"content": {"$ne": "x"}}))
            state = search.invoke({"messages": "What do I drink?"}, {"configurable": {"user_id": user}})
            assert ("Ada drinks milk." in state["messages"][-2].text) == finds
        forget = agent(calls("manage_memory", action="delete", id=item.key))
        forget.invoke({"messages": "Forget it."}, ada)
        assert store.search(()) == []
