"""Constrained decoding: whatever a random model would like to say, the answer fits its schema, and ends."""

from __future__ import annotations

import datetime
import enum
import ipaddress
import json
import random
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
import torch
from helpers.tools import ADD, tool
from pydantic import BaseModel, Field, create_model

from comem_memory.chat import Chat, ChatSettings, Reply
from comem_memory.chat.constrained import MOST_NESTED, Constraint, Form, Vocabulary
from comem_memory.chat.schemas import FORMATS, MOST_DIGITS, Schema
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


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Node(BaseModel):
    value: int
    next: Node | None = None


class Tree(BaseModel):
    name: str
    children: list[Tree]


class Folder(BaseModel):
    in_it: list[Folder]


class Number(BaseModel):
    kind: Literal["number"]
    value: int


class Sum(BaseModel):
    kind: Literal["sum"]
    left: Annotated[Sum | Number, Field(discriminator="kind")]
    right: Annotated[Sum | Number, Field(discriminator="kind")]


class Pair(BaseModel):
    left: Pair | Number
    right: Pair | Number = Field(description="Beside the reference", json_schema_extra={"unit": "cm"})


class Optionals(BaseModel):
    a: str | None = None
    b: Optionals | None = None
    c: list[int] = []
    name: str


KINDS: dict[str, Any] = {
    "text": str,
    "number": float,
    "bytes": bytes,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
    "uuid4": pydantic.UUID4,
    "url": pydantic.HttpUrl,
    "any url": pydantic.AnyUrl,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "path": Path,
    "secret": pydantic.SecretStr,
    "base64": pydantic.Base64Bytes,
    "set": set[int],
    "frozenset of choices": frozenset[Color],
    "tuple": tuple[int, str],
    "dict by choice": dict[Color, int],
    "dict by id": dict[uuid.UUID, int],
    "dict by short names": dict[Annotated[str, Field(min_length=1, max_length=3)], int],
    "dict of some": Annotated[dict[str, int], Field(min_length=2)],
    "anything": Any,
    "a multiple": Annotated[int, Field(multiple_of=7, gt=100)],
    "a negative": Annotated[float, Field(lt=-0.5)],
    "a pattern": Annotated[str, Field(pattern=r"^[a-z]+@[a-z]+\.[a-z]{2,3}$")],
    "a long text": Annotated[str, Field(min_length=30)],
    "choice": Literal[1, "a", None, True],
    "a choice of classes": Annotated[Number | Sum, Field(discriminator="kind")],
    "optionals": Optionals,
    "node": Node,
    "nodes": list[Node],
    "tree": Tree,
    "sum": Sum,
    "pair": Pair,
}
"""Types of pydantic, recursive ones and those of which its schemas say more than a grammar can enforce."""


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


def at_random(vocabulary: Vocabulary, seed: int) -> Chooser:
    """Writes whatever is allowed, of ASCII where there is some."""
    rng = random.Random(seed)

    def choose(_: int, allowed: torch.Tensor) -> int:
        tokens = allowed.nonzero()[:, 0].tolist()
        return rng.choice([token for token in tokens if vocabulary.bytes_of(token).isascii()] or tokens)

    return choose


def fond_of_some(vocabulary: Vocabulary, seed: int) -> Chooser:
    """Writes the token that it likes best of those that are allowed, always the same, as an untrained model does."""
    liking = torch.randn(vocabulary.size, generator=torch.Generator().manual_seed(seed))
    return lambda _, allowed: int(liking.where(allowed, float("-inf")).argmax())


def preferring(vocabulary: Vocabulary, texts: str) -> Chooser:
    """Writes the first of some letters that is allowed, else the first token."""
    tokens = vocabulary.engine.tokenize_str(texts)
    return lambda _, allowed: next((token for token in tokens if allowed[token]), int(allowed.nonzero()[0]))


def saying(vocabulary: Vocabulary, text: str) -> Chooser:
    """Writes a text and stops."""
    tokens = [*vocabulary.engine.tokenize_str(text), vocabulary.stop_ids[0]]
    return lambda position, _: tokens[position]


