"""What travels between a server and its clients: every request and answer, as JSON.

Pictures are base64 of an encoded file, vectors base64 of little-endian float32 with their shape, times ISO 8601. What a
request leaves out has the default of the method of `ContinuousMemory` that it is for.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from comem_memory.config import EncoderFingerprint, Mode, Order
from comem_memory.content import Audio
from comem_memory.types import CHAT_PREFIX, MemoryHit, MemoryItem, Metadata, notes_of, own_metadata, with_notes

if TYPE_CHECKING:
    import torch


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("no base64 (RFC 4648, section 4, without line breaks)") from error


DateTime = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A moment with a timezone, in ISO 8601."""
Duration = Annotated[str, WithJsonSchema({"type": "string", "format": "duration"})]


def _written(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        raise ValueError("no duration, as P30D")
    return value


TimeSpan = Annotated[timedelta, BeforeValidator(_written), Field(strict=False)]
"""A duration, in JSON ISO 8601."""
BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
"""As a regular expression."""
Bytes = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda content: base64.b64encode(content).decode(), when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "pattern": f"^{BASE64}$"}),
]
"""Bytes, in JSON base64."""
Where = Annotated[
    dict[str, Any],
    Field(
        description="A condition on metadata and times, in Chroma's operators; a value in a dict is named by its path.",
        examples=[{"year": {"$gte": 2020}}, {"comem.said_at": {"$lt": "2026-05-03T18:30:00+02:00"}}],
    ),
]
Note = Annotated[str, StringConstraints(pattern=rf"^{re.escape(CHAT_PREFIX)}")]
"""The name of what an adapter notes about an item."""
K = Annotated[int, Field(ge=1, le=1000, description="The largest number of items.")]


class Wire(BaseModel):
    """An answer or a part of one, to which a later version may add fields."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)


class Asked(Wire):
    """A request or a part of one, in which an unknown field is an error rather than a silent typo, and 0 no false."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        """To JSON 3.0 is a whole number."""
        if not isinstance(given, dict):
            return given
        return {name: int(one) if isinstance(one, float) and one.is_integer() else one for name, one in given.items()}


class Vectors(Wire):
    """Numbers as little-endian float32, row by row."""

    shape: list[Annotated[int, Field(ge=0)]]
    """The length of each axis."""
    data: Bytes
    """4 bytes for each number."""

    @classmethod
    def of(cls, array: torch.Tensor | np.ndarray) -> Self:
        numbers = np.ascontiguousarray(np.asarray(array), "<f4")
        return cls(shape=list(numbers.shape), data=numbers.tobytes())

    def array(self) -> np.ndarray:
        """The numbers, float32, which can be written to."""
        return np.frombuffer(self.data, "<f4").reshape(self.shape).astype(np.float32)


class Problem(Wire):
    """What went wrong (RFC 9457)."""

    type: str
    """The name of the error, one of `comem_memory.errors`."""
    title: str
    """What errors of this name are."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened, and what to do."""


# -- items ------------------------------------------------------------------------------------------------------


class TextPart(Asked):
    """A text in a message or an item."""

    type: Literal["text"]
    text: str


class ImagePart(Asked):
    """A picture in a message or an item."""

    type: Literal["image"]
    image: Bytes
    """Its file, in base64."""


class AudioPart(Asked):
    """A recording in an item."""

    type: Literal["audio"]
    audio: Bytes
    """Its file, in base64."""


Said = list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
"""What a message says: texts and pictures in their order."""
Content = list[Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]]
"""What an item is: texts, pictures and recordings in their order."""


def content_of(parts: Content) -> list[str | bytes | Audio]:
    """Parts as `MemoryItem` takes them."""
    return [
        Audio(part.audio) if isinstance(part, AudioPart) else part.text if isinstance(part, TextPart) else part.image
        for part in parts
    ]


