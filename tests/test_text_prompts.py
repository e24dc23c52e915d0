"""Recalled items as text: every standard layout filled, items' pictures, and templates that are refused."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comem_memory.config import Mode
from comem_memory.errors import QueryError
from comem_memory.model import (
    DEFAULT_TEXT_PROMPTS,
    TEXT_PROMPTS,
    PromptItem,
    as_text,
    check_text_prompt,
    retrieval_content,
    with_items,
)
from comem_memory.testing import tiny_picture

QUESTION, PLAIN = "Which key?", TEXT_PROMPTS["plain"]
ITEMS = [PromptItem("A fork."), PromptItem("The brass key.")]
FILLED = {
    "plain": "A fork.\nThe brass key.\n\nWhich key?",
    "context and question": "Context:\nA fork.\nThe brass key.\n\nQuestion: Which key?",
    "answer from the context": (
        "Context:\nA fork.\nThe brass key.\n\nAnswer the question using the context above.\n\n"
        "Question: Which key?\nAnswer:"
    ),
    "llama_index": (
        "Context information is below.\n---------------------\nA fork.\nThe brass key.\n---------------------\n"
        "Given the context information and not prior knowledge, answer the query.\nQuery: Which key?\nAnswer: "
    ),
    "langchain": (
        "Use the following pieces of context to answer the question at the end. If you don't know the answer, just "
        "say that you don't know, don't try to make up an answer.\n\nA fork.\nThe brass key.\n\nQuestion: Which key?\n"
        "Helpful Answer:"
    ),
    "what you remember": "What you remember:\nA fork.\nThe brass key.\n\nWhich key?",
}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def shown(picture: Image.Image) -> dict[str, Any]:
    return {"type": "image", "image": picture}


def written(parts: list[dict[str, Any]]) -> str:
    """Parts as text, `<n>` for a picture n pixels wide."""
    return "".join(part["text"] if part["type"] == "text" else f"<{part['image'].width}>" for part in parts)


def picture(width: int) -> Image.Image:
    return tiny_picture(1, size=(width, 20))


@pytest.mark.parametrize("name", TEXT_PROMPTS)
def test_every_standard_layout_filled(name: str):
    assert written(retrieval_content(QUESTION, ITEMS, template=TEXT_PROMPTS[name])) == FILLED[name]
    assert check_text_prompt(TEXT_PROMPTS[name]) == TEXT_PROMPTS[name]


@pytest.mark.parametrize(("mode", "name"), [("text", "answer from the context"), ("both", "plain")])
def test_the_default_of_each_mode(mode: Mode, name: str):
    assert DEFAULT_TEXT_PROMPTS[mode] == TEXT_PROMPTS[name]
    assert written(retrieval_content(QUESTION, ITEMS, template=DEFAULT_TEXT_PROMPTS[mode])) == FILLED[name]
    assert retrieval_content(QUESTION, ITEMS) == retrieval_content(
        QUESTION, ITEMS, template=DEFAULT_TEXT_PROMPTS["text"]
    )


@pytest.mark.parametrize(
    "template", ["", "{question}", "{context}", "{context} {context} {question}", "{context} {question} {question}"]
)
def test_a_template_holds_both_places_once(template: str):
    with pytest.raises(QueryError, match=r"It needs \{context\} and \{question\}, once each"):
        check_text_prompt(template)


def test_a_template_may_hold_other_braces_and_any_order():
    template = check_text_prompt('{question} {"json": {}} {context}')
    assert written(retrieval_content(QUESTION, ITEMS[:1], template=template)) == 'Which key? {"json": {}} A fork.'


def test_places_in_what_is_filled_in_are_plain_text():
    items = [PromptItem("{question} {context}")]
    assert written(retrieval_content("{context}?", items, template=PLAIN)) == "{question} {context}\n\n{context}?"


class TestQuestion:
    def test_without_items_the_question_stands_alone(self):
        assert retrieval_content(QUESTION) == [text(QUESTION)]
        assert retrieval_content(QUESTION, template=TEXT_PROMPTS["langchain"]) == [text(QUESTION)]

    def test_its_picture_goes_before_it(self):
        seen = picture(30)
        assert retrieval_content(QUESTION, picture=seen, supports_images=True) == [shown(seen), text(QUESTION)]
        asked = retrieval_content(QUESTION, ITEMS, seen, supports_images=True, template=PLAIN)
        assert written(asked) == "A fork.\nThe brass key.\n\n<30>Which key?"

    def test_a_model_without_eyes_is_not_shown_it(self):
        assert retrieval_content(QUESTION, picture=picture(30)) == [text(QUESTION)]


class TestPictures:
    def test_each_stands_before_its_text(self, tmp_path: Path):
        picture(32).save(tmp_path / "b.png")
        items = [PromptItem("First.", picture(31)), PromptItem(None, tmp_path / "b.png"), PromptItem("Third.")]
        asked = retrieval_content(QUESTION, items, picture(33), supports_images=True, template=PLAIN)
        assert written(asked) == "<31>First.\n<32>\nThird.\n\n<33>Which key?"

    def test_a_model_without_eyes_reads_the_texts(self, tmp_path: Path):
        items = [PromptItem("First.", tmp_path / "gone.png"), PromptItem("Second.", picture(31))]
        assert written(retrieval_content(QUESTION, items, template=PLAIN)) == "First.\nSecond.\n\nWhich key?"


def test_a_turn_s_own_parts_stay_as_they_are():
    content = [text("Look: "), shown(picture(40)), text(" what is it?")]
    kept = list(content)
    asked = with_items(content, ITEMS, "Known: {context} Asked: {question}!", supports_images=True)
    assert written(asked) == "Known: A fork.\nThe brass key. Asked: Look: <40> what is it?!"
    assert all(part in asked for part in content)
    assert with_items(content, [], "Known: {context} Asked: {question}!", supports_images=True) == content == kept


class TestAsText:
    def test_items_a_line_each_the_best_last(self):
        assert as_text(iter(ITEMS)) == "What you remember, the most relevant last:\n- A fork.\n- The brass key."

    def test_a_picture_without_text_by_its_path(self):
        items = [PromptItem(None, "kept/flag.png"), PromptItem("A door.", "kept/door.png")]
        assert as_text(items) == "What you remember, the most relevant last:\n- kept/flag.png\n- A door."

    def test_nothing(self):
        assert as_text([]) == "You remember nothing about this."

    def test_the_day_on_which_something_was_said_stands_before_it(self):
        items = [
            PromptItem("My dog is called Luna.", None, "2026-05-03T23:30:00.000000+02:00"),
            PromptItem(None, "kept/flag.png", "2026-05-03T23:30:00+02:00"),
        ]
        told = "on 3 May 2026: My dog is called Luna."
        assert as_text(items) == f"What you remember, the most relevant last:\n- {told}\n- kept/flag.png"
        content = with_items([{"type": "text", "text": "?"}], items, "{context}|{question}", supports_images=False)
        assert "".join(part["text"] for part in content) == f"{told}|?"
