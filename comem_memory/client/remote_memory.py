"""`RemoteMemory`: the memory of a server, with the methods of one that is opened here."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any, NoReturn, Self, Unpack, cast

import numpy as np
import torch

from comem_memory.answers import Answer, Description, MemoryInfo, Replied
from comem_memory.chat import ChatSettings, Reply, ToolCall, check_mode
from comem_memory.client import outgoing
from comem_memory.client.connection import Connection
from comem_memory.client.outgoing import request
from comem_memory.client.served_hits import Answered
from comem_memory.config import Mode, Order
from comem_memory.conversion import Addable, is_one, to_item
from comem_memory.encoder import EncodedItems, item_hash
from comem_memory.errors import DuplicateIdError, NotServedError
from comem_memory.items import check_k, check_page, check_searched, listed
from comem_memory.memory import ContinuousMemory, RecallOptions
from comem_memory.model import Message
from comem_memory.passages import PassageRule, in_passages
from comem_memory.progress import progress_bar
from comem_memory.retrieval import SearchOptions, check_options
from comem_memory.server import wire
from comem_memory.store import Filter, Precision, check_namespace
from comem_memory.types import MemoryHit, MemoryItem, Metadata, Page

PAGE = 256
"""Items that are read at once where all are."""
MOST_BYTES = 8 * 2**20
"""Of the items in one request, if the server takes as many; a larger one goes alone."""
BESIDES = 1024
"""Bytes of a request beside its items."""


class RemoteMemory(ContinuousMemory):
    """A memory that a server owns: each method does there what `ContinuousMemory` says, and raises the same errors.

    Model, vectors and pictures stay on the server; this process loads no weights. Pictures are sent as files. Those of
    hits are fetched into a temporary folder, and their vectors too, when they are first looked at.

    What only whoever opened the memory can do raises `NotServedError`: `reencode`, `rekey`, `recall`, `lay_out`,
    `prepare`, `prompt`, and its `encoder`, `key`, `store` and `backbone`. Of transformers' `generate`, a server takes
    `wire.GenerationOptions`. Where an answer is `stopped`, what comes back has what was said until then, and no hits.

    Args:
        connection: To the server.
        namespace: Whose items; by default those that the server means.

    Raises:
        StoreConnectionError: The server does not answer.
        TokenError: It wants a token, or does not know this one.
        AccessError: The token does not open the namespace.
    """

    def __init__(self, connection: Connection, namespace: str | None = None) -> None:
        self._connection = connection
        self._namespace = None if namespace is None else check_namespace(namespace)
        self._is_view = False
        self._namespace = self._about.namespace

    @cached_property
    def _about(self) -> wire.MemoryInfo:
        return self._connection.get("/v1/memory", wire.MemoryInfo, self._params)

    @property
    def _params(self) -> dict[str, str]:
        return {} if self._namespace is None else {"namespace": self._namespace}

    def __getattr__(self, name: str) -> NoReturn:
        if name in ("encoder", "key", "store", "backbone", "text_prompts", "reranker"):
            _refuse(f"the memory's {name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _not_pickled(self) -> str:
        return (
            f"A connection cannot be pickled. Send the URL ({self._connection.url}) and the namespace ({self.name!r}), "
            "and connect there: ContinuousMemory.connect(url, token, namespace=...)."
        )

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._about.namespace if self._namespace is None else self._namespace

    @property
    def precision(self) -> Precision:
        return cast(Precision, self._about.precision)

    @property
    def keeps_pictures(self) -> bool:
        return self._about.keeps_pictures

    @property
    def order(self) -> Order:
        return self._about.order

    @property
    def margin(self) -> float | None:  # type: ignore[override]
        return self._about.margin

    @property
    def mode(self) -> Mode:  # type: ignore[override]
        return self._about.mode

    @property
    def min_similarity(self) -> float | None:  # type: ignore[override]
        return self._about.min_similarity

    @property
    def source(self) -> object:
        return self._connection

    @property
    def info(self) -> MemoryInfo:
        about = self._about
        return MemoryInfo(
            model=about.model_name,
            context_window=about.context_window,
            reads_pictures=about.reads_pictures,
            text_embedder=about.key.text_embedder,
            image_embedder=about.key.image_embedder,
        )

    def namespace(self, name: str, *, precision: Precision | None = None) -> Self:
        if precision not in (None, self.precision):
            _refuse("the precision of what is stored")
        view = copy.copy(self)
        view._namespace, view._is_view = check_namespace(name), True
        return view

    # -- writing ------------------------------------------------------------------------------------------------

    def encode(
        self, items: Addable | Iterable[Addable], *, truncate: bool = False, batch_size: int = 16
    ) -> EncodedItems:
        parts: list[wire.Encoded] = []
        for chunk in self._chunks(_each_once(items)):
            ask = request(wire.EncodeRequest, items=chunk, truncate=truncate)
            parts.append(self._post("encode", ask, wire.Encoded))
        if not parts:
            shape = (0, self._about.num_query_tokens, self._about.hidden_size)
            return EncodedItems([], torch.empty(shape), np.empty((0, self._about.key.dimension), np.float32), [], [])
        return EncodedItems(
            ids=[id for part in parts for id in part.ids],
            vectors=torch.from_numpy(np.concatenate([part.vectors.array() for part in parts])),
            keys=np.concatenate([part.keys.array() for part in parts]),
            content_hashes=[content for part in parts for content in part.content_hashes],
            truncated=[cut for part in parts for cut in part.truncated],
        )

    def add(
        self,
        items: Addable | Iterable[Addable],
        *,
        truncate: bool = False,
        passages: PassageRule | None = None,
        batch_size: int = 16,
        progress: bool | None = None,
    ) -> list[str]:
        ids: list[str] = []
        total = len(items) if isinstance(items, Sequence) and not is_one(items) else None
        with progress_bar("storing", progress, total=total) as bar:
            for chunk in self._chunks(in_passages(one, passages) for one in _each_once(items)):
                ask = request(wire.AddRequest, items=chunk, truncate=truncate)
                ids += self._post("items", ask, wire.Ids).ids
                bar.update(len(chunk))
        return ids

    def _chunks(self, items: Iterable[MemoryItem]) -> Iterator[list[wire.Item]]:
        """Items in as many at once as the server takes."""
        limits = self._about.limits
        most = min(MOST_BYTES, limits.max_body_bytes - BESIDES)
        chunk: list[wire.Item] = []
        size = 0
        for sent in map(outgoing.item, items):
            length = outgoing.length_of(sent)
            if chunk and (len(chunk) >= limits.max_items or size + length > most):
                yield chunk
                chunk, size = [], 0
            chunk.append(sent)
            size += length
        if chunk:
            yield chunk

    def update(
        self,
        id: str,
        *,
        text: str | None = None,
        image: Any = None,
        content: Any = None,
        metadata: Metadata | None = None,
        thin: bool | None = None,
        truncate: bool = False,
        passages: PassageRule | None = None,
    ) -> None:
        ask = request(
            wire.UpdateRequest,
            id=id,
            text=text,
            image=outgoing.picture(image),
            content=outgoing.content(content),
            metadata=metadata,
            thin=thin,
            truncate=truncate,
            passages=passages,
        )
        self._post("items", ask, wire.Wire, method="PATCH")

    def _delete(self, ids: list[str] | None, where: Filter | None) -> int:
        ask = request(wire.DeleteRequest, ids=ids, where=where)
        return self._post("items/delete", ask, wire.Deleted, again=False).deleted

    def postpone(self, ids: Sequence[str], duration: timedelta) -> None:
        self._post("items/postpone", request(wire.PostponeRequest, ids=list(ids), duration=duration), wire.Wire)

    def clear(self) -> int:
        return self._post("items/clear", None, wire.Deleted, again=False).deleted

    # -- reading ------------------------------------------------------------------------------------------------

    def get(
        self, ids: str | Sequence[str], *, skip_missing: bool = False, question: str | None = None
    ) -> list[MemoryHit]:
        wanted = listed(ids)
        if not wanted:
            return []
        ask = request(wire.GetRequest, ids=wanted, skip_missing=skip_missing, question=question)
        return self._hits("items/get", ask)

    def ids(self, *, where: Filter | None = None, history: bool = False) -> list[str]:
        return self._post("items/ids", request(wire.IdsRequest, where=where, history=history), wire.Ids).ids

    def same_content(self, items: Sequence[MemoryItem]) -> list[list[str]]:
        known: list[list[str]] = []
        for chunk in self._chunks(items):
            known += self._post("items/same", request(wire.SameRequest, items=chunk), wire.Same).ids
        return known

    def history(self, id: str) -> list[MemoryHit]:
        [one] = listed([id])
        return self._hits("items/history", request(wire.HistoryRequest, id=one))

    def search(
        self,
        text: str | None = None,
        image: Any = None,
        *,
        k: int = 3,
        where: Filter | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[MemoryHit]:
        check_searched(text, image, k)
        check_options(**options)
        ask = request(wire.SearchRequest, text=text, image=outgoing.picture(image), k=k, where=where, **options)
        return self._hits("search", ask)

    def scan(self, *, where: Filter | None = None) -> Iterator[MemoryHit]:
        after: str | None = None
        while True:
            ask = request(wire.ListRequest, where=where, after=after, limit=PAGE)
            page = self._post("items/list", ask, wire.Page)
            yield from Answered(self._connection, self.name, page.hits).hits
            if page.next is None:
                return
            after = page.next

    def newest(self, *, limit: int = 20, offset: int = 0, where: Filter | None = None) -> Page[MemoryHit]:
        check_page(limit, offset)
        found: dict[str, MemoryHit] = {}  # what others add meanwhile moves items on, and they come again
        total = 0
        while len(found) < limit:
            asked = min(limit - len(found), PAGE)
            ask = request(wire.NewestRequest, limit=asked, offset=offset, where=where)
            page = self._post("items/newest", ask, wire.Newest)
            total = page.total
            if not page.hits:  # a short one may have lost what was deleted while it was read
                break
            hits = Answered(self._connection, self.name, page.hits).hits
            found |= {hit.id: hit for hit in hits if hit.id not in found}
            offset += asked
        return Page(found.values(), total)

    def embed(self, texts: Sequence[str], *, questions: bool = False) -> np.ndarray:
        most = self._about.limits.max_items
        parts = [list(texts[start : start + most]) for start in range(0, max(1, len(texts)), most)]
        asked = [request(wire.EmbedRequest, texts=part, questions=questions) for part in parts]
        return np.concatenate([self._post("embed", ask, wire.Embedded).vectors.array() for ask in asked])

    def count(self, *, where: Filter | None = None) -> int:
        return self._post("items/count", request(wire.FilterRequest, where=where), wire.Count).count

    def _namespaces(self) -> list[str]:
        return self._connection.get("/v1/namespaces", wire.Namespaces).namespaces

    def next_moment(self) -> int:
        return self._connection.get("/v1/moment", wire.Moment, self._params).moment

    def token_ids(self, text: str) -> list[int]:
        return self._post("tokens", request(wire.TextRequest, text=text), wire.TokenIds).ids

    def _hits(self, route: str, ask: wire.Wire) -> list[MemoryHit]:
        return Answered(self._connection, self.name, self._post(route, ask, wire.Hits).hits).hits

    def _post(self, route: str, ask: wire.Wire | None, answer: type[Any], **how: Any) -> Any:
        return self._connection.post(f"/v1/{route}", ask, answer, self._params, **how)

    # -- answering ----------------------------------------------------------------------------------------------

    def reply(
        self,
        messages: Sequence[Message],
        settings: ChatSettings | None = None,
        *,
        stopped: threading.Event | None = None,
        **recalling: Unpack[RecallOptions],
    ) -> Replied:
        said = ""
        for piece in self.stream_reply(messages, settings, stopped=stopped, **recalling):
            if isinstance(piece, Replied):
                return piece
            said += piece
        return Replied(Reply(said, [], 0, 0, 0, "stop"), [])

    def stream_reply(
        self,
        messages: Sequence[Message],
        settings: ChatSettings | None = None,
        *,
        stopped: threading.Event | None = None,
        **recalling: Unpack[RecallOptions],
    ) -> Iterator[str | Replied]:
        options: SearchOptions = {
            name: value for name, value in recalling.items() if name in SearchOptions.__annotations__
        }  # type: ignore[assignment]
        check_options(**options)
        for mode in (recalling.get("mode"), recalling.get("default_mode")):
            check_mode(mode or "none")
        sent = None if settings is None else outgoing.settings(settings)
        ask = request(
            wire.ReplyRequest, messages=[outgoing.message(one) for one in messages], settings=sent, **recalling
        )
        return self._streamed("reply", ask, wire.Replied, self._replied, stopped)

    def answer(
        self, question: str, image: Any = None, *, stopped: threading.Event | None = None, **options: Any
    ) -> Answer:
        said = ""
        for piece in self.stream_answer(question, image, stopped=stopped, **options):
            if isinstance(piece, Answer):
                return piece
            said += piece
        return Answer(said, [], 0)

    def stream_answer(
        self, question: str, image: Any = None, *, stopped: threading.Event | None = None, **options: Any
    ) -> Iterator[str | Answer]:
        own = {name: options.pop(name) for name in ("k", "where", "mode", "max_new_tokens") if name in options}
        if check_mode(own.get("mode") or self.mode) != "none":
            check_k(own.get("k", 3))
        sent = outgoing.generation(options) if options else None
        ask = request(wire.AnswerRequest, question=question, image=outgoing.picture(image), generation=sent, **own)
        return self._streamed("answer", ask, wire.Answer, self._answered, stopped)

    def describe(
        self,
        id: str,
        *,
        max_new_tokens: int = 128,
        stopped: threading.Event | None = None,
        **generation_kwargs: Any,
    ) -> Description:
        if generation_kwargs:
            _refuse(f"{next(iter(generation_kwargs))} in a description")
        [one] = listed([id])
        described = self._post(
            "describe", request(wire.DescribeRequest, id=one, max_new_tokens=max_new_tokens), wire.Description
        )
        return Description(described.text, described.restated)

    def _streamed(
        self,
        route: str,
        ask: wire.Wire,
        last: type[Any],
        convert: Callable[[Any], Any],
        stopped: threading.Event | None,
    ) -> Iterator[Any]:
        """Pieces of text, and then what `convert` makes of the last event; what goes wrong before is raised here."""

        def pieces() -> Iterator[Any]:
            with self._connection.events(f"/v1/{route}", ask, self._params, stopped=stopped) as events:
                yield None  # the server has begun
                for event in events:
                    if event.event == "text":
                        yield wire.TextEvent.model_validate_json(event.data).text
                    else:
                        yield convert(last.model_validate_json(event.data))

        begun = pieces()
        next(begun)
        return begun

    def _replied(self, sent: wire.Replied) -> Replied:
        reply = sent.reply
        calls = [ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in reply.tool_calls]
        return Replied(
            Reply(
                reply.text,
                calls,
                reply.prompt_tokens,
                reply.memory_tokens,
                reply.completion_tokens,
                reply.finish_reason,
            ),
            Answered(self._connection, self.name, sent.hits).hits,
        )

    def _answered(self, sent: wire.Answer) -> Answer:
        hits = Answered(self._connection, self.name, sent.hits).hits
        return Answer(sent.text, hits, sent.prompt_tokens, sent.completion_tokens)

    # -- what only the owner can do -----------------------------------------------------------------------------

    def reencode(self, **_: Any) -> NoReturn:
        _refuse("reencode")

    def rekey(self, **_: Any) -> NoReturn:
        _refuse("rekey")

    def recall(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("recall; reply and answer recall there")

    def lay_out(self, *_: Any) -> NoReturn:
        _refuse("lay_out")

    def prepare(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("prepare")

    def prompt(self, *_: Any) -> NoReturn:
        _refuse("prompt")

    def export(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("export")

    def load(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("load")

    def close(self) -> None:
        """Ends the connection, and removes pictures that were fetched; the server goes on."""
        if not self._is_view:
            self._connection.close()


def connect(url: str, token: str | None, *, namespace: str | None, timeout: float) -> RemoteMemory:
    """As `ContinuousMemory.connect`."""
    connection = Connection(url, token, timeout)
    try:
        return RemoteMemory(connection, namespace)
    except BaseException:
        connection.close()
        raise


def _each_once(items: Addable | Iterable[Addable]) -> Iterator[MemoryItem]:
    """What is given as items.

    Raises:
        DuplicateIdError: Two have the same id but different content.
    """
    given: Iterable[Any] = [items] if is_one(items) else items  # type: ignore[assignment]
    seen: dict[str, str] = {}
    for item in map(to_item, given):
        if item.id is not None and seen.setdefault(item.id, content := item_hash(item)) != content:
            raise DuplicateIdError(f"Two items of this call have the id {item.id!r}. Give each its own id.")
        yield item


def _refuse(what: str) -> NoReturn:
    raise NotServedError(
        f"A server does not give {what}. Open the memory where it lies, with ContinuousMemory.from_pretrained."
    )