class TestFilled:
    def test_50_random_schemas_are_all_answered(self, vocabulary: Vocabulary):
        for seed in range(50):
            schema = random_schema(random.Random(seed))
            constraint = Constraint(vocabulary, [Form(schema.model_json_schema())], max_new_tokens=300)
            tokens = written(constraint, fond_of_some(vocabulary, seed))
            assert len(tokens) <= 300 and schema.model_validate_json(vocabulary.engine.decode_str(tokens))

    def test_random_schemas_are_answered_and_called_with_by_a_model(self, chat: Chat):
        for seed in range(2):
            schema = random_schema(random.Random(seed))
            assert schema.model_validate_json(answered(chat, schema.model_json_schema(), max_tokens=150).text)
            reply = forced(chat, schema.model_json_schema(), max_tokens=150)
            [call] = reply.tool_calls
            assert schema.model_validate(call.arguments) and reply.text == ""

    @pytest.mark.parametrize("kind", KINDS)
    def test_whatever_is_written_validates(self, vocabulary: Vocabulary, kind: str):
        class Answer(BaseModel):
            value: KINDS[kind]  # type: ignore[valid-type]

        Answer.model_rebuild(_types_namespace={"KINDS": KINDS, "kind": kind})
        for seed, most in enumerate([150, 220, 300]):
            constraint = Constraint(vocabulary, [Form(Answer.model_json_schema())], max_new_tokens=most)
            tokens = written(constraint, at_random(vocabulary, seed))
            assert len(tokens) < most
            assert Answer.model_validate_json(vocabulary.engine.decode_str(tokens))

    @pytest.mark.parametrize("kind", [datetime.date, pydantic.HttpUrl, Path, set[int]])
    def test_what_a_model_fills_validates(self, chat: Chat, kind: Any):
        schema = create_model("Answer", value=(kind, ...))
        assert schema.model_validate_json(answered(chat, schema.model_json_schema(), max_tokens=150).text)
        [call] = forced(chat, schema.model_json_schema(), max_tokens=200).tool_calls
        assert schema.model_validate(call.arguments)

    @pytest.mark.parametrize("kind", [Tree, Sum])
    def test_recursive_classes_themselves(self, chat: Chat, kind: type[BaseModel]):
        assert kind.model_validate_json(answered(chat, kind.model_json_schema(), max_tokens=150).text)
        [call] = forced(chat, kind.model_json_schema(), max_tokens=200).tool_calls
        assert kind.model_validate(call.arguments)

    def test_a_recursive_answer_may_be_deep_but_not_deeper_than_its_readers_go(self, vocabulary: Vocabulary):
        for most in (150, 900):
            constraint = Constraint(vocabulary, [Form(Folder.model_json_schema())], max_new_tokens=most)
            text = vocabulary.engine.decode_str(written(constraint, preferring(vocabulary, '"{[')))
            assert Folder.model_validate_json(text)
            depth = max(text[:end].count("[") - text[:end].count("]") for end in range(len(text)))
            assert 2 * depth == MOST_NESTED if most == 900 else 5 < depth < 25

    def test_a_schema_that_holds_itself_for_ever_is_refused(self, vocabulary: Vocabulary):
        endless = {"type": "object", "properties": {"more": {"$ref": "#"}}, "required": ["more"]}
        with pytest.raises(GrammarError, match="never ends"):
            Constraint(vocabulary, [Form(endless)], max_new_tokens=100)

    @pytest.mark.parametrize(
        ("format", "right", "wrong"),
        [
            ("date", ["2024-02-29", "2000-02-29", "2023-12-31"], ["2023-02-29", "1900-02-29", "2024-04-31"]),
            ("time", ["23:59:59Z", "00:00:00.5+01:00"], ["24:00:00Z", "12:00:60Z", "12:00:00"]),
            ("date-time", ["2024-02-29T12:00:00Z"], ["2024-02-30T12:00:00Z", "2024-02-29 12:00"]),
            ("duration", ["P1DT2H", "PT36M", "P2W", "P1Y2M3D"], ["P", "1D", "PT"]),
            ("email", ["ada.l@sub.example.com"], ["ada", "ada@example", "a..b@example.com"]),
            (
                "uri",
                ["https://example.com/a?b=c#d", "http://127.0.0.1:8000/"],
                ["example.com", "http://", "http://1.x.9"],
            ),
            ("uuid", ["12345678-1234-1234-1234-123456789abc"], ["12345678"]),
            ("base64", ["", "YQ==", "YWI=", "YWJj"], ["Y", "YQ="]),
        ],
    )
    def test_formats_are_as_their_standards_say(self, format: str, right: list[str], wrong: list[str]):
        assert all(re.fullmatch(FORMATS[format], text) for text in right)
        assert not any(re.fullmatch(FORMATS[format], text) for text in wrong)

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

    def test_all_of_the_answer_may_be_the_models_own_as_long_as_its_end_fits(self, vocabulary: Vocabulary):
        schema = create_model("Many", **{f"field_{i}": (int, ...) for i in range(10)}).model_json_schema()
        wanted = json.dumps({f"field_{i}": 7 for i in range(10)})  # a token a letter
        constraint = Constraint(vocabulary, [Form(schema)], max_new_tokens=len(wanted) + 20)
        assert vocabulary.engine.decode_str(written(constraint, saying(vocabulary, wanted))) == wanted

    def test_a_text_that_is_cut_keeps_its_beginning(self, vocabulary: Vocabulary):
        schema = {"type": "object", "properties": {"url": {"type": "string", "format": "uri"}}, "required": ["url"]}
        constraint = Constraint(vocabulary, [Form(schema)], max_new_tokens=60)
        text = vocabulary.engine.decode_str(written(constraint, preferring(vocabulary, "1h")))
        found = json.loads(text)["url"]
        assert re.fullmatch("https?://[0-9.:]*1111.*", found) and "null" not in found
        assert pydantic.TypeAdapter(pydantic.HttpUrl).validate_python(found)

    def test_an_exponent_stays_finite(self, vocabulary: Vocabulary):
        schema = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
        constraint = Constraint(vocabulary, [Form(schema)], max_new_tokens=200)
        turns = iter("7e" + "9" * 100)

        def choose(_: int, allowed: torch.Tensor) -> int:
            [colon] = vocabulary.engine.tokenize_str("7")
            if not allowed[colon] and not allowed[vocabulary.engine.tokenize_str("9")[0]]:
                return int(allowed.nonzero()[0])
            return vocabulary.engine.tokenize_str(next(turns))[0]

        assert json.loads(vocabulary.engine.decode_str(written(constraint, choose)))["x"] == 7e99

    def test_a_number_ends_and_digits_in_a_text_do_not(self, vocabulary: Vocabulary):
        def said(kind: str) -> Any:
            schema = {"type": "object", "properties": {"x": {"type": kind}}, "required": ["x"]}
            constraint = Constraint(vocabulary, [Form(schema)], max_new_tokens=200)
            return json.loads(vocabulary.engine.decode_str(written(constraint, always(vocabulary, "7"))))["x"]

        assert said("integer") == int("7" * MOST_DIGITS)
        assert len(said("string")) > 5 * MOST_DIGITS

    def test_so_many_digits_fit_64_bits(self):
        assert 10**MOST_DIGITS < 2**63