class Item(Asked):
    """Something to remember: a text, a picture, or several of both. See `MemoryItem` for what each field means."""

    text: str | None = None
    """The item's text; with `content` by default its texts."""
    image: Bytes | None = None
    """A picture: its file (PNG, JPEG, ...), in base64; with `content` by default its first. No URL or path, of which
    the server opens none."""
    content: Content | None = None
    """Several texts, pictures and recordings in their order."""
    thin: bool = False
    """Leave out steps of `content` where it is too long for the encoder."""
    id: str | None = None
    """Unique within a namespace; by default a hash of its content, so that adding twice changes nothing."""
    metadata: Metadata = {}
    """Texts, numbers and booleans to filter on, in lists and dicts or not."""
    said_at: DateTime | None = None
    """When it was said or happened, ISO 8601 with a timezone."""
    expires: DateTime | Duration | None = None
    """When it is to be forgotten: a moment with a timezone, or a duration from now (`P30D`), ISO 8601."""
    supersedes: str | list[str] | None = None
    """Ids of stored items that it takes the place of."""
    passages: list[str] | None = None
    """What a long text says, a few words each: every one becomes vectors of its own, of which a question gets those
    that it is about."""
    notes: Annotated[
        dict[Note, str | bool | int | float], Field(json_schema_extra={"additionalProperties": False})
    ] = {}
    """What an adapter of an agent framework notes about it."""

    @classmethod
    def of(cls, item: MemoryItem, image: bytes | None, content: Content | None = None) -> Self:
        """An item as it is sent.

        Args:
            item: The item.
            image: The encoded file of its picture, if it has one that is not the first of the content.
            content: Its content, if it has some.
        """
        given = item.model_dump(mode="json", include=item.model_fields_set - {"image", "content"})
        metadata = given.pop("metadata", {})
        own = {"metadata": own_metadata(metadata)} if "metadata" in item.model_fields_set else {}
        notes = {"notes": notes} if (notes := notes_of(metadata)) else {}
        files = {name: value for name, value in (("image", image), ("content", content)) if value is not None}
        return cls.model_validate(given | own | notes | files)

    def item(self) -> MemoryItem:
        """
        Raises:
            InvalidItemError: Neither text nor picture, or a value that cannot be stored.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set - {"notes"}}
        if self.content is not None:
            given["content"] = content_of(self.content)
        item = MemoryItem(**given)
        return with_notes(item, self.notes) if self.notes else item


class HitText(Wire):
    """A text of a stored item."""

    type: Literal["text"] = "text"
    text: str


class HitImage(Wire):
    """A picture of a stored item."""

    type: Literal["image"] = "image"
    image: str
    """Where the server gives it: a path on it that takes the same token."""


class HitAudio(Wire):
    """A recording of a stored item."""

    type: Literal["audio"] = "audio"
    audio: str
    """Where the server gives it: a path on it that takes the same token."""


class Hit(Wire):
    """A stored item."""

    id: str
    """Unique within the namespace."""
    text: str | None = None
    """The text that was encoded; with `content`, the text that it is found by."""
    image: str | None = None
    """Where the server gives the item's picture: a path on it that takes the same token."""
    content: list[Annotated[HitText | HitImage | HitAudio, Field(discriminator="type")]] | None = None
    """Texts, pictures and recordings in their order, of an item that has several."""
    left_out: list[int] = []
    """Places in `content` of what is not in the vectors, from 0."""
    metadata: Metadata = {}
    """The item's own metadata."""
    notes: dict[Note, Any] = {}
    """What an adapter of an agent framework notes about it."""
    similarity: float | None = None
    """How close the item is to the query, -1 to 1, larger is closer; of a search alone."""
    similarity_of_texts: float | None = None
    """What the texts give to the similarity, of a question with both text and picture; the pictures give the rest."""
    found_by: list[str] = []
    """How a search came by it: `meaning`, `terms`, or both."""
    created_at: str = ""
    """When it was stored, ISO 8601, UTC; of two items the later has the greater text."""
    updated_at: str = ""
    """When it was changed last, ISO 8601, UTC."""
    said_at: str | None = None
    """When it was said, ISO 8601, in the timezone it was given in."""
    expires: str | None = None
    """When it is to be forgotten, ISO 8601, UTC."""
    truncated: bool = False
    """The end of the text, or of `content` what `left_out` names, is not in the vectors."""
    supersedes: list[str] = []
    """Ids of the items that it took the place of."""
    superseded_by: str | None = None
    """The id of the item that took its place."""
    passages: list[str] = []
    """The texts that were encoded, each by itself, of an item that has passages."""
    passage: int | None = None
    """The place in `passages` of the one that the question is about, from 0."""
    memory_embeddings: Vectors | None = None
    """The item's vectors (num_query_tokens, hidden_size), if they were asked for; of an item of n passages those of its
    `passage` or, without a question, of all, (n * num_query_tokens, hidden_size)."""

    @classmethod
    def of(cls, hit: MemoryHit, *, where: Callable[[str, int | None], str], vectors: bool) -> Self:
        """A hit as it is sent.

        Args:
            hit: The hit.
            where: Where the server gives one of its `pictures` or `audio`, by the place in its content; with `None`,
                its own picture.
            vectors: Whether its vectors are sent.
        """
        plain = {name: getattr(hit, name) for name in _PLAIN}
        content = [
            HitText(text=part)
            if isinstance(part, str)
            else HitAudio(audio=where("audio", place))
            if isinstance(part, Audio)
            else HitImage(image=where("pictures", place))
            for place, part in enumerate(hit.content or ())
        ]
        return cls(
            **plain,
            image=where("pictures", None) if hit.image else None,
            content=content or None,
            left_out=list(hit.left_out),
            found_by=list(hit.found_by),
            supersedes=list(hit.supersedes),
            passages=list(hit.passages),
            memory_embeddings=Vectors.of(hit.memory_embeddings) if vectors else None,
        )

    def content_locations(self, location: Callable[[str], str]) -> list[dict[str, str]] | None:
        """As `MemoryHit.content_locations`.

        Args:
            location: The URL of a path on the server.
        """
        if self.content is None:
            return None
        return [
            {"type": "text", "text": part.text}
            if isinstance(part, HitText)
            else {"type": "audio", "audio": location(part.audio)}
            if isinstance(part, HitAudio)
            else {"type": "image", "image": location(part.image)}
            for part in self.content
        ]


