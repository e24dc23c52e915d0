"""`ContinuousMemory`: add items, find them again, and have the frozen model answer from their vectors."""

from __future__ import annotations

import asyncio
import copy
import itertools
import tempfile
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from comem_memory.chat.chat import Chat, ChatSettings
from comem_memory.chat.layout import Recalled, check_mode, lay_out
from comem_memory.chat.turns import NamedItems, content_of, question_turn, spoken
from comem_memory.config import Mode
from comem_memory.encoder.memory_encoder import MemoryEncoder
from comem_memory.encoder.prepared import CHUNK, PreparedItem, in_chunks, prepare
from comem_memory.errors import (
    DuplicateIdError,
    EncoderMismatchError,
    ItemNotFoundError,
    QueryError,
)
from comem_memory.files.images import load_image
from comem_memory.model.backbone import Backbone
from comem_memory.model.prompts import RESTATE_INSTRUCTION, Message, ModelInputs
from comem_memory.model.text_prompts import DEFAULT_TEXT_PROMPTS, check_text_prompt
from comem_memory.opening import check_hidden_size, default_key, identity_of, load_encoder, open_store
from comem_memory.retrieval.keys import PROBE, RetrievalKey
from comem_memory.store.chroma import ChromaStore
from comem_memory.store.codec import Precision, decode_block, encode_block
from comem_memory.store.contract import CollectionIdentity, MemoryRecord
from comem_memory.store.filters import Filter, check_namespace
from comem_memory.store.pictures import PictureFolder
from comem_memory.store.portable import read_folder, write_folder
from comem_memory.threads import iterate_in_thread, run_in_thread
from comem_memory.types import MemoryHit, MemoryItem, Metadata

if TYPE_CHECKING:
    from comem_memory.integrations.langchain import ComemRetriever as LangChainRetriever
    from comem_memory.integrations.llama_index import ComemRetriever as LlamaIndexRetriever


@dataclass(frozen=True)
class Answer:
    """What the model said, and from what.

    Args:
        text: the answer.
        hits: the items it had, best first.
        prompt_tokens: tokens of the prompt, pictures and memory vectors included.
    """

    text: str
    hits: list[MemoryHit]
    prompt_tokens: int

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Description:
    """An item's text, and what the frozen model says from its vectors alone."""

    text: str | None
    restated: str


