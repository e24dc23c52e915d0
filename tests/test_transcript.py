"""A conversation kept message by message: order, windows, sessions that stay apart, and what takes another's place."""

from collections.abc import Iterator
from typing import Any

import pytest

from comem_memory import ContinuousMemory, MemoryItem
from comem_memory.errors import InvalidItemError
from comem_memory.integrations.transcript import MESSAGE, ROLE, SESSION, TRANSCRIPT, Said, Transcript, visible
from comem_memory.testing import tiny_memory, tiny_picture


@pytest.fixture(scope="module")
def shared() -> Iterator[ContinuousMemory]:
    with tiny_memory() as memory:  # in memory, so that it keeps no pictures
        yield memory


@pytest.fixture
def memory(shared: ContinuousMemory) -> Iterator[ContinuousMemory]:
    yield shared
    shared.clear()


def said(role: str, content: Any, **more: Any) -> Said:
    return Said({"role": role, "content": content, **more}, f"{role} {content}")


def messages(transcript: Transcript) -> list[str]:
    return [str(record.metadata[MESSAGE]) for record in transcript.read(transcript.ids())]


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
    assert [record.metadata[ROLE] for record in transcript.read(transcript.ids())] == ["user", "assistant"] * 2
    transcript.append([])
    assert len(transcript.ids()) == 4


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
        assert [record.metadata[MESSAGE] for record in records] == [one.message for one in now]
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
        memory.add(MemoryItem(id="fact", text="A fact.", metadata={SESSION: "7"}))
        transcript = Transcript(memory, 7)  # type: ignore[arg-type]  # as a URL or a database has it
        transcript.append(HELLO[:1])
        assert messages(Transcript(memory, "7")) == ["user Hi"]
        transcript.clear()
        assert memory.get("fact") and transcript.ids() == []

    @pytest.mark.parametrize("session_id", ["", None])
    def test_it_has_a_name(self, memory: ContinuousMemory, session_id: Any):
        with pytest.raises(ValueError, match=f"session_id is {session_id!r}. Pass a name"):
            Transcript(memory, session_id)


def test_bookkeeping_is_not_shown():
    metadata = {SESSION: "s1", TRANSCRIPT: "s1", ROLE: "user", MESSAGE: "{}", "room": "hall"}
    assert visible(metadata) == {SESSION: "s1", ROLE: "user", "room": "hall"}