_PLAIN = (
    "id",
    "text",
    "metadata",
    "notes",
    "similarity",
    "similarity_of_texts",
    "created_at",
    "updated_at",
    "said_at",
    "expires",
    "truncated",
    "superseded_by",
    "passage",
)
"""Fields of a hit that are the same in memory and on the wire."""


class AddRequest(Asked):
    """Items to store, together: at most as many as the server's limits say."""

    items: list[Item] = Field(
        min_length=1,
        examples=[[{"text": "The blue door opens with the brass key.", "metadata": {"year": 2026}}]],
    )
    truncate: bool = False
    """Encode the beginning of texts that are too long."""


class Ids(Wire):
    """Ids of items."""

    ids: list[str]


class GetRequest(Asked):
    """Items by id."""

    ids: list[str]
    skip_missing: bool = False
    """Leave out ids that are not stored, instead of refusing."""
    question: str | None = None
    """Of items in passages, send the vectors of the passage that this is about; by default those of all."""
    vectors: bool = False
    """Send the items' vectors too."""


class Hits(Wire):
    """Stored items."""

    hits: list[Hit]


class UpdateRequest(Asked):
    """What is to change of a stored item; what is left out stays."""

    id: str
    text: str | None = None
    """The new text."""
    image: Bytes | None = None
    """The new picture: its file, in base64."""
    content: Content | None = None
    """The new content; then text and picture, unless they are given, are its own."""
    metadata: Metadata | None = None
    """The new metadata, instead of all the old."""
    thin: bool | None = None
    """Leave out steps of the new content where it is too long for the encoder; by default if some of the old are."""
    truncate: bool = False
    """Encode the beginning of a text that is too long."""
    passages: Literal["sentence"] | None = None
    """Give each sentence of its text vectors of its own."""


class DeleteRequest(Asked):
    """Which items to delete: by id, by a filter, or by both."""

    ids: list[str] | None = None
    where: Where | None = None


