"""A conversation kept message by message: order, windows, sessions that stay apart, and what takes another's place."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.served import as_opened
from langchain_core.messages import AIMessage, HumanMessage

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.client import RemoteMemory
from comem_memory.errors import InvalidItemError
from comem_memory.integrations.langchain import ComemChatMessageHistory
from comem_memory.integrations.transcript import MESSAGE, ROLE, SESSION, Said, Transcript, noted, visible
from comem_memory.testing import tiny_memory, tiny_picture
from comem_memory.types import with_notes


@pytest.fixture(scope="module", params=["here", "served"])
def shared(request: pytest.FixtureRequest) -> Iterator[ContinuousMemory]:
    with tiny_memory() as memory, as_opened(request.param, memory) as seen:  # in memory: it keeps no pictures
        yield seen


@pytest.fixture
def memory(shared: ContinuousMemory) -> Iterator[ContinuousMemory]:
    yield shared
    shared.clear()


def said(role: str, content: Any, **more: Any) -> Said:
    return Said({"role": role, "content": content, **more}, f"{role} {content}")


def messages(transcript: Transcript) -> list[str]:
    return [noted(record, MESSAGE) for record in transcript.read(transcript.ids())]


def texts(transcript: Transcript, ids: list[str]) -> list[str | None]:
    return [hit.text for hit in transcript.memory.get(ids)]


HELLO = [said("user", "Hi"), said("assistant", "Hello."), said("user", "Which key?"), said("assistant", "Brass.")]


def test_messages_are_kept_as_they_were_and_in_order(memory: ContinuousMemory):
    transcript = Transcript(memory, "s1")
    transcript.append(HELLO[:2])
    transcript.append(HELLO[2:])
    assert messages(transcript) == [one.message for one in HELLO]
    assert texts(transcript, transcript.ids()) == [
        "User: Hi",
        "Assistant: Hello.",
        "User: Which key?",
        "Assistant: Brass.",
    ]
    assert [noted(record, ROLE) for record in transcript.read(transcript.ids())] == ["user", "assistant"] * 2
    transcript.append([])
    assert len(transcript.ids()) == 4


def test_messages_stay_in_order_when_the_clock_is_put_back(memory: ContinuousMemory, monkeypatch: pytest.MonkeyPatch):
    transcript, now = Transcript(memory, "s1"), time.time_ns
    transcript.append(HELLO[:2])
    monkeypatch.setattr(time, "time_ns", lambda: now() - 3600 * 10**9)
    transcript.append(HELLO[2:3])
    transcript.append(HELLO[3:])
    assert messages(transcript) == [one.message for one in HELLO]
    assert texts(transcript, transcript.ids()[-1:]) == ["Assistant: Brass."]
    hits = memory.get(transcript.ids())
    assert [hit.created_at for hit in hits] == sorted(hit.created_at for hit in hits)


def test_a_fact_takes_the_place_of_a_message_for_searches_not_in_the_conversation(memory: ContinuousMemory):
    transcript = Transcript(memory, "s1")
    transcript.append(HELLO)
    memory.add(MemoryItem(id="fact", text="The key is of brass.", supersedes=transcript.ids()[3]))
    assert messages(transcript) == [one.message for one in HELLO]
    assert "Assistant: Brass." not in [hit.text for hit in memory.search("Brass", k=9)]
    transcript.clear()
    assert memory.store.ids(namespace=memory.name, history=True) == ["fact"]


def test_a_message_whose_text_was_updated_is_its_new_text(memory: ContinuousMemory):
    history = ComemChatMessageHistory(memory, "s1", older=0)
    history.add_messages([HumanMessage("My password is swordfish."), AIMessage("I see.")])
    memory.update(history.transcript.ids()[0], text="(removed)")
    assert [(one.type, one.text) for one in history.messages] == [("human", "(removed)"), ("ai", "I see.")]
    assert not any("swordfish" in str(record) for record in history.transcript.read(history.transcript.ids()))


def test_a_message_without_words_has_an_item_too(memory: ContinuousMemory):
    transcript = Transcript(memory, "s1")
    transcript.append([said("user", "Look"), said("assistant", [], tool_calls=[{}]), said("tool", " ")])
    transcript.append([said("user", [{"type": "image", "image": tiny_picture(1)}])])
    assert texts(transcript, transcript.ids()) == ["User: Look", "Assistant: ...", "Tool: ...", "User: ..."]


class TestSplit:
    def test_the_newest_begin_with_the_user(self, memory: ContinuousMemory):
        transcript = Transcript(memory, "s1")
        transcript.append(HELLO)
        for recent, newest in ((1, 2), (2, 2), (3, 4), (4, 4), (9, 4)):
            older, records = transcript.split(recent)
            assert [record.id for record in records] == transcript.ids()[4 - newest :]
            assert older == transcript.ids()[: 4 - newest]
        assert transcript.split(0) == (transcript.ids(), [])

    def test_of_nothing(self, memory: ContinuousMemory):
        assert Transcript(memory, "s1").split(3) == ([], [])

    def test_where_the_user_said_nothing_all_are_new(self, memory: ContinuousMemory):
        transcript = Transcript(memory, "s1")
        transcript.append([said("assistant", f"Call {i}.") for i in range(20)])
        older, records = transcript.split(2)
        assert older == [] and [record.id for record in records] == transcript.ids()

    def test_a_long_turn_with_tools_stays_whole(self, memory: ContinuousMemory):
        transcript = Transcript(memory, "s1")
        calls = [said("assistant", f"Call {i}.") for i in range(40)]
        now = [said("user", "Now."), *calls]
        transcript.append([said("user", "Before."), said("assistant", "Yes."), *now])
        older, records = transcript.split(2)
        assert [noted(record, MESSAGE) for record in records] == [one.message for one in now]
        assert texts(transcript, older) == ["User: Before.", "Assistant: Yes."]


class TestReplace:
    def test_other_messages_take_the_place_of_the_old_ones(self, memory: ContinuousMemory):
        transcript = Transcript(memory, "s1")
        transcript.replace(HELLO[:1])
        transcript.replace(HELLO[2:])
        assert messages(transcript) == [one.message for one in HELLO[2:]]
        transcript.replace([])
        assert messages(transcript) == []

    def test_the_old_ones_stay_where_the_new_ones_cannot_be_kept(self, tmp_path: Any):
        with tiny_memory(tmp_path) as memory:
            transcript = Transcript(memory, "s1")
            transcript.append(HELLO)
            gone = said("user", [{"type": "image", "image": tmp_path / "gone.png"}])
            with pytest.raises(InvalidItemError, match="gone.png does not exist"):
                transcript.replace([gone])
            assert messages(transcript) == [one.message for one in HELLO]


class TestSessions:
    def test_they_stay_apart(self, memory: ContinuousMemory):
        first, second = Transcript(memory, "s1"), Transcript(memory, "s2")
        first.append(HELLO[:1])
        second.append(HELLO[2:])
        assert (len(first.ids()), len(second.ids())) == (1, 2)
        first.clear()
        assert first.ids() == [] and messages(second) == [one.message for one in HELLO[2:]]

    def test_a_session_holds_its_messages_alone(self, memory: ContinuousMemory):
        memory.add(with_notes(MemoryItem(id="fact", text="A fact."), {SESSION: "7"}))  # as a memory block's
        transcript = Transcript(memory, 7)  # type: ignore[arg-type]  # as a URL or a database has it
        transcript.append(HELLO[:1])
        assert messages(Transcript(memory, "7")) == ["user Hi"]
        transcript.clear()
        assert memory.get("fact") and transcript.ids() == []

    def test_its_name_may_have_half_of_a_character(self, memory: ContinuousMemory):
        Transcript(memory, "s\ud83d").append(HELLO[:1])
        assert messages(Transcript(memory, "s\ud83d")) == messages(Transcript(memory, "s\ufffd")) == ["user Hi"]

    @pytest.mark.parametrize("session_id", ["", None])
    def test_it_has_a_name(self, memory: ContinuousMemory, session_id: Any):
        with pytest.raises(ValueError, match=f"session_id is {session_id!r}. Pass a name"):
            Transcript(memory, session_id)


def former(memory: ContinuousMemory, session: str, *said: str) -> list[str]:
    """Messages as version 0.1.0 stored them, in the items' own metadata."""
    items = [
        MemoryItem(
            id=f"{1_700_000_000_000_000 + n:016}-{uuid.uuid4().hex}",
            text=f"User: {text}",
            metadata={"session_id": session, "transcript": session, "role": "user", "message": f"user {text}"},
        )
        for n, text in enumerate(said)
    ]
    return memory.add(items)