class ContinuousMemory:
    """Memory of images and texts as continuous vectors (arXiv 2505.17670), kept in Chroma.

    Each item becomes `num_query_tokens` embedding vectors once, when it is added. A search finds items by similarity
    of text and picture; `answer` puts their vectors before the prompt of the same, frozen model.

    Args:
        encoder: makes the vectors.
        key: makes the retrieval keys.
        store: keeps both.
        backbone: the frozen model that answers, by default the encoder's own base model; another one needs the same
            hidden size, and may be text-only (arXiv 2505.17670 has a text model read a vision-language model's memory).
        namespace: the tenant, user or agent whose items this object sees.
        precision: how vectors are stored; int8 takes a quarter of fp32 (`codec` has the table).
        picture_directory: where pictures that have no path of their own are kept.
        mode: How recalled items are given to the model unless a call says otherwise: `memory`, `text`, `both` or
            `none`; by default as the encoder recommends.
        text_prompt: Layout of texts and question in the modes `text` and `both`, with `{context}` and `{question}`;
            by default the standard one that answered best (`model.text_prompts`).

    Example:
        >>> memory = ContinuousMemory.from_pretrained()                                        # doctest: +SKIP
        >>> memory.add(MemoryItem(text="The blue door opens with the brass key."))             # doctest: +SKIP
        >>> print(memory.answer("What opens the blue door?"))                                  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: MemoryEncoder,
        key: RetrievalKey,
        store: ChromaStore,
        *,
        backbone: Backbone | None = None,
        namespace: str = "default",
        precision: Precision = "int8",
        picture_directory: Path | None = None,
        mode: Mode | None = None,
        text_prompt: str | None = None,
    ) -> None:
        self.encoder, self.key, self.store = encoder, key, store
        self.backbone = backbone or encoder.backbone
        check_hidden_size(encoder, self.backbone)
        self.precision: Precision = precision
        self.mode: Mode = check_mode(mode or encoder.encoder_config.recommended_mode)
        own = None if text_prompt is None else check_text_prompt(text_prompt)
        self.text_prompts: Mapping[Mode, str] = {mode: own or text for mode, text in DEFAULT_TEXT_PROMPTS.items()}
        self._namespace = check_namespace(namespace)
        self._pictures = PictureFolder(picture_directory)
        self._writing = threading.RLock()  # views share it: record and picture of an item change together
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._is_view = False

    @classmethod
    def from_pretrained(
        cls,
        model: str | None = None,
        adapter: str | Path | None = None,
        persist_directory: str | Path | None = None,
        *,
        answering_model: str | None = None,
        namespace: str = "default",
        chroma_url: str | None = None,
        collection_name: str = "comem",
        key: RetrievalKey | None = None,
        precision: Precision = "int8",
        mode: Mode | None = None,
        text_prompt: str | None = None,
        reencode: bool = False,
        **model_kwargs: Any,
    ) -> ContinuousMemory:
        """Opens a memory with its model.

        Args:
            model: hub name or folder of the base model; by default the one the adapter was trained on, and without
                an adapter the embedded default. Alone, it may be a checkpoint in the layout of CoMEM's authors.
            adapter: folder of a trained memory encoder; or a checkpoint in the authors' layout, a folder or a hub name,
                which is converted once into the cache (`convert.cached_adapter`).
            persist_directory: keep the data here; by default it lives as long as this object.
            answering_model: hub name or folder of another model that answers, of the same hidden size.
            namespace: see `namespace`.
            chroma_url: keep the data in this Chroma server instead, e.g. `http://localhost:8000`;
                `persist_directory` then holds only pictures that were added without a path.
            collection_name: one memory of several in a directory or server.
            key: retrieval embedders; by default all-MiniLM-L6-v2 and EfficientNet-Lite0, which need no model hub.
            precision: of the stored vectors.
            mode: How recalled items are given to the model; by default as the adapter recommends.
            text_prompt: A layout of your own for texts and question, with `{context}` and `{question}`.
            reencode: if another encoder wrote this collection, encode its items again instead of refusing.
            **model_kwargs: for loading the models (`dtype`, `device_map`, `quantization_config`, ...); `revision` is
                the base model's.

        Raises:
            AdapterError: a model without an adapter, or one that does not fit the model.
            CheckpointError: an adapter that is neither a folder nor on the hub, or a checkpoint that does not tell its
                base model or cannot be converted.
            ModelError: there is no such model, or the answering model has another hidden size.
            EncoderMismatchError: another encoder or retrieval key wrote this collection, and not `reencode`.
            StoreLocationError, StoreInUseError: the directory or server cannot be opened.
            DownloadError: the embedded default's public weights cannot be fetched.
        """
        if mode is not None:
            check_mode(mode)
        if text_prompt is not None:
            check_text_prompt(text_prompt)
        if persist_directory is not None and chroma_url is None:
            ChromaStore.check_location(persist_directory)  # before weights load
        encoder = load_encoder(model, adapter, model_kwargs)
        backbone = encoder.backbone
        if answering_model is not None:
            others = {name: value for name, value in model_kwargs.items() if name != "revision"}
            backbone = Backbone.from_pretrained(answering_model, **others)
            check_hidden_size(encoder, backbone)  # before the store opens
        key = key or default_key()
        identity = identity_of(encoder, key)

        try:
            store = open_store(persist_directory, chroma_url, collection_name, identity)
        except EncoderMismatchError:
            if not reencode:
                raise
            store = open_store(persist_directory, chroma_url, collection_name, None)
        temporary: tempfile.TemporaryDirectory[str] | None = None
        pictures: Path | None = None
        if persist_directory is not None:
            pictures = Path(persist_directory) / "pictures" / collection_name
        elif chroma_url is None:
            temporary = tempfile.TemporaryDirectory(prefix="comem-pictures-", ignore_cleanup_errors=True)
            pictures = Path(temporary.name)
        memory = cls(
            encoder,
            key,
            store,
            backbone=backbone,
            namespace=namespace,
            precision=precision,
            picture_directory=pictures,
            mode=mode,
            text_prompt=text_prompt,
        )
        memory._temporary, memory._identity = temporary, identity
        if not store.identity.matches(identity):
            try:
                memory.reencode()
            except BaseException:
                memory.close()
                raise
        return memory

    @property
    def name(self) -> str:
        """The namespace whose items this object sees."""
        return self._namespace

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures without a path can be stored: the model sees, and there is a directory for them."""
        return self.encoder.backbone.prompts.supports_images and self._pictures.folder is not None

    def namespace(self, name: str) -> ContinuousMemory:
        """The same memory seen by another tenant, user or agent; nothing is visible across namespaces.

        Closing it leaves the memory open, so keep that too; who needs one namespace alone opens the memory with it.

        Raises:
            QueryError: the name is no text, empty or not printable.
        """
        view = copy.copy(self)
        view._namespace = check_namespace(name)
        view._identity = self._identity  # which hashes the adapter: once for all
        view._is_view = True
        return view

    # -- writing ------------------------------------------------------------------------------------------------

    def add(
        self,
        items: MemoryItem | Iterable[MemoryItem],
        *,
        truncate: bool = False,
        batch_size: int = 16,
        progress: bool | None = None,
    ) -> list[str]:
        """Encodes and stores items; of what is stored already, only metadata that differ are replaced.

        Works in chunks of 64, of fewer when their pictures are large: when it fails, what the finished chunks stored
        is safe, and adding everything again skips it. An item with a known id and other content replaces the stored
        one.

        Args:
            items: one, many, or a generator, which is never held whole.
            truncate: encode the beginning of texts that are too long; hits then say `truncated`.
            batch_size: items per forward pass of the encoder.
            progress: show a bar; by default for more than one chunk, on a terminal.

        Returns:
            the ids, in the order given.

        Raises:
            InvalidItemError: a picture cannot be opened, or something is no MemoryItem.
            ItemTooLongError: a text exceeds the encoder's window, and not `truncate`.
            DuplicateIdError: two items of this call have the same id but different content.
            EncoderMismatchError: another encoder or retrieval key wrote this collection.
        """
        given: Iterable[Any] = [items] if isinstance(items, MemoryItem | str | dict) else items  # to refuse them whole
        seen: dict[str, str] = {}
        ids: list[str] = []
        total = 1 if isinstance(items, MemoryItem) else len(items) if isinstance(items, Sequence) else None
        if progress is None and total is not None and total <= CHUNK:
            progress = False
        with tqdm(total=total, unit="item", desc="encoding", disable=_hidden(progress)) as bar:
            for chunk in in_chunks(prepare(item, self.encoder, truncate=truncate) for item in given):
                for one in chunk:
                    if seen.setdefault(one.id, one.content_hash) != one.content_hash:
                        raise DuplicateIdError(f"Two items of this call have the id {one.id!r}. Give each its own id.")
                self._store(list({one.id: one for one in chunk}.values()), batch_size)
                ids += [one.id for one in chunk]
                bar.update(len(chunk))
        return ids

    def update(
        self,
        id: str,
        *,
        text: str | None = None,
        image: Any = None,
        metadata: Metadata | None = None,
        truncate: bool = False,
    ) -> None:
        """Changes a stored item; it is encoded again if its text or image changes.

        Args:
            id: the item.
            text, image, metadata: the new values; `None` keeps the old one.
            truncate: as in `add`.

        Raises:
            ItemNotFoundError: no such item in this namespace.
            InvalidItemError, ItemTooLongError, EncoderMismatchError: as in `add`.
        """
        self._check_encoder()
        while True:
            [old] = self._stored([id])
            item = MemoryItem(
                id=id,
                text=old.text if text is None else text,
                image=self._found(old).image if image is None else image,
                metadata=old.metadata if metadata is None else metadata,
            )
            one = None if text is None and image is None else prepare(item, self.encoder, truncate=truncate)
            changed = [] if one is None or one.content_hash == old.content_hash else [one]
            made = self._encode(changed, batch_size=1)
            with self._writing:
                if self._stored([id]) != [old]:
                    continue  # another thread wrote it while this one encoded
                if one is None:
                    self._put([replace(old, metadata=item.metadata)])
                elif changed:
                    self._put([self._record(one, *made[0])])
                else:
                    self._refresh([one])
                return

    def delete(self, *, ids: str | Sequence[str] | None = None, where: Filter | None = None) -> int:
        """Deletes items by id, by a filter on their metadata, or by both; returns how many.

        Raises:
            QueryError: neither ids nor a filter that filters (`clear` deletes everything), an id that is no text, or an
                unknown operator.
        """
        if ids is None and not where:
            raise QueryError("delete() needs ids or where. To delete everything in this namespace, call clear().")
        return self._delete(None if ids is None else _listed(ids), where)

    def clear(self) -> int:
        """Deletes everything in this namespace; returns how many items that were."""
        return self._delete(None, None)

    def reencode(self, *, batch_size: int = 16, progress: bool | None = None) -> int:
        """Encodes every item of every namespace again with this encoder and retrieval key.

        Resumes where an interrupted run stopped. Until the end the collection is the old one, whole; then it is
        the new one, whole. Texts are cut where needed, as they were when they were added.

        Returns:
            how many items this run encoded.

        Raises:
            InvalidItemError: a stored picture's file is gone; the message names the item.
        """
        migration = self.store.begin_migration(self._identity)
        encoded = 0
        with tqdm(
            total=migration.total,
            initial=migration.done,
            unit="item",
            desc="re-encoding",
            disable=_hidden(progress),
        ) as bar:
            for old in migration.pending(CHUNK):
                items = [MemoryItem(id=r.id, text=r.text, image=self._found(r).image) for r in old]
                prepared = [prepare(item, self.encoder, truncate=True) for item in items]
                made = zip(old, prepared, self._encode(prepared, batch_size), strict=True)
                migration.put([replace(o, key=k, block=b, truncated=p.inputs.truncated) for o, p, (k, b) in made])
                encoded += len(old)
                bar.update(len(old))
        migration.commit()
        return encoded

    @cached_property
    def _identity(self) -> CollectionIdentity:
        return identity_of(self.encoder, self.key)

    def _check_encoder(self) -> None:
        if not self.store.identity.matches(self._identity):
            raise EncoderMismatchError(
                f"This collection was written with {self.store.identity}, but this memory uses {self._identity}. "
                "Open it with the encoder and retrieval key that wrote it, or migrate its items with reencode()."
            )

    def _store(self, prepared: Sequence[PreparedItem], batch_size: int) -> None:
        self._check_encoder()
        while prepared:
            hashes = self.store.content_hashes([one.id for one in prepared], namespace=self._namespace)
            changed = [one for one in prepared if hashes.get(one.id) != one.content_hash]
            made = zip(changed, self._encode(changed, batch_size), strict=True)
            with self._writing:
                self._put([self._record(one, key, block) for one, (key, block) in made])
                prepared = self._refresh([one for one in prepared if hashes.get(one.id) == one.content_hash])

    def _encode(self, prepared: Sequence[PreparedItem], batch_size: int) -> list[tuple[np.ndarray, str]]:
        """Retrieval key and block of each item."""
        if not prepared:
            return []
        keys = self.key.item_keys([one.item.text for one in prepared], [one.picture for one in prepared])
        vectors = self.encoder.encode([one.inputs for one in prepared], batch_size=batch_size)
        return [(key, encode_block(vector, self.precision)) for key, vector in zip(keys, vectors, strict=True)]

    def _record(self, one: PreparedItem, key: np.ndarray, block: str) -> MemoryRecord:
        return MemoryRecord(
            id=one.id,
            namespace=self._namespace,
            key=key,
            block=block,
            text=one.item.text,
            image=self._keep_picture(one),
            metadata=one.item.metadata,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            content_hash=one.content_hash,
            truncated=one.inputs.truncated,
        )

    def _put(self, records: Sequence[MemoryRecord]) -> None:
        """Stores records; only then goes what was kept of the pictures they replace."""
        if not records:
            return  # a server is not asked for nothing
        self._check_encoder()  # another thread may have migrated the collection meanwhile
        self.store.put(records)
        for record in records:
            self._pictures.drop(namespace=record.namespace, id=record.id, but=record.image)

    def _refresh(self, prepared: Sequence[PreparedItem]) -> list[PreparedItem]:
        """Items whose content is stored already: metadata may differ, and the same picture may lie elsewhere now.

        Returns:
            those that another thread has changed or deleted meanwhile.
        """
        known = {r.id: r for r in self.store.get([one.id for one in prepared], namespace=self._namespace)}
        fresh, left = [], []
        for one in prepared:
            old = known.get(one.id)
            if old is None or old.content_hash != one.content_hash:
                left.append(one)
                continue
            gone = old.image is not None and not Path(self._pictures.find(old.image)).is_file()
            if gone or old.metadata != one.item.metadata:
                image = self._keep_picture(one) if gone else old.image
                fresh.append(replace(old, metadata=one.item.metadata, image=image))
        self._put(fresh)
        return left

    def _keep_picture(self, one: PreparedItem) -> str | None:
        if one.picture is None:
            return None
        path = one.item.image if isinstance(one.item.image, Path) else None
        return self._pictures.keep(
            one.picture, path, namespace=self._namespace, id=one.id, content_hash=one.content_hash
        )

    def _found(self, record: MemoryRecord) -> MemoryRecord:
        """The record with the full path of its picture."""
        return record if record.image is None else replace(record, image=self._pictures.find(record.image))

    def _delete(self, ids: Sequence[str] | None, where: Filter | None) -> int:
        with self._writing:
            deleted = self.store.delete(namespace=self._namespace, ids=ids, where=where)
            for id in deleted:
                self._pictures.drop(namespace=self._namespace, id=id)
        return len(deleted)

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, ids: str | Sequence[str], *, skip_missing: bool = False) -> list[MemoryHit]:
        """Items by id, in the order asked.

        Args:
            ids: one or many.
            skip_missing: leave out ids that are not stored.

        Raises:
            ItemNotFoundError: an id is not stored in this namespace, and not `skip_missing`.
            QueryError: an id is no text.
            CorruptBlockError: an item's stored vectors are damaged.
        """
        return [self._hit(record) for record in self._stored(_listed(ids), skip_missing=skip_missing)]

    def _stored(self, ids: Sequence[str], *, skip_missing: bool = False) -> list[MemoryRecord]:
        found = {r.id: r for r in self.store.get(ids, namespace=self._namespace)}
        if skip_missing:
            ids = [id for id in ids if id in found]
        if missing := [id for id in ids if id not in found]:
            raise ItemNotFoundError(
                f"Namespace {self._namespace!r} holds no item {missing[0]!r}"
                f"{f' and {len(missing) - 1} more of those asked' if missing[1:] else ''}. Check the id and namespace."
            )
        return [found[id] for id in ids]

    def _hit(self, record: MemoryRecord, similarity: float | None = None) -> MemoryHit:
        return MemoryHit(
            id=record.id,
            memory_embeddings=decode_block(record.block, item_id=record.id),
            similarity=similarity,
            text=record.text,
            image=self._found(record).image,
            metadata=record.metadata,
            created_at=record.created_at,
            truncated=record.truncated,
        )

    def search(
        self, text: str | None = None, image: Any = None, *, k: int = 3, where: Filter | None = None
    ) -> list[MemoryHit]:
        """The k items most similar to a text, a picture, or both.

        Args:
            text, image: what to look for; the image as in `MemoryItem`.
            k: at most so many hits.
            where: filter on metadata, in Chroma's operators.

        Returns:
            hits, most similar first; `RetrievalKey` says what the similarity is.

        Raises:
            QueryError: neither text nor image, k below 1, or an unknown filter operator.
            InvalidItemError: the image cannot be opened.
            CorruptBlockError: a found item's vectors are damaged.
            EncoderMismatchError: another encoder or retrieval key wrote this collection.
        """
        self._check_encoder()
        if not (text and text.strip()) and image is None:
            raise QueryError("There is nothing to search for. Pass text=..., image=..., or both.")
        if not isinstance(k, int) or k < 1:
            raise QueryError(f"k is {k!r}. Ask for a whole number of items, at least 1.")

        def best(key: np.ndarray) -> list[float]:
            found = self.store.search(key, namespace=self._namespace, k=PROBE, where=where)
            return [similarity for _, similarity in found]

        key = self.key.query_key(text, None if image is None else load_image(image), best=best)
        found = self.store.search(key, namespace=self._namespace, k=k, where=where)
        return [self._hit(record, similarity) for record, similarity in found]

    def scan(self, *, where: Filter | None = None) -> Iterator[MemoryHit]:
        """All items in this namespace, or those that match a filter, ordered by id; few are in memory at a time.

        Raises:
            QueryError: an unknown filter operator.
            CorruptBlockError: an item's vectors are damaged.
        """
        return map(self._hit, itertools.chain.from_iterable(self.store.scan(namespace=self._namespace, where=where)))

    def count(self, *, where: Filter | None = None) -> int:
        """Items in this namespace, or those that match a filter."""
        return self.store.count(namespace=self._namespace, where=where)

    # -- answering ----------------------------------------------------------------------------------------------

    def recall(
        self,
        messages: Sequence[Message],
        *,
        k: int = 3,
        where: Filter | None = None,
        mode: Mode | None = None,
        ids: Sequence[str] | None = None,
        found: Sequence[str] | None = None,
    ) -> Recalled:
        """A conversation with the items that go before its next answer: the road of every question to the model.

        Items are, the first that applies: `ids`; those that the messages name (`NamedItems`) and `found`, as far as
        they are still stored; the k most similar to text and picture of what the user said last.

        Args:
            messages: The conversation so far, in transformers' form.
            k: Items to search for; 0 searches for nothing.
            where: A filter on the metadata of what is searched for.
            mode: How the items are given; by default as the messages that name them say, and else `self.mode`.
            ids: Exactly these items, best first.
            found: Items that were searched for already, best first; then nothing is searched for.

        Raises:
            QueryError: The messages hold nothing to answer, an unknown mode, or as in `search`.
            ItemNotFoundError: One of `ids` is not stored in this namespace.
            InvalidItemError, CorruptBlockError, EncoderMismatchError: As in `search`.
        """
        named: list[NamedItems] = [message["named"] for message in messages if "named" in message]
        chosen = check_mode(mode or next((one.mode for one in reversed(named) if one.mode), None) or self.mode)
        hits: list[MemoryHit] = []
        if chosen == "none":
            turns = spoken(messages)
        elif ids is not None:
            turns, hits = spoken(messages), self.get(ids)
        elif named or found is not None:
            wanted = [id for one in reversed(named) for id in one.ids] + list(found or ())
            hits = self.get(list(dict.fromkeys(wanted)), skip_missing=True)
            turns = spoken(messages, unless={hit.id for hit in hits})
        else:
            turns = spoken(messages)
            hits = self.search_turn(turns, k=k, where=where)
        if not turns:
            raise QueryError("The messages hold nothing to answer. Pass at least one with text or a picture.")
        return self.lay_out(turns, hits, chosen)

    def search_turn(self, turns: Sequence[Message], *, k: int = 3, where: Filter | None = None) -> list[MemoryHit]:
        """The k items most similar to text and picture of what the user said last in a conversation.

        None where there is nothing to search with, or k is 0; else as `search`.
        """
        at = question_turn(turns)
        text, picture = ("", None) if at is None else content_of(turns[at])
        text, picture = text if self.key.text else "", picture if self.key.image else None
        return self.search(text or None, picture, k=k, where=where) if k and (text or picture is not None) else []

    def lay_out(self, messages: Sequence[Message], hits: Sequence[MemoryHit], mode: Mode) -> Recalled:
        """A conversation with given items, best first, in this memory's layout; see `chat.layout`."""
        supports_images = self.backbone.prompts.supports_images
        return lay_out(messages, hits, mode, text_prompts=self.text_prompts, supports_images=supports_images)

    def answer(
        self,
        question: str,
        image: Any = None,
        *,
        k: int = 3,
        where: Filter | None = None,
        mode: Mode | None = None,
        max_new_tokens: int = 64,
        **generation_kwargs: Any,
    ) -> Answer:
        """Recalls k items and has the frozen model answer: a conversation of one turn.

        Args:
            question: What to ask, and to search with.
            image: A picture that goes with the question, as in `MemoryItem`.
            k: Items to recall.
            where: A filter on their metadata, as in `search`.
            mode: `memory` puts the items' vectors before the prompt, `text` their texts and pictures into it (plain
                retrieval-augmented prompting), `both` does both, `none` asks the bare model; by default `self.mode`.
            max_new_tokens: Longest answer, in tokens.
            **generation_kwargs: As in `Backbone.generate`.

        Raises:
            QueryError: Nothing is asked, an unknown mode, or as in `search`.
            PromptTooLongError: Question and items leave no room for an answer.
            InvalidItemError, CorruptBlockError, EncoderMismatchError: As in `search`.
        """
        recalled = self.recall(_asked(question, image), k=k, where=where, mode=mode)
        settings = ChatSettings(max_tokens=max_new_tokens, generation_kwargs=generation_kwargs)
        reply = self._chat.reply(recalled.messages, recalled.memory, settings)
        return Answer(reply.text, recalled.hits, reply.prompt_tokens)

    def stream(
        self,
        question: str,
        image: Any = None,
        *,
        k: int = 3,
        where: Filter | None = None,
        mode: Mode | None = None,
        max_new_tokens: int = 64,
        stopped: threading.Event | None = None,
        **generation_kwargs: Any,
    ) -> Iterator[str]:
        """Like `answer`, yielding text as it is made; items are recalled, and errors raised, before it returns.

        Setting `stopped` ends the answer at the next token.
        """
        recalled = self.recall(_asked(question, image), k=k, where=where, mode=mode)
        settings = ChatSettings(max_tokens=max_new_tokens, generation_kwargs=generation_kwargs)
        pieces = self._chat.stream(recalled.messages, recalled.memory, settings, stopped=stopped)
        return (piece for piece in pieces if isinstance(piece, str))

    def prepare(
        self, question: str, image: Any = None, *, k: int = 3, where: Filter | None = None, mode: Mode | None = None
    ) -> tuple[ModelInputs, torch.Tensor | None, list[MemoryHit]]:
        """What `answer` gives to the model: the prompt, the memory (n, H), and the items they come from.

        Raises:
            PromptTooLongError: They leave no room for an answer.
        """
        recalled = self.recall(_asked(question, image), k=k, where=where, mode=mode)
        prompt = self._chat.prompt(recalled.messages)
        self.backbone.remaining_tokens(prompt, recalled.memory)
        return prompt, recalled.memory, recalled.hits

    def prompt(
        self, question: str, image: Any, hits: Sequence[MemoryHit], mode: Mode
    ) -> tuple[ModelInputs, torch.Tensor | None]:
        """The prompt for a question with given hits, best first, and the memory (n, H) that goes before it."""
        recalled = self.lay_out(_asked(question, image), hits, mode)
        return self._chat.prompt(recalled.messages), recalled.memory

    @property
    def _chat(self) -> Chat:
        return Chat(self.backbone, reuse_prefix=False)

    def describe(self, id: str, *, max_new_tokens: int = 128, **generation_kwargs: Any) -> Description:
        """What an item's vectors say: the frozen model restates it from them alone, beside the stored text.

        Args:
            id: the item.
            max_new_tokens, generation_kwargs: as in `answer`.

        Raises:
            ItemNotFoundError, CorruptBlockError: as in `get`.
            EncoderMismatchError: another encoder wrote this collection.
        """
        self._check_encoder()
        [hit] = self.get(id)
        prompt = self.backbone.prompts.prompt_inputs([{"role": "user", "content": RESTATE_INSTRUCTION}])
        [tokens] = self.backbone.generate(
            [prompt], [hit.memory_embeddings], max_new_tokens=max_new_tokens, **generation_kwargs
        )
        return Description(hit.text, self.backbone.decode(tokens))

    # -- moving -------------------------------------------------------------------------------------------------

    def export(self, folder: str | Path, *, progress: bool | None = None) -> int:
        """Writes this namespace to a folder that `load` reads anywhere: vectors, keys, texts and pictures.

        Returns:
            how many items it holds.

        Raises:
            StoreLocationError: the folder is not empty, or the picture of an item is gone.
            CorruptBlockError: an item's stored vectors are damaged; the message names it.
        """
        records = map(self._found, itertools.chain.from_iterable(self.store.scan(namespace=self._namespace)))
        with tqdm(records, total=self.count(), unit="item", desc="exporting", disable=_hidden(progress)) as bar:
            return write_folder(Path(folder), self.store.identity, bar)

    def load(self, folder: str | Path, *, progress: bool | None = None) -> int:
        """Adds what `export` wrote to this namespace; the vectors travel, nothing is encoded again.

        A memory without a directory (on a server, without `persist_directory`) refers to the pictures in the folder.

        Returns:
            how many items it holds.

        Raises:
            StoreLocationError: the folder is no export, or damaged.
            EncoderMismatchError: another encoder or retrieval key made it.
        """
        self._check_encoder()
        total, records = read_folder(Path(folder), self.store.identity)
        with tqdm(total=total, unit="item", desc="loading", disable=_hidden(progress)) as bar:
            while chunk := list(itertools.islice(records, CHUNK)):
                with self._writing:
                    self._put([self._adopt(record) for record in chunk])
                bar.update(len(chunk))
        return total

    def _adopt(self, record: MemoryRecord) -> MemoryRecord:
        """A record of another memory as one of this namespace, its picture kept where this memory keeps them."""
        image = record.image
        if image is not None and self._pictures.folder is not None:
            image = self._pictures.keep(
                load_image(image), None, namespace=self._namespace, id=record.id, content_hash=record.content_hash
            )
        return replace(record, namespace=self._namespace, image=image)

    def close(self) -> None:
        """Lets go of the directory or server, and of pictures kept for a memory without a directory."""
        if self._is_view:
            return
        self.store.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> ContinuousMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def as_langchain_retriever(self, **fields: Any) -> LangChainRetriever:
        """This memory as a LangChain retriever; `fields` as in `ComemRetriever`."""
        from comem_memory.integrations.langchain import ComemRetriever

        return ComemRetriever(memory=self, **fields)

    def as_llama_index_retriever(self, **fields: Any) -> LlamaIndexRetriever:
        """This memory as a LlamaIndex retriever; `fields` as in its `ComemRetriever`."""
        from comem_memory.integrations.llama_index import ComemRetriever

        return ComemRetriever(self, **fields)

    # -- async twins --------------------------------------------------------------------------------------------

    async def aadd(self, items: MemoryItem | Iterable[MemoryItem], **kwargs: Any) -> list[str]:
        """`add` in a thread, which goes on when the caller gives up, until the memory is closed."""
        return await run_in_thread(lambda _: self.add(items, **kwargs))

    async def aget(self, ids: str | Sequence[str], **kwargs: Any) -> list[MemoryHit]:
        """`get` in a worker thread."""
        return await asyncio.to_thread(self.get, ids, **kwargs)

    async def asearch(self, text: str | None = None, image: Any = None, **kwargs: Any) -> list[MemoryHit]:
        """`search` in a worker thread."""
        return await asyncio.to_thread(self.search, text, image, **kwargs)

    async def aupdate(self, id: str, **kwargs: Any) -> None:
        """`update` in a thread, as `aadd`."""
        await run_in_thread(lambda _: self.update(id, **kwargs))

    async def adelete(self, **kwargs: Any) -> int:
        """`delete` in a worker thread."""
        return await asyncio.to_thread(self.delete, **kwargs)

    async def aclear(self) -> int:
        """`clear` in a worker thread."""
        return await asyncio.to_thread(self.clear)

    async def acount(self, **kwargs: Any) -> int:
        """`count` in a worker thread."""
        return await asyncio.to_thread(self.count, **kwargs)

    async def areencode(self, **kwargs: Any) -> int:
        """`reencode` in a thread, as `aadd`."""
        return await run_in_thread(lambda _: self.reencode(**kwargs))

    async def aexport(self, folder: str | Path, **kwargs: Any) -> int:
        """`export` in a worker thread."""
        return await asyncio.to_thread(self.export, folder, **kwargs)

    async def aload(self, folder: str | Path, **kwargs: Any) -> int:
        """`load` in a worker thread."""
        return await asyncio.to_thread(self.load, folder, **kwargs)

    async def adescribe(self, id: str, **kwargs: Any) -> Description:
        """`describe` in a thread."""
        return await run_in_thread(lambda stopped: self.describe(id, stopped=stopped, **kwargs))

    async def aanswer(self, question: str, image: Any = None, **kwargs: Any) -> Answer:
        """`answer` in a thread; a caller who gives up stops the model."""
        return await run_in_thread(lambda stopped: self.answer(question, image, stopped=stopped, **kwargs))

    async def astream(self, question: str, image: Any = None, **kwargs: Any) -> AsyncGenerator[str]:
        """`stream` in a thread; a caller who gives up stops the model."""
        pieces = iterate_in_thread(lambda stopped: self.stream(question, image, stopped=stopped, **kwargs))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece


def _asked(question: str, image: Any) -> list[Message]:
    """A question as a conversation."""
    if not question.strip() and image is None:
        raise QueryError("There is nothing to answer. Pass a question, an image, or both.")
    picture = [] if image is None else [{"type": "image", "image": load_image(image)}]
    return [{"role": "user", "content": [*picture, {"type": "text", "text": question}]}]


def _listed(ids: str | Iterable[str]) -> list[str]:
    listed = [ids] if isinstance(ids, str) or not isinstance(ids, Iterable) else list(ids)
    for id in listed:
        if not isinstance(id, str):
            raise QueryError(f"{id!r} is no id. Pass ids as texts, as add() returned them.")
    return listed


def _hidden(progress: bool | None) -> bool | None:
    """For tqdm's `disable`: `None` shows the bar on a terminal only."""
    return None if progress is None else not progress