class Deleted(Wire):
    """How many items were deleted."""

    deleted: int


class FilterRequest(Asked):
    """Which items: all of the namespace, or those that match a filter."""

    where: Where | None = None


class IdsRequest(FilterRequest):
    """Which ids."""

    history: bool = False
    """Those of superseded items too."""


class ListRequest(FilterRequest):
    """A page of the items that match, ordered by id."""

    after: str | None = None
    """Items with greater ids than this one: `next` of the page before."""
    limit: int = Field(100, ge=1, le=1000)
    """How many items at most."""
    vectors: bool = False
    """Send the items' vectors too."""


class Page(Hits):
    """Items ordered by id."""

    next: str | None
    """What `after` is to be for the next page; null on the last one."""


class NewestRequest(FilterRequest):
    """A page of the items that match, newest first, to ask for."""

    limit: int = Field(20, ge=1, le=1000)
    """How many items at most."""
    offset: int = Field(0, ge=0)
    """How many newer ones to pass over."""
    vectors: bool = False
    """Send the items' vectors too."""


class Newest(Hits):
    """Items, newest first."""

    total: int
    """How many match."""


class Count(Wire):
    """How many items match."""

    count: int


class PostponeRequest(Asked):
    """Items that are to be kept longer, of those that expire."""

    ids: list[str]
    duration: Annotated[TimeSpan, Field(gt=timedelta(0), examples=["P30D"])]
    """From now until they expire."""


class SameRequest(Asked):
    """Items, of which those are looked for that are stored already."""

    items: list[Item] = Field(min_length=1)


class Same(Wire):
    """For each item, the ids of what is stored with the same texts and pictures."""

    ids: list[list[str]]


class Moment(Wire):
    """A time later than that of all that is stored."""

    moment: int
    """Microseconds since 1970, UTC."""


class OneRequest(Asked):
    """An item by its id."""

    id: str


class HistoryRequest(OneRequest):
    """An item whose history is asked for."""

    vectors: bool = False
    """Send the items' vectors too."""


# -- searching --------------------------------------------------------------------------------------------------


class SearchOptions(Asked):
    """How a search bounds and orders what it finds."""

    min_similarity: float | None = Field(None, ge=-1, le=1)
    """Items that are less similar are not found; by default as the memory says. -1 finds whatever is nearest."""
    recency: float = Field(0.0, ge=0, le=1)
    """How much it counts that an item is new."""
    half_life: TimeSpan = timedelta(days=30)
    """After this time an item counts as half as new: ISO 8601, as `P30D`."""
    diversity: float = Field(0.0, ge=0, le=1)
    """How much it counts that an item is unlike those before it."""
    candidates: int | None = Field(None, ge=1, le=10_000)
    """Of how many of the most similar items those are chosen, where recency or diversity decide; by default 4 k."""

    def options(self) -> dict[str, Any]:
        """The arguments of `ContinuousMemory.search`."""
        return {name: getattr(self, name) for name in SearchOptions.model_fields}


class SearchRequest(SearchOptions):
    """A text, a picture, or both, and how to search with them."""

    text: str | None = Field(None, examples=["What opens the blue door?"])
    """A question or description to look for."""
    image: Bytes | None = None
    """A picture to look for: its file, in base64."""
    k: K = 3
    where: Where | None = None
    vectors: bool = False
    """Send the items' vectors too."""


# -- answering --------------------------------------------------------------------------------------------------


class GenerationOptions(Asked):
    """How the model writes: of transformers' `generate`, what concerns this answer alone. Greedy, if left out."""

    do_sample: bool | None = None
    temperature: float | None = Field(None, ge=0.001, le=10)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**53)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)
    no_repeat_ngram_size: int | None = Field(None, ge=0, le=2**31)
    min_new_tokens: int | None = Field(None, ge=0, le=2**31)

    def options(self) -> dict[str, Any]:
        """Arguments of `generate`."""
        return self.model_dump(exclude_none=True)


