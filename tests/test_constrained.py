"""Constrained decoding: whatever a random model would like to say, the answer fits its schema, and ends."""

import datetime
import json
import random
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
import torch
from helpers.tools import ADD, tool
from pydantic import BaseModel, Field, create_model

from comem_memory.chat import Chat, ChatSettings, Reply
from comem_memory.chat.constrained import MOST_DIGITS, Constraint, Form, Schema, Vocabulary
from comem_memory.chat.tool_calls import BEGIN, END
from comem_memory.errors import GrammarError
from comem_memory.model import Message
from comem_memory.testing import tiny_backbone

GO: list[Message] = [{"role": "user", "content": "Go"}]
PERSON: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "friends": {"type": "array", "items": {"type": "string"}},
        "age": {"type": "integer"},
    },
    "required": ["name", "friends", "age"],
}


@pytest.fixture(scope="module")
def chat() -> Chat:
    backbone = tiny_backbone("llava")
    backbone.model.config.get_text_config().max_position_embeddings = 16384  # schemas, in bytes
    return Chat(backbone)


@pytest.fixture(scope="module")
def vocabulary(chat: Chat) -> Vocabulary:
    backbone = chat.backbone
    size = backbone.model.get_output_embeddings().weight.shape[0]
    return Vocabulary(backbone.prompts.tokenizer, size, backbone.stops())


def answered(chat: Chat, schema: Schema, **settings: Any) -> Reply:
    return chat.reply(GO, settings=ChatSettings(schema=schema, **settings))


def forced(chat: Chat, schema: Schema, **settings: Any) -> Reply:
    """A call to a tool whose arguments fit the schema."""
    fill: dict[str, Any] = {"type": "function", "function": {"name": "fill", "parameters": schema}}
    return chat.reply(GO, settings=ChatSettings(tools=[fill], tool_choice="fill", **settings))


def random_schema(rng: random.Random, depth: int = 0) -> type[BaseModel]:
    """A pydantic class of up to 4 fields: plain, optional, constrained, enumerated, nested and listed."""
    kinds: list[Any] = [
        str,
        int,
        float,
        bool,
        int | None,
        datetime.date,
        Literal["red", "green", "blue"],
        list[str],
        dict[str, int],
        Annotated[int, Field(ge=1, le=5)],
        Annotated[str, Field(max_length=8)],
        Annotated[list[float], Field(min_length=1, max_length=3)],
    ]
    if depth < 2:
        kinds += [random_schema(rng, depth + 1), list[random_schema(rng, depth + 1)]]  # type: ignore[misc]
    fields: dict[str, Any] = {f"field_{i}": (rng.choice(kinds), ...) for i in range(rng.randint(1, 4))}
    return create_model(f"Model{rng.randrange(10**6)}", **fields)


Chooser = Callable[[int, torch.Tensor], int]
"""The next token, from how many were written and which are allowed."""


def written(constraint: Constraint, choose: Chooser) -> list[int]:
    """What somebody writes who is held to the constraint."""
    prompt, tokens = [0], list[int]()
    while len(tokens) < 1000:
        allowed = constraint(torch.tensor([prompt + tokens]), torch.zeros(1, constraint.vocabulary.size))[0] == 0
        token = choose(len(tokens), allowed)
        assert allowed[token]
        if token in constraint.vocabulary.stop_ids:
            return tokens
        tokens.append(token)
    raise AssertionError("It does not end.")


def always(vocabulary: Vocabulary, letter: str) -> Chooser:
    """Writes a letter wherever it may, else the first token that is allowed."""
    [token] = vocabulary.engine.tokenize_str(letter)
    return lambda _, allowed: token if allowed[token] else int(allowed.nonzero()[0])


def saying(vocabulary: Vocabulary, text: str) -> Chooser:
    """Writes a text and stops."""
    tokens = [*vocabulary.engine.tokenize_str(text), vocabulary.stop_ids[0]]
    return lambda position, _: tokens[position]