class TestNames:
    USERS = MemoryItem(
        id="call", text="Call notes", metadata={"transcript": "s1", "session_id": "s1", "role": "me", "message": "hi"}
    )

    def test_a_user_s_item_with_names_like_ours_is_no_message(self, memory: ContinuousMemory):
        memory.add(self.USERS)
        transcript = Transcript(memory, "s1")
        transcript.append(HELLO[:1])
        assert messages(transcript) == ["user Hi"]
        transcript.replace(HELLO[1:2])
        transcript.clear()
        assert transcript.ids() == []
        assert memory.get("call")[0].metadata == self.USERS.metadata

    def test_notes_are_not_shown_and_can_be_filtered_by(self, memory: ContinuousMemory):
        Transcript(memory, "s1").append(HELLO[:2])
        memory.add(self.USERS)
        assert [hit.metadata for hit in memory.scan(where={ROLE: {"$in": ["user", "assistant"]}})] == [{}, {}]
        assert visible(memory.get("call")[0]) == self.USERS.metadata
        [copied] = memory.namespace("other").add(MemoryItem(text="Hi", metadata=memory.search("Hi")[0].metadata))
        assert memory.namespace("other").delete(ids=copied) == 1

    def test_messages_of_version_0_1_0_are_read_shown_without_notes_and_cleared(self, memory: ContinuousMemory):
        ids = former(memory, "s1", "One", "Two")
        former(memory, "s2", "Three")
        memory.add(self.USERS)
        transcript = Transcript(memory, "s1")
        transcript.append(HELLO[:1])
        older, newest = transcript.split(2)
        assert older == ids[:1] and [noted(record, MESSAGE) for record in newest] == ["user Two", "user Hi"]
        assert visible(memory.get(ids[0])[0]) == {}
        transcript.clear()
        assert transcript.ids() == [] and len(Transcript(memory, "s2").ids()) == 1 and memory.get("call")

    def test_notes_survive_an_update_and_travel(self, memory: ContinuousMemory, tmp_path: Any):
        transcript = Transcript(memory, "s1")
        transcript.append(HELLO[:1])
        memory.update(transcript.ids()[0], metadata={"room": "hall"})
        assert messages(transcript) == ["user Hi"]
        memory.update(transcript.ids()[0], text="User: Hello")
        assert memory.get(transcript.ids())[0].metadata == {"room": "hall"}
        if isinstance(memory, RemoteMemory):  # a server's is exported where it lies
            return
        memory.export(tmp_path / "export")
        memory.namespace("moved").load(tmp_path / "export")
        moved = Transcript(memory.namespace("moved"), "s1")
        assert moved.ids() == transcript.ids() and texts(moved, moved.ids()) == ["User: Hello"]
        assert [noted(record, ROLE) for record in moved.read(moved.ids())] == ["user"]
        memory.namespace("moved").clear()
