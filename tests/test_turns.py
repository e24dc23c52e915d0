"""Turns of a conversation: what they say, which was asked last, a turn as an item, and what only names items."""

from typing import Any

import pytest
from PIL import Image

from comem_memory.chat import NamedItems, asked_in, content_of, item_of, parts_of, question_turn, spoken, text_of
from comem_memory.model import Message
from comem_memory.testing import tiny_picture

FIRST, SECOND = tiny_picture(1), tiny_picture(2)


def text(said: str) -> Message:
    return {"type": "text", "text": said}


def shown(picture: Image.Image) -> Message:
    return {"type": "image", "image": picture}


def turn(role: str, content: Any, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


class TestContent:
    def test_a_text_is_one_part(self):
        assert parts_of(turn("user", "Hi")) == [text("Hi")]
        assert parts_of(turn("user", parts := [text("Hi"), shown(FIRST)])) is parts

    def test_texts_are_joined_and_pictures_left_out(self):
        assert text_of(turn("user", "Hi ")) == "Hi "
        assert text_of(turn("user", [text("What "), shown(FIRST), text("is it?")])) == "What is it?"
        assert text_of(turn("user", [])) == ""

    def test_text_and_last_picture(self):
        assert content_of(turn("user", " Hi\n")) == ("Hi", None)
        assert content_of(turn("user", [shown(FIRST), text(" Which? "), shown(SECOND)])) == ("Which?", SECOND)
        assert content_of(turn("user", [shown(FIRST)])) == ("", FIRST)


class TestQuestion:
    @pytest.mark.parametrize(
        ("said", "position"),
        [
            ([], None),
            ([("system", "Be brief."), ("assistant", "Hello.")], None),
            ([("user", "One"), ("assistant", "Yes."), ("user", "Two")], 2),
            ([("user", "One"), ("assistant", "Yes."), ("tool", "3"), ("system", "Be brief.")], 0),
            ([("user", "One"), ("assistant", "Thought: look"), ("user", "Observation: a key")], 0),
            ([("user", "One"), ("assistant", "Action: look"), ("user", "\n Observation: a key")], 0),
            ([("user", "One"), ("assistant", "Yes."), ("user", "Observation: it rains")], 2),  # the user's own
            ([("user", "What does Observation: mean?"), ("assistant", "This.")], 0),
            ([("user", "Observation: a key"), ("assistant", "Hm."), ("user", "Observation: a door")], 2),
        ],
    )
    def test_the_position_of_what_the_user_said_last(self, said: list[tuple[str, str]], position: int | None):
        assert question_turn([turn(role, content) for role, content in said]) == position

    def test_a_picture_may_be_all_that_is_asked(self):
        assert question_turn([turn("user", "One"), turn("user", [shown(FIRST)])]) == 1


class TestAskedIn:
    @pytest.mark.parametrize(
        "template",
        [
            "Use the context.\n\nA key. Question: none\n\nQuestion: {question}\nHelpful Answer:",  # LangChain
            "Use the context. \nQuestion: {question} \nContext: A key. \nAnswer:",  # its hub's, whose question is first
            "Context information is below.\n---\nA key.\n---\nAnswer the query.\nQuery: {question}\nAnswer: ",
            "question: What is 1 + 1?\nanswer: 2\n\nuser question: {question}",
        ],
    )
    def test_a_chain_s_prompt_asks_its_labelled_question(self, template: str):
        assert asked_in(template.format(question="What opens\nthe door?")) == "What opens\nthe door?"

    @pytest.mark.parametrize(
        "said", ["What opens it?", "I have a question: what opens it?", "Question:", "Query: \nAnswer:", ""]
    )
    def test_else_all_is_asked(self, said: str):
        assert asked_in(said) == said


class TestItem:
    TURNS = (
        turn("user", [text("What is this? "), shown(FIRST)]),
        turn("assistant", ""),
        turn("tool", [shown(SECOND)]),
        turn("assistant", "A flag."),
    )

    def test_a_line_each_and_the_last_picture(self):
        item = item_of(self.TURNS, keeps_pictures=True, id="a", metadata={"year": 2020})
        assert item is not None
        assert (item.text, item.image) == ("User: What is this?\nAssistant: A flag.", SECOND)
        assert (item.id, item.metadata) == ("a", {"year": 2020})

    def test_where_no_pictures_are_kept_there_is_none(self):
        item = item_of(self.TURNS, keeps_pictures=False)
        assert item is not None and item.image is None and item.text is not None

    def test_a_picture_alone_is_an_item_and_nothing_is_none(self):
        item = item_of([turn("user", [shown(FIRST)])], keeps_pictures=True)
        assert item is not None and (item.text, item.image) == (None, FIRST)
        assert item_of([turn("user", [shown(FIRST)])], keeps_pictures=False) is None
        assert item_of([turn("user", " "), turn("assistant", [])], keeps_pictures=True) is None
        assert item_of([], keeps_pictures=True) is None


class TestSpoken:
    NAMED = NamedItems(("key", "flag"), "A brass key.")

    def test_what_only_names_items_is_left_out(self):
        said = [turn("user", [], named=self.NAMED), turn("user", "Which key?")]
        assert spoken(said) == said[1:]
        assert said[0]["named"] is self.NAMED, "the caller's stays"

    def test_what_also_says_something_says_it_still(self):
        said = [turn("user", [text("Which key?")], named=self.NAMED)]
        assert spoken(said) == [turn("user", [text("Which key?")])]

    @pytest.mark.parametrize(
        ("role", "kept"), [("user", False), ("system", False), ("assistant", True), ("tool", True)]
    )
    def test_a_call_and_a_result_may_be_empty(self, role: str, kept: bool):
        said = [turn(role, "")]
        assert spoken(said) == (said if kept else [])

    @pytest.mark.parametrize("given", [{"key"}, {"key", "flag"}, {"flag", "cat"}])
    def test_items_that_are_given_are_not_told_too(self, given: set[str]):
        assert spoken([turn("user", [], named=self.NAMED)], given=given) == []

    @pytest.mark.parametrize("given", [set(), {"cat"}])
    def test_items_of_which_none_is_given_are_told(self, given: set[str]):
        said = [turn("user", [], named=self.NAMED), turn("user", [text("Look. ")], named=self.NAMED)]
        told = [turn("user", [text("A brass key.")]), turn("user", [text("Look. "), text("A brass key.")])]
        assert spoken(said, given=given) == told
        assert said[0]["content"] == [] and said[1]["content"] == [text("Look. ")], "the caller's stays"

    @pytest.mark.parametrize("named", [NamedItems(("key",)), NamedItems((), "You remember nothing."), NamedItems(())])
    def test_without_items_or_text_nothing_is_told(self, named: NamedItems):
        assert spoken([turn("user", [], named=named)], given=set()) == []