class TestFilled:
    def test_50_random_schemas_are_all_answered(self, chat: Chat):
        for seed in range(50):
            schema = random_schema(random.Random(seed))
            assert schema.model_validate_json(answered(chat, schema.model_json_schema(), max_tokens=800).text)

    def test_50_random_schemas_are_all_called_with(self, chat: Chat):
        for seed in range(50):
            schema = random_schema(random.Random(seed))
            reply = forced(chat, schema.model_json_schema(), max_tokens=800)
            [call] = reply.tool_calls
            assert schema.model_validate(call.arguments) and reply.text == ""

    def test_only_what_the_schema_names_is_answered(self, chat: Chat):
        inner: Schema = {"type": "object", "properties": {"b": {"type": "null"}}}
        parts = {"a": {"type": "null"}, "c": {"$ref": "#/$defs/inner"}, "d": {"type": "array", "items": inner}}
        schema = {"title": "x", "type": "object", "properties": parts, "$defs": {"inner": inner}}
        for seed in range(12):
            found = json.loads(answered(chat, schema, max_tokens=120, temperature=1.5, seed=seed).text)
            assert found.keys() <= parts.keys()
            assert all(one.keys() <= {"b"} for one in [found.get("c", {}), *found.get("d", [])])

    @pytest.mark.parametrize(
        "inner",
        [
            {"properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "null"}},
            {"allOf": [{"properties": {"a": {"type": "null"}}}, {"properties": {"b": {"type": "null"}}}]},
        ],
    )
    def test_what_a_schema_leaves_open_stays_open(self, chat: Chat, inner: Schema):
        part = {"type": "object", **inner, "required": ["a", "b"]}
        schema = {"title": "x", "type": "object", "properties": {"part": part}, "required": ["part"]}
        found = json.loads(answered(chat, schema, max_tokens=120).text)
        assert found["part"].keys() >= {"a", "b"}

    def test_a_schema_that_cannot_be_enforced_is_refused(self, chat: Chat):
        schema = {"title": "a", "type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}
        for ask in (answered, forced):
            with pytest.raises(GrammarError, match="Simplify"):
                ask(chat, schema)


class TestInTime:
    def test_an_answer_closed_in_haste_says_so(self, chat: Chat):
        called = chat.reply(GO, settings=ChatSettings(max_tokens=200, tools=[ADD], tool_choice="any"))
        assert called.tool_calls and called.finish_reason == "tool_calls"
        schema = {"title": "a", "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        cut = answered(chat, schema, max_tokens=100)
        assert json.loads(cut.text)["text"] and cut.finish_reason == "length"
        assert cut.completion_tokens < 100, "it was closed before"

    @pytest.mark.parametrize("missing", [0, 1, 5, 12, 13])
    def test_a_call_is_whole_without_the_end_of_its_tag(self, chat: Chat, missing: int):
        written = '<tool_call>\n{"name": "sleep", "arguments": {}}\n</tool_call>'  # a token a letter
        settings = ChatSettings(max_tokens=len(written) - missing, tools=[tool("sleep", "Sleep.")], tool_choice="sleep")
        reply = chat.reply(GO, settings=settings)
        assert (reply.text, [call.name for call in reply.tool_calls]) == ("", ["sleep"])

    def test_whoever_never_stops_is_made_to(self, vocabulary: Vocabulary):
        for most in (100, 150, 400):
            constraint = Constraint(vocabulary, [Form(PERSON)], max_new_tokens=most)
            tokens = written(constraint, always(vocabulary, "a"))
            found = json.loads(vocabulary.engine.decode_str(tokens))
            assert found["name"].startswith("aaaa") and found.keys() == PERSON["properties"].keys()
            assert most // 2 < len(tokens) < most and constraint.hurried

    def test_whoever_stops_is_left_alone(self, vocabulary: Vocabulary):
        wanted = '{"name": "Ada", "friends": ["Bob"], "age": 36}'
        constraint = Constraint(vocabulary, [Form(PERSON)], max_new_tokens=150)
        assert vocabulary.engine.decode_str(written(constraint, saying(vocabulary, wanted))) == wanted
        assert not constraint.hurried

    def test_what_stands_around_is_written_in_time_too(self, vocabulary: Vocabulary):
        constraint = Constraint(vocabulary, [Form(PERSON, BEGIN, END)], max_new_tokens=150)
        text = vocabulary.engine.decode_str(written(constraint, always(vocabulary, "a")))
        assert text.startswith(BEGIN) and text.endswith(END)
        assert json.loads(text.removeprefix(BEGIN).removesuffix(END))

    def test_one_of_several_forms(self, vocabulary: Vocabulary):
        forms = [Form({"const": "called"}, "<", ">"), Form({"const": "answered"})]
        for wanted in ('<"called">', '"answered"'):
            constraint = Constraint(vocabulary, forms, max_new_tokens=40)
            assert vocabulary.engine.decode_str(written(constraint, saying(vocabulary, wanted))) == wanted

    def test_a_number_ends_and_digits_in_a_text_do_not(self, vocabulary: Vocabulary):
        def said(kind: str) -> Any:
            schema = {"type": "object", "properties": {"x": {"type": kind}}, "required": ["x"]}
            constraint = Constraint(vocabulary, [Form(schema)], max_new_tokens=200)
            return json.loads(vocabulary.engine.decode_str(written(constraint, always(vocabulary, "7"))))["x"]

        assert said("integer") == int("7" * MOST_DIGITS)
        assert len(said("string")) > 5 * MOST_DIGITS

    def test_so_many_digits_fit_64_bits(self):
        assert 10**MOST_DIGITS < 2**63
