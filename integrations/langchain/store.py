"""`ComemStore`: a memory as a LangGraph store."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from urllib.parse import quote, unquote

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    get_text_at_path,
)

from comem_memory.errors import InvalidItemError, QueryError, StoreReadOnlyError, shortened
from comem_memory.memory import ContinuousMemory
from comem_memory.redaction import redacted_value
from comem_memory.retrieval import ALL
from comem_memory.store import Filter
from comem_memory.threads import run_in_thread
from comem_memory.types import (
    CHAT_PREFIX,
    MemoryHit,
    MemoryItem,
    is_storable,
    with_notes,
)

Namespace = tuple[str, ...]
Found = tuple[Namespace, MemoryHit]

VALUE, INDEXED, TTL, FIELD = (CHAT_PREFIX + name for name in ("value", "indexed", "ttl", "field."))
"""Notes on a stored item: the value, as JSON; whether it is found by a query; minutes that it is kept unread; and each
text, number and boolean in the value by its path, for filters."""

UNSAID = "..."
"""Text of a value that is not indexed: the model can encode it, and it says nothing."""

COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
"""Operators of LangGraph's filters."""


class ComemStore(BaseStore):
    """Keys and values in namespaces, as `compile(store=...)`, `create_agent(store=...)` and LangMem's tools take them.

    Each value is an item of the memory: its text becomes vectors, and a query finds it by similarity. The text is that
    of the fields to index; by default the whole value as JSON, or of a value that is one text alone, such as LangMem's
    `{"content": "..."}`, this text. A value that is not indexed is found by key and filter only.

    A namespace of LangGraph's is one of the memory's, below this memory's own; `view` gives it, for instance to a
    `ChatComem`, which then reads the same items as vectors. Filters compare texts, numbers and booleans, also in dicts;
    what is searched without a query comes in the order of namespaces and keys. Each search first looks among the
    ids of the whole collection for the namespaces below.

    Args:
        memory: The memory that is read and written to.
        fields: Paths of what to index of a value, as in LangGraph's `IndexConfig`, unless `put` says otherwise.
        ttl: How long values are kept, as in LangGraph's `TTLConfig`; what has expired is never given out.

    Examples:
        >>> store = ComemStore(memory)                                                         # doctest: +SKIP
        >>> store.put(("memories", "ada"), "tea", {"content": "Ada drinks green tea."})        # doctest: +SKIP
        >>> store.search(("memories",), query="What does Ada drink?")[0].value                 # doctest: +SKIP
    """

    supports_ttl = True

    def __init__(
        self, memory: ContinuousMemory, *, fields: Sequence[str] | None = None, ttl: TTLConfig | None = None
    ) -> None:
        self.memory, self.fields = memory, None if fields is None else list(fields)
        self.ttl_config = ttl

    def view(self, namespace: Namespace) -> ContinuousMemory:
        """The memory of a namespace, without those below it."""
        return self.memory.namespace("/".join(map(_escaped, (self.memory.name, *namespace))))

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """What is read is read before anything is written.

        Raises:
            InvalidItemError: A value or key cannot be stored; nothing has been written then.
            QueryError: A filter cannot be understood.
            ComemError: As in `ContinuousMemory.add` and `search`.
        """
        results: list[Result] = []
        puts: dict[tuple[Namespace, str], PutOp] = {}
        for op in ops:
            if isinstance(op, PutOp):
                puts[op.namespace, op.key] = op
                results.append(None)
            elif isinstance(op, GetOp):
                results.append(self._get(op))
            elif isinstance(op, SearchOp):
                results.append(self._search(op))
            elif isinstance(op, ListNamespacesOp):
                results.append(self._list(op))
            else:
                raise ValueError(f"{op!r} is none of GetOp, SearchOp, PutOp and ListNamespacesOp.")
        self._put(puts.values())
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """`batch` in a thread, which goes on when the caller gives up."""
        listed = list(ops)
        return await run_in_thread(lambda _: self.batch(listed))

    # -- reading ------------------------------------------------------------------------------------------------

    def _get(self, op: GetOp) -> Item | None:
        hits = self.view(op.namespace).get(op.key, skip_missing=True)
        return Item(**self._fields(op.namespace, hits, op.refresh_ttl)[0]) if hits else None

    def _search(self, op: SearchOp) -> list[SearchItem]:
        conditions, namespaces = _conditions(op.filter or {}), self._namespaces(op.namespace_prefix)
        if op.query and op.query.strip():
            found = self._nearest(op, conditions, namespaces)
        else:
            found = self._in_order(op, conditions, namespaces)
        fields: dict[tuple[Namespace, str], dict[str, Any]] = {}
        for namespace, group in itertools.groupby(sorted(found, key=itemgetter(0)), itemgetter(0)):
            hits = [hit for _, hit in group]
            for hit, known in zip(hits, self._fields(namespace, hits, op.refresh_ttl), strict=True):
                fields[namespace, hit.id] = known
        return [SearchItem(**fields[namespace, hit.id], score=hit.similarity) for namespace, hit in found]

    def _nearest(self, op: SearchOp, conditions: list[Filter], namespaces: list[Namespace]) -> list[Found]:
        where: Filter = {"$and": [{INDEXED: {"$ne": False}}, *conditions]}
        last = op.offset + op.limit
        found = [
            (namespace, hit)
            for namespace in namespaces
            for hit in self.view(namespace).search(op.query, k=last, where=where, min_similarity=ALL)
        ]
        if len(namespaces) > 1:  # one is in the memory's own order
            found.sort(key=lambda one: ("terms" not in one[1].found_by, -(one[1].similarity or 0.0)))
        return found[op.offset : last]

    def _in_order(self, op: SearchOp, conditions: list[Filter], namespaces: list[Namespace]) -> list[Found]:
        where: Filter | None = {"$and": conditions} if conditions else None
        last = op.offset + op.limit
        found: list[Found] = []
        seen = 0
        for namespace in namespaces:
            view = self.view(namespace)
            ids = view.ids(where=where)
            wanted = ids[max(op.offset - seen, 0) : max(last - seen, 0)]
            found += [(namespace, hit) for hit in view.get(wanted, skip_missing=True)]
            seen += len(ids)
            if seen >= last:
                break
        return found

    def _fields(self, namespace: Namespace, hits: Sequence[MemoryHit], refresh: bool) -> list[dict[str, Any]]:
        """What the items of a namespace are made of."""
        if refresh:
            kept_for: defaultdict[float, list[str]] = defaultdict(list)
            for hit in hits:
                if TTL in hit.notes:
                    kept_for[hit.notes[TTL]].append(hit.id)
            with suppress(StoreReadOnlyError):
                for minutes, ids in kept_for.items():
                    self.view(namespace).postpone(ids, timedelta(minutes=minutes))
        return [
            {
                "namespace": namespace,
                "key": hit.id,
                "value": _value(hit),
                "created_at": datetime.fromisoformat(hit.created_at),
                "updated_at": datetime.fromisoformat(hit.updated_at),
            }
            for hit in hits
        ]

    def _list(self, op: ListNamespacesOp) -> list[Namespace]:
        matching = (
            namespace
            for namespace in self._namespaces(())
            if all(_matches(namespace, condition) for condition in op.match_conditions or ())
        )
        return sorted({namespace[: op.max_depth] for namespace in matching})[op.offset : op.offset + op.limit]

    def _namespaces(self, prefix: Namespace) -> list[Namespace]:
        """Those that hold values and begin so, sorted."""
        root = self.view(())
        below = (name.removeprefix(f"{root.name}/") for name in root.namespaces_below())
        split = (tuple(map(unquote, name.split("/"))) for name in below)
        return sorted(namespace for namespace in split if namespace[: len(prefix)] == tuple(prefix))

    # -- writing ------------------------------------------------------------------------------------------------

    def _put(self, puts: Iterable[PutOp]) -> None:
        items: defaultdict[Namespace, list[MemoryItem]] = defaultdict(list)
        gone: defaultdict[Namespace, list[str]] = defaultdict(list)
        for op in puts:
            if op.value is None:
                gone[op.namespace].append(op.key)
            else:
                items[op.namespace].append(self._item(op, op.value))
        views = {namespace: self.view(namespace) for namespace in (*items, *gone)}
        for namespace, new in items.items():
            views[namespace].add(new, truncate=True, progress=False)
        for namespace, keys in gone.items():
            views[namespace].delete(ids=keys)

    def _item(self, op: PutOp, value: Mapping[str, Any]) -> MemoryItem:
        try:
            written = json.dumps(dict(value))
        except (TypeError, ValueError) as error:
            raise InvalidItemError(
                f"The value of key {shortened(op.key)!r} is not JSON: {error}. Put texts, numbers, booleans, None, and "
                "lists and dicts of these."
            ) from error
        plain = redacted_value(json.loads(written), self.memory.redact)  # in a text of JSON secrets may be escaped
        text = self._text(op, plain)
        expires = None if op.ttl is None else timedelta(minutes=op.ttl)
        notes: dict[str, Any] = {VALUE: json.dumps(plain), INDEXED: text is not None} | dict(_leaves(plain, FIELD))
        lasting = {} if op.ttl is None else {TTL: op.ttl}
        return with_notes(MemoryItem(id=op.key, text=text or UNSAID, expires=expires), notes | lasting)

    def _text(self, op: PutOp, value: dict[str, Any]) -> str | None:
        """What becomes vectors, unless the value is not to be found by a query."""
        fields = self.fields if op.index is None else op.index
        if fields is False:
            return None
        if fields is not None:
            texts = [text for field in fields for text in get_text_at_path(value, field)]
        elif len(value) == 1 and isinstance(alone := next(iter(value.values())), str):
            texts = [alone]
        else:
            texts = get_text_at_path(value, "$")
        return "\n".join(texts) if "".join(texts).strip() else None