class AnswerRequest(Asked):
    """A question, and how it is answered from memory."""

    question: str = Field(examples=["What opens the blue door?"])
    image: Bytes | None = None
    """A picture to ask about and to search with: its file, in base64."""
    k: K = 3
    where: Where | None = None
    mode: Mode | None = None
    """Whether the model is given the items' vectors, texts, both or none; by default as the server recommends."""
    max_new_tokens: int = Field(64, ge=1)
    """Longest answer, in tokens; a larger number means the server's own limit."""
    generation: GenerationOptions = GenerationOptions()
    vectors: bool = False
    """Send the items' vectors too."""


class Answer(Wire):
    """What the model said, and from what."""

    text: str
    hits: list[Hit]
    """The items it had, best first."""
    prompt_tokens: int
    """Tokens of the prompt, pictures and memory vectors included."""
    completion_tokens: int = 0
    """Tokens of the answer."""


class DescribeRequest(OneRequest):
    """An item whose vectors the model is to put into words."""

    max_new_tokens: int = Field(128, ge=1)


class Description(Wire):
    """An item's text, and what the frozen model says from its vectors alone."""

    text: str | None
    restated: str


class Function(Asked):
    """A function and the arguments it is called with."""

    name: str
    arguments: dict[str, Any]


class Call(Asked):
    """A call that the assistant made."""

    type: Literal["function"] = "function"
    id: str | None = None
    function: Function


class Named(Asked):
    """Stored items that a message names, for the model to be given."""

    ids: list[str]
    """The items, best first; none means that nothing was found."""
    text: str | None = None
    """What the message says where the items are not stored."""
    mode: Mode | None = None
    """How the items are given."""


class Message(Asked):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | Said = ""
    tool_calls: list[Call] | None = None
    """What the assistant called."""
    tool_call_id: str | None = None
    """Which call a tool's message answers."""
    name: str | None = None
    """The tool's name."""
    named: Named | None = None
    """The stored items that the message names."""


class ToolFunction(Asked):
    """A function that the model may call."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    """The JSON schema of its arguments."""


class Tool(Asked):
    """What the model may call, as OpenAI writes it."""

    type: Literal["function"] = "function"
    function: ToolFunction


class ChatSettings(Asked):
    """How a conversation is answered."""

    max_tokens: int = Field(256, ge=1)
    """Longest answer, in tokens; a larger number means the server's own limit."""
    temperature: float = Field(0.0, ge=0, le=10)
    """0 is greedy decoding."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Share of the probability that sampling draws from."""
    seed: int | None = Field(None, ge=0, lt=2**53)
    """Sampling with the same seed says the same."""
    stop: list[Annotated[str, Field(min_length=1)]] = []
    """The answer ends before the first of these texts."""
    tools: list[Tool] = []
    """What the model may call."""
    tool_choice: str = "auto"
    """`auto`, `none`, `any` (one call, to any tool) or a tool's name."""
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """The answer, unless it is a tool call, is JSON that fits this JSON schema."""
    generation: GenerationOptions = GenerationOptions()

    model_config = ConfigDict(populate_by_name=True)


class ReplyRequest(SearchOptions):
    """A conversation, and how its next turn is made from memory."""

    messages: list[Message] = Field(min_length=1, examples=[[{"role": "user", "content": "What opens the blue door?"}]])
    settings: ChatSettings = ChatSettings()
    k: int = Field(3, ge=0, le=1000)
    """Items to search for; 0 searches for nothing."""
    where: Where | None = None
    mode: Mode | None = None
    """How the items are given; by default as the messages that name them say."""
    default_mode: Mode | None = None
    """How they are given where neither `mode` nor a message says so."""
    ids: list[str] | None = None
    """Exactly these items, best first."""
    found: list[str] | None = None
    """Items that were searched for already, best first; then nothing is searched for."""
    vectors: bool = False
    """Send the items' vectors too."""


class ToolCall(Wire):
    """A function that the model wants called."""

    id: str
    name: str
    arguments: dict[str, Any]


class Reply(Wire):
    """What the model answered."""

    text: str
    """Without the tool calls."""
    tool_calls: list[ToolCall]
    prompt_tokens: int
    """Tokens of the prompt: text, pictures and memory vectors."""
    memory_tokens: int
    """Memory vectors in the prompt."""
    completion_tokens: int
    """Tokens of the answer."""
    finish_reason: str
    """`stop`, `length` (cut at `max_tokens`) or `tool_calls`."""


class Replied(Wire):
    """What the model answered, and from what."""

    reply: Reply
    hits: list[Hit]
    """The items it had, best first."""


class TextEvent(Wire):
    """`event: text` of a stream: the next piece of what the model writes."""

    text: str


# -- vectors ----------------------------------------------------------------------------------------------------


class EncodeRequest(Asked):
    """Items to encode, of which nothing is stored."""

    items: list[Item] = Field(min_length=1)
    truncate: bool = False
    """Encode the beginning of texts that are too long."""


class Encoded(Wire):
    """What N items become, in the order given."""

    ids: list[str]
    """The items' own ids, or the beginnings of `content_hashes`."""
    vectors: Vectors
    """(N, num_query_tokens, hidden_size): the items' vectors."""
    keys: Vectors
    """(N, dimension): the retrieval keys that they are found by."""
    content_hashes: list[str]
    """Of text and pixels."""
    truncated: list[bool]
    """Whether the end of the text is not in the vectors."""


class EmbedRequest(Asked):
    """Texts, of which vectors are made as the retrieval key compares them."""

    texts: list[str]
    questions: bool = False
    """As what is asked for rather than as what is stored, where the embedder tells them apart."""


class Embedded(Wire):
    """Vectors of texts."""

    vectors: Vectors
    """(n, dimension), rows of unit length."""


class TextRequest(Asked):
    """A text."""

    text: str


class TokenIds(Wire):
    """The tokens of a text, as the model that answers reads it."""

    ids: list[int]


# -- the memory -------------------------------------------------------------------------------------------------


class KeyInfo(Wire):
    """How items are found."""

    name: str
    """Embedders and weights: keys of another name are not comparable."""
    dimension: int
    """Numbers in a key."""
    text_embedder: str | None
    """What embeds texts; null where items are found by picture only."""
    image_embedder: str | None
    """What embeds pictures; null where items are found by text only."""
    min_similarity: float | None
    """Of a question in words with an item that answers it, as it was measured."""


class Limits(Wire):
    """What the server takes, so that clients can send as much at once."""

    max_body_bytes: int
    max_items: int
    """Items in one request."""
    max_picture_bytes: int
    """Of one picture's file."""
    max_picture_pixels: int
    max_new_tokens: int
    """Longest answer, in tokens."""


class MemoryInfo(Wire):
    """What a client reads of a memory when it connects."""

    library_version: str
    namespace: str
    """The namespace that the token opens where a request names none."""
    writable: bool
    """Whether the token may write."""
    model_name: str
    """The frozen model that answers."""
    context_window: int
    """Tokens that it reads at most."""
    hidden_size: int
    """Numbers in a vector."""
    num_query_tokens: int
    """Vectors of an item."""
    mode: Mode
    """How items are given to the model unless a request says otherwise."""
    precision: str
    """How vectors are stored."""
    min_similarity: float | None
    """What is less similar is not found, unless a search says otherwise."""
    reads_pictures: bool
    """Whether the model that answers is shown pictures."""
    keeps_pictures: bool
    """Whether items may have pictures."""
    order: Order = "best_last"
    """In which order a model reads recalled items."""
    encoder: EncoderFingerprint
    """What made the vectors."""
    key: KeyInfo
    limits: Limits


class Namespaces(Wire):
    """The namespaces that hold items, sorted."""

    namespaces: list[str]


class Stats(Wire):
    """What a memory holds, and with which encoder."""

    items: dict[str, int]
    """How many items, by namespace."""
    encoder: str
    retrieval_key: str
    precision: str
    parameters: str
    """Of encoder and base model."""


class Health(Wire):
    """How a server is."""

    status: str