def _escaped(part: str) -> str:
    """A part of a namespace in the name of one of the memory's: without `/`, and without control characters."""
    return re.sub(r"[%/\x00-\x1f\x7f-\x9f]", lambda found: quote(found[0], safe=""), part)


def _matches(namespace: Namespace, condition: MatchCondition) -> bool:
    path = condition.path
    if len(path) > len(namespace):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", name) for wanted, name in zip(path, part, strict=True))


def _value(hit: MemoryHit) -> dict[str, Any]:
    """The value as it was put; of an item that came into the namespace otherwise, its text and metadata."""
    return json.loads(hit.notes[VALUE]) if VALUE in hit.notes else hit.metadata | {"content": hit.text}


# -- filters ----------------------------------------------------------------------------------------------------


def _leaves(value: Mapping[str, Any], within: str) -> Iterator[tuple[str, str | int | float | bool]]:
    """What filters compare with, under its path."""
    for key, one in value.items():
        path = within + _name(key)
        if isinstance(one, dict):
            yield from _leaves(one, path + ".")
        elif isinstance(one, str | int | float) and is_storable(one):
            yield path, one


def _name(key: str) -> str:
    """A key in a path, without dots."""
    return key.replace("%", "%25").replace(".", "%2E")


def _conditions(given: Mapping[str, Any], within: str = FIELD) -> list[Filter]:
    """
    Raises:
        QueryError: An unknown operator, or something to compare with that is no text, number or boolean.
    """
    conditions: list[Filter] = []
    for key, value in given.items():
        path = within + _name(key)
        if isinstance(value, Mapping) and value and not any(name.startswith("$") for name in value):
            conditions += _conditions(value, path + ".")
            continue
        compared = value if isinstance(value, Mapping) else {"$eq": value}
        for operator, operand in compared.items() or {"": None}.items():
            if operator not in COMPARISONS or not isinstance(operand, str | int | float):
                raise QueryError(
                    f"The filter cannot be understood at {shortened(repr({key: value}))}. Compare with a text, number "
                    f"or boolean by {', '.join(COMPARISONS)}; for a value in a dict write the dict."
                )
            conditions.append({path: {operator: operand}})
    return conditions
