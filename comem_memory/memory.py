"""`ContinuousMemory`: add items, find them again, and have the frozen model answer from their vectors."""

from __future__ import annotations

import asyncio
import copy
import itertools
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from comem_memory.chat import (
    Chat,
    ChatSettings,
    NamedItems,
    Recalled,
    asked_in,
    check_mode,
    content_of,
    lay_out,
    memory_of,
    parts_of,
    question_turn,
    spoken,
)
from comem_memory.config import Mode
from comem_memory.conversion import Addable
from comem_memory.encoder import EncodedItems, MemoryEncoder, encode_items
from comem_memory.errors import EncoderMismatchError, NotPicklableError, QueryError
from comem_memory.files import TemporaryFolder, load_image
from comem_memory.model import (
    DEFAULT_TEXT_PROMPTS,
    RESTATE_INSTRUCTION,
    Backbone,
    Message,
    ModelInputs,
    check_text_prompt,
)
from comem_memory.opening import (
    check_hidden_size,
    find_store,
    key_of,
    load_backbone,
    load_encoder,
    open_key,
    open_store,
)
from comem_memory.retrieval import Reranker, RetrievalKey, SearchOptions, check_options
from comem_memory.store import (
    ChromaStore,
    Filter,
    MemoryRecord,
    MemoryStore,
    PictureFolder,
    Precision,
    Writer,
    decode_block,
    find,
    identity_of,
    progress_bar,
    write_folder,
)
from comem_memory.threads import iterate_in_thread, run_in_thread
from comem_memory.types import MemoryHit, Metadata, own_metadata, repaired

if TYPE_CHECKING:
    from comem_memory.integrations.langchain import ComemRetriever as LangChainRetriever
    from comem_memory.integrations.llama_index import ComemRetriever as LlamaIndexRetriever


@dataclass(frozen=True)
class Answer:
    """What the model said, and from what.

    Args:
        text: The answer.
        hits: The items it had, best first.
        prompt_tokens: Tokens of the prompt, pictures and memory vectors included.
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
        encoder: Makes the vectors.
        key: Makes the retrieval keys.
        store: Keeps both.
        backbone: The frozen model that answers, by default the encoder's own base model; another one needs the same
            hidden size, and may be text-only (arXiv 2505.17670 has a text model read a vision-language model's memory).
        namespace: The tenant, user or agent whose items this object sees.
        precision: How vectors are stored; int8 takes a quarter of fp32 (`codec` has the table).
        picture_directory: Where pictures that have no path of their own are kept.
        mode: How recalled items are given to the model unless a call says otherwise: `memory`, `text`, `both` or
            `none`; by default as the encoder recommends.
        text_prompt: Layout of texts and question in the modes `text` and `both`, with `{context}` and `{question}`;
            by default the standard one that answered best (`model.text_prompts`).
        min_similarity: What is less similar to a question is not found, unless a search says otherwise; by default as
            the key was measured (`RetrievalKey`), for questions in words alone. -1 finds whatever is nearest.
        reranker: Orders what is found for a question by its own judgement, for instance sentence-transformers'
            `CrossEncoder`; at least 4 k items are shown to it.

    Example:
        >>> memory = ContinuousMemory.from_pretrained()                                        # doctest: +SKIP
        >>> memory.add(MemoryItem(text="The blue door opens with the brass key."))             # doctest: +SKIP
        >>> print(memory.answer("What opens the blue door?"))                                  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: MemoryEncoder,
        key: RetrievalKey,
        store: MemoryStore,
        *,
        backbone: Backbone | None = None,
        namespace: str = "default",
        precision: Precision = "int8",
        picture_directory: Path | None = None,
        mode: Mode | None = None,
        text_prompt: str | None = None,
        min_similarity: float | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.encoder, self.key, self.store = encoder, key, store
        self.backbone = backbone or encoder.backbone
        check_hidden_size(encoder, self.backbone)
        self.mode: Mode = check_mode(encoder.encoder_config.recommended_mode if mode is None else mode)
        own = None if text_prompt is None else check_text_prompt(text_prompt)
        self.text_prompts: Mapping[Mode, str] = {mode: own or text for mode, text in DEFAULT_TEXT_PROMPTS.items()}
        check_options(min_similarity=min_similarity)
        self.min_similarity, self.reranker = min_similarity, reranker
        self._pictures = PictureFolder(picture_directory)
        self._writer = Writer(encoder, key, store, self._pictures, namespace=namespace, precision=precision)
        self._temporary: TemporaryFolder | None = None
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
        key: RetrievalKey | str | Path | None = None,
        precision: Precision = "int8",
        mode: Mode | None = None,
        text_prompt: str | None = None,
        min_similarity: float | None = None,
        reranker: Reranker | None = None,
        reencode: bool = False,
        rekey: bool = False,
        **model_kwargs: Any,
    ) -> ContinuousMemory:
        """Opens a memory with its model.

        Args:
            model: Hub name or folder of the base model; by default the one the adapter was trained on, and without
                an adapter the embedded default. Alone, it may be a checkpoint in the layout of CoMEM's authors.
            adapter: Folder of a trained memory encoder; or a checkpoint in the authors' layout, a folder or a hub name,
                which is converted once into the cache (`convert.cached_adapter`).
            persist_directory: Keep the data here; by default it lives as long as this object. A directory that cannot
                be written is opened for reading only, as a temporary copy: what others write later is not in it.
            answering_model: Hub name or folder of another model that answers, of the same hidden size.
            namespace: See `namespace`.
            chroma_url: Keep the data in this Chroma server instead, e.g. `http://localhost:8000`;
                `persist_directory` then holds only pictures that were added without a path.
            collection_name: One memory of several in a directory or server.
            key: How items are found: hub name or folder of a CLIP or SigLIP model, which embeds texts and pictures, or
                of a sentence-transformers model for texts, beside EfficientNet-Lite0 for pictures; or a `RetrievalKey`
                of any embedders. "multilingual-e5-small", the default, and "all-MiniLM-L6-v2", for English, need no
                model hub. A memory that was written with all-MiniLM-L6-v2, the default up to version 0.1.0, is opened
                with it by default.
            precision: How the vectors are stored; see `codec`.
            mode: How recalled items are given to the model; by default as the adapter recommends.
            text_prompt: A layout of your own for texts and question, with `{context}` and `{question}`.
            min_similarity: What is less similar to a question is not found; by default as the key was measured.
            reranker: Orders what is found; for instance sentence-transformers' `CrossEncoder`.
            reencode: If another encoder or retrieval key wrote this collection, encode its items again instead of
                refusing.
            rekey: If another retrieval key wrote this collection, give its items new keys instead of refusing, as
                `rekey` does; without `key`, those of the default key.
            **model_kwargs: For loading the models (`dtype`, `device_map`, `quantization_config`, ...); `revision` is
                the base model's.

        Raises:
            AdapterError: A model without an adapter, or one that does not fit the model.
            CheckpointError: An adapter that is neither a folder nor on the hub, or a checkpoint that does not tell its
                base model or cannot be converted.
            ModelError: There is no such model, the answering model has another hidden size, or the key's model is none
                of those named there.
            EncoderMismatchError: Another encoder wrote this collection, and not `reencode`; or another retrieval key,
                and neither `reencode` nor `rekey`.
            StoreLocationError, StoreInUseError: The directory or server cannot be opened.
            ForkedProcessError: This process is a fork of one that opened a memory.
            DownloadError: The embedded default's public weights cannot be fetched.
        """
        if mode is not None:
            check_mode(mode)
        if text_prompt is not None:
            check_text_prompt(text_prompt)
        check_options(min_similarity=min_similarity)
        if persist_directory is not None and chroma_url is None:
            ChromaStore.check_location(persist_directory)  # before weights load
        if key is not None:
            key = open_key(key)
        with ExitStack() as opened:  # and closed, if a later step fails
            store = find_store(persist_directory, chroma_url, collection_name)
            if store is not None:
                opened.callback(store.close)
                if key is None and not rekey:
                    key = key_of(store)
            encoder = load_encoder(model, adapter, model_kwargs)
            backbone = encoder.backbone
            if answering_model is not None:
                others = {name: value for name, value in model_kwargs.items() if name != "revision"}
                backbone = load_backbone(answering_model, **others)
                check_hidden_size(encoder, backbone)
            key = open_key(key)
            identity = identity_of(encoder, key)
            try:
                if store is None:
                    store = open_store(persist_directory, chroma_url, collection_name, identity)
                    opened.callback(store.close)
                else:
                    store.use(identity)
            except EncoderMismatchError:
                if store is None or not (reencode or rekey):
                    raise
            temporary: TemporaryFolder | None = None
            pictures: Path | None = None
            if persist_directory is not None:
                pictures = Path(persist_directory) / "pictures" / collection_name
            elif chroma_url is None:
                temporary = TemporaryFolder("comem-pictures-")
                opened.callback(temporary.remove)
                pictures = temporary.path
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
                min_similarity=min_similarity,
                reranker=reranker,
            )
            memory._temporary, memory._writer.identity = temporary, identity
            if not store.identity.matches(identity):
                if reencode:
                    memory.reencode()
                else:
                    memory.rekey()
            opened.pop_all()
        return memory

    @property
    def name(self) -> str:
        """The namespace whose items this object sees."""
        return self._writer.namespace

    @property
    def precision(self) -> Precision:
        """How vectors that this object adds are stored."""
        return self._writer.precision

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures without a path can be stored: the model sees, and there is a directory for them."""
        return self.encoder.backbone.prompts.supports_images and self._pictures.folder is not None

    def namespace(self, name: str, *, precision: Precision | None = None) -> ContinuousMemory:
        """The same memory seen by another tenant, user or agent; nothing is visible across namespaces.

        Closing it leaves the memory open, so keep that too. If one namespace is all you need, open the memory with it.

        Args:
            name: The tenant, user or agent.
            precision: How vectors that are added there are stored; by default as in this memory.

        Raises:
            QueryError: The name is not a text, is empty, or has characters that cannot be printed.
        """
        view = copy.copy(self)
        view._writer = self._writer.for_namespace(name, precision)
        view._is_view = True
        return view

    # -- copying ------------------------------------------------------------------------------------------------

    def __copy__(self) -> ContinuousMemory:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: Any) -> ContinuousMemory:
        """Itself: an open directory, connection or model is shared by what is copied around it."""
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """
        Raises:
            NotPicklableError: Always.
        """
        raise NotPicklableError(
            "An open memory cannot be pickled: its model and its connection belong to this process. Send the "
            f"persist_directory or chroma_url and the namespace ({self.name!r}), and open it there with "
            "from_pretrained (a directory in one process at a time; for several, a Chroma server)."
        )

    # -- writing ------------------------------------------------------------------------------------------------

    def encode(
        self, items: Addable | Iterable[Addable], *, truncate: bool = False, batch_size: int = 16
    ) -> EncodedItems:
        """Encodes items without storing them: vectors and retrieval keys out.

        Args:
            items: One item, several, or a generator, as `add` takes them.
            truncate: Encode the beginning of texts that are too long.
            batch_size: Items per forward pass of the encoder.

        Raises:
            InvalidItemError: A picture cannot be opened, or an item has nothing that the retrieval key embeds.
            ItemTooLongError: A text exceeds the encoder's window, and not `truncate`.
        """
        return encode_items(items, self.encoder, self.key, truncate=truncate, batch_size=batch_size)

    def add(
        self,
        items: Addable | Iterable[Addable],
        *,
        truncate: bool = False,
        batch_size: int = 16,
        progress: bool | None = None,
    ) -> list[str]:
        """Encodes and stores items; what is stored already keeps its vectors and its `created_at`.

        Its metadata and times are replaced by those that are given with it now; without any it keeps them too (`update`
        with `metadata={}` removes the metadata, and `MemoryItem(..., expires=None)` a time). If it was superseded it is
        current again.

        An item without an id is what is stored with the same text and image, whatever its id, unless both have a
        `source` in their metadata and these differ: then both are kept, so that each source can be filtered and
        deleted by itself.

        What an item supersedes is found no more as soon as the item is stored. Until then it stays; if a call ends in
        between, adding the item again completes it.

        Works in chunks of 64, of fewer when their pictures are large: when it fails, what the finished chunks stored
        is safe, and adding everything again skips it. An item with a known id and other content replaces the stored
        one.

        Args:
            items: One item, several, or a generator, of which one chunk at a time is in memory. In place of an item a
                text, a document of LangChain, or a document or node of LlamaIndex, whose id the item gets.
            truncate: Encode the beginning of texts that are too long; hits then say `truncated`.
            batch_size: Items per forward pass of the encoder.
            progress: Show a bar; by default for more than one chunk, on a terminal.

        Returns:
            The ids, in the order given.

        Raises:
            InvalidItemError: A picture cannot be opened, or something cannot be added or stored.
            ItemTooLongError: A text exceeds the encoder's window, and not `truncate`.
            DuplicateIdError: Two items of this call have the same id but different content.
            ItemNotFoundError: An item supersedes one that is neither stored nor stands before it in this call.
            EncoderMismatchError: Another encoder or retrieval key wrote this collection.
        """
        return self._writer.add(items, truncate=truncate, batch_size=batch_size, progress=progress)

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

        Its `created_at` stays, and its `updated_at` is now. What it said before is gone; an item that `supersedes` it
        keeps it as history.

        Args:
            id: The id of the item.
            text: The new text; `None` keeps the old one. It takes the place of all of a history's message.
            image: The new picture; `None` keeps the old one.
            metadata: The new metadata, instead of all the old; `None` keeps these.
            truncate: Encode the beginning of a text that is too long; hits then say `truncated`.

        Raises:
            ItemNotFoundError: There is no such item in this namespace.
            InvalidItemError: The picture cannot be opened, or neither text nor picture is left.
            ItemTooLongError: The text exceeds the encoder's window, and not `truncate`.
            EncoderMismatchError: Another encoder or retrieval key wrote this collection.
        """
        self._writer.update(id, text=text, image=image, metadata=metadata, truncate=truncate)

    def delete(self, *, ids: str | Sequence[str] | None = None, where: Filter | None = None) -> int:
        """Deletes items by id, by a filter on their metadata, or by both; returns how many.

        Superseded items are deleted as others are. An item's history stays when it is deleted itself, and is not found
        again for that; to delete it too, pass the ids that `history` gives.

        Raises:
            QueryError: Neither ids nor a filter that filters (`clear` deletes everything), an id that is not a text, or
                an unknown operator.
        """
        if ids is None and not where:
            raise QueryError("delete() needs ids or where. To delete everything in this namespace, call clear().")
        return self._writer.delete(ids=None if ids is None else _listed(ids), where=where)

    def clear(self) -> int:
        """Deletes everything in this namespace, history and pictures too: how a user is forgotten.

        Returns:
            How many items that were, superseded ones included.
        """
        return self._writer.delete()

    def reencode(self, *, batch_size: int = 16, progress: bool | None = None) -> int:
        """Encodes every item of every namespace again with this encoder and retrieval key.

        Resumes where an interrupted run stopped. Until all items are encoded the old ones stay in use; then the new
        ones take their place together. Texts that are too long are cut.

        Args:
            batch_size: Items per forward pass of the encoder.
            progress: Show a bar; by default on a terminal.

        Returns:
            How many items this run encoded.

        Raises:
            InvalidItemError: A stored picture's file is gone; the message names the item.
        """
        return self._writer.reencode(batch_size=batch_size, progress=progress)

    def rekey(self, *, progress: bool | None = None) -> int:
        """Gives every item of every namespace a new retrieval key, from the kept texts and pictures.

        Nothing is encoded: the vectors stay as they are. Resumes where an interrupted run stopped; until all items have
        their new keys the old ones stay in use.

        Args:
            progress: Show a bar; by default on a terminal.

        Returns:
            How many items this run gave new keys.

        Raises:
            EncoderMismatchError: Another encoder wrote this collection.
            InvalidItemError: A stored picture's file is gone, or an item has nothing that the new key embeds.
        """
        return self._writer.rekey(progress=progress)

    def load(self, folder: str | Path, *, progress: bool | None = None) -> int:
        """Adds what `export` wrote to this namespace, history included; the vectors travel, nothing is encoded again.

        A memory without a directory (on a server, without `persist_directory`) refers to the pictures in the folder.

        Returns:
            How many items it holds.

        Raises:
            StoreLocationError: The folder is not an export, or damaged.
            EncoderMismatchError: Another encoder or retrieval key made it.
        """
        return self._writer.load(folder, progress=progress)

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, ids: str | Sequence[str], *, skip_missing: bool = False) -> list[MemoryHit]:
        """Items by id, in the order asked; superseded ones too, which then say `superseded_by`.

        Args:
            ids: One id, or several.
            skip_missing: Leave out ids that are not stored.

        Raises:
            ItemNotFoundError: An id is not stored in this namespace, and not `skip_missing`.
            QueryError: An id is not a text.
            CorruptBlockError: An item's stored vectors are damaged.
        """
        read = self.store.get if skip_missing else self.store.require
        return [self._hit(record) for record in read(_listed(ids), namespace=self.name)]

    def history(self, id: str) -> list[MemoryHit]:
        """An item with those that it superseded and that superseded it, directly or not, oldest first.

        Args:
            id: The id of any of them.

        Raises:
            ItemNotFoundError: The id is not stored in this namespace.
            QueryError: The id is not a text.
            CorruptBlockError: An item's stored vectors are damaged.
        """
        [one] = _listed([id])
        return [self._hit(record) for record in self.store.history(one, namespace=self.name)]

    def _hit(self, record: MemoryRecord, similarity: float | None = None, found_by: tuple[str, ...] = ()) -> MemoryHit:
        return MemoryHit(
            id=record.id,
            memory_embeddings=decode_block(record.block, item_id=record.id),
            similarity=similarity,
            text=record.text,
            image=self._pictures.find(record.image),
            metadata=own_metadata(record.metadata),
            created_at=record.created_at,
            truncated=record.truncated,
            updated_at=record.updated_at,
            said_at=record.said_at,
            expires=record.expires,
            supersedes=record.supersedes,
            superseded_by=record.superseded_by,
            found_by=found_by,
        )

    def search(
        self,
        text: str | None = None,
        image: Any = None,
        *,
        k: int = 3,
        where: Filter | None = None,
        min_similarity: float | None = None,
        recency: float = 0.0,
        half_life: timedelta = timedelta(days=30),
        diversity: float = 0.0,
    ) -> list[MemoryHit]:
        """The k items that a text, a picture, or both are about.

        The most similar ones; before them those that hold a code or name by which the text asks (`retrieval.terms`),
        unless many do.

        Args:
            text: A question or description to look for.
            image: A picture to look for: a path, encoded image bytes, or a PIL image.
            k: The largest number of hits.
            where: A filter on metadata and times, in Chroma's operators: see `store.filters.Filter`.
            min_similarity: Items that are less similar are not found, whatever they hold; by default as the memory
                says. -1 finds whatever is nearest.
            recency: How much it counts that an item is new, from 0 (not at all) to 1 (alone), among the 4 k best. What
                has a `said_at` is as old as that.
            half_life: After this time an item counts as half as new.
            diversity: How much it counts that an item is unlike those before it, from 0 to 1, among the 4 k best
                (maximal marginal relevance).

        Returns:
            Hits, best first; `RetrievalKey` says what the similarity is, by which they are not always in order.

        Raises:
            QueryError: Neither text nor image, k below 1, an option out of its range, or an unknown filter operator.
            InvalidItemError: The image cannot be opened.
            CorruptBlockError: A found item's vectors are damaged.
            EncoderMismatchError: Another encoder or retrieval key wrote this collection.
        """
        self._writer.check_encoder()
        if not (text and text.strip()) and image is None:
            raise QueryError("There is nothing to search for. Pass text=..., image=..., or both.")
        _check_k(k)
        check_options(min_similarity=min_similarity, recency=recency, half_life=half_life, diversity=diversity)
        found = find(
            self.store,
            self.key,
            text and repaired(text),
            None if image is None else load_image(image),
            namespace=self.name,
            k=k,
            where=where,
            min_similarity=self._least_similar(min_similarity, in_words=image is None),
            recency=recency,
            half_life=half_life,
            diversity=diversity,
            reranker=self.reranker,
        )
        return [self._hit(one.record, one.similarity, one.found_by) for one in found]

    def _least_similar(self, asked: float | None, *, in_words: bool) -> float | None:
        """The similarity below which nothing is found: as a search asks, as the memory says, or as it was measured."""
        measured = self.key.min_similarity if in_words else None
        return next((least for least in (asked, self.min_similarity, measured) if least is not None), None)

    def scan(self, *, where: Filter | None = None) -> Iterator[MemoryHit]:
        """All items in this namespace, or those that match a filter, ordered by id; few are in memory at a time.

        Raises:
            QueryError: An unknown filter operator.
            CorruptBlockError: An item's vectors are damaged.
        """
        return map(self._hit, itertools.chain.from_iterable(self.store.scan(namespace=self.name, where=where)))

    def count(self, *, where: Filter | None = None) -> int:
        """Items in this namespace, or those that match a filter."""
        return self.store.count(namespace=self.name, where=where)

    def namespaces(self) -> list[str]:
        """The namespaces that hold items, sorted: for whoever opened the memory.

        Raises:
            QueryError: This object is a view that `namespace` gave, which sees no other namespace.
        """
        if self._is_view:
            raise QueryError(
                f"This object sees namespace {self.name!r} alone. Ask the memory that was opened for its namespaces."
            )
        return self.store.namespaces()

    # -- answering ----------------------------------------------------------------------------------------------

    def recall(
        self,
        messages: Sequence[Message],
        *,
        k: int = 3,
        where: Filter | None = None,
        mode: Mode | None = None,
        default_mode: Mode | None = None,
        ids: Sequence[str] | None = None,
        found: Sequence[str] | None = None,
        **options: Unpack[SearchOptions],
    ) -> Recalled:
        """A conversation with the items that go before its next answer: the road of every question to the model.

        Items are, the first that applies: `ids`; those that the messages name (`NamedItems`) and `found`, as far as
        they are still stored and not superseded; the k most similar to text and picture of what the user said last.

        Args:
            messages: The conversation so far, in transformers' form.
            k: Items to search for; 0 searches for nothing.
            where: A filter on the metadata of what is searched for.
            mode: How the items are given; by default as the messages that name them say.
            default_mode: How the items are given where neither `mode` nor a message says so; by default `self.mode`.
            ids: Exactly these items, best first.
            found: Items that were searched for already, best first; then nothing is searched for.
            **options: More of `search`: min_similarity, recency, half_life, diversity.

        Raises:
            QueryError: The messages hold nothing to answer, an unknown mode, or as in `search`.
            ItemNotFoundError: One of `ids` is not stored in this namespace.
            InvalidItemError, CorruptBlockError, EncoderMismatchError: As in `search`.
        """
        self.store.check_open()
        named: list[NamedItems] = [message["named"] for message in messages if "named" in message]
        modes = (mode, *(one.mode for one in reversed(named)), default_mode, self.mode)
        chosen = check_mode(next(one for one in modes if one is not None))
        hits: list[MemoryHit] = []
        if chosen == "none":
            turns = spoken(messages)
        elif ids is not None:
            turns, hits = spoken(messages), self._given(ids, skip_missing=False)
        elif named or found is not None:
            wanted = [id for one in reversed(named) for id in one.ids] + list(found or ())
            hits = self._given(list(dict.fromkeys(wanted)), skip_missing=True)
            turns = spoken(messages, given={hit.id for hit in hits})
        else:
            turns = spoken(messages)
            hits = self.search_turn(turns, k=k, where=where, **options)
        if not turns:
            raise QueryError("The messages hold nothing to answer. Pass at least one with text or a picture.")
        return self.lay_out(turns, hits, chosen)

    def search_turn(
        self, turns: Sequence[Message], *, k: int = 3, where: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[MemoryHit]:
        """The k items that text and picture of what the user said last in a conversation are about.

        Of a prompt that a retrieval chain wrote, its question alone is searched with (`chat.turns.asked_in`). None
        where there is nothing to search with, or k is 0; else as `search`.
        """
        at = question_turn(turns)
        text, picture = ("", None) if at is None else content_of(turns[at])
        text, picture = asked_in(text) if self.key.text else "", picture if self.key.image else None
        if k == 0 or not (text or picture is not None):
            return []
        return self.search(text or None, picture, k=k, where=where, **options)

    def _given(self, ids: Sequence[str], *, skip_missing: bool) -> list[MemoryHit]:
        """Items by id, for a model that reads the vectors of this memory's encoder."""
        self._writer.check_encoder()
        hits = self.get(ids, skip_missing=skip_missing)
        return [hit for hit in hits if hit.superseded_by is None] if skip_missing else hits

    def lay_out(self, messages: Sequence[Message], hits: Sequence[MemoryHit], mode: Mode) -> Recalled:
        """A conversation with given items, best first, in this memory's layout; see `chat.layout`."""
        supports_images = self.backbone.prompts.supports_images
        read = [self._as_encoded(hit) for hit in hits]
        laid_out = lay_out(
            messages,
            read,
            mode,
            text_prompts=self.text_prompts,
            supports_images=supports_images,
            reader_prompt=self.encoder.reader_prompt,
        )
        return replace(laid_out, hits=list(hits))

    def _as_encoded(self, hit: MemoryHit) -> MemoryHit:
        """A hit with as much of its text as the encoder read, so that a long one fits a prompt as well."""
        if not hit.truncated or hit.text is None:
            return hit
        window = self.encoder.encoder_config.max_length
        return replace(hit, text=self.encoder.backbone.prompts.beginning(hit.text, window))

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
            image: A picture to search with, as in `MemoryItem`; shown to a model that takes pictures.
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
        recalled = self._recall_for(question, image, k=k, where=where, mode=mode)
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
        recalled = self._recall_for(question, image, k=k, where=where, mode=mode)
        settings = ChatSettings(max_tokens=max_new_tokens, generation_kwargs=generation_kwargs)
        pieces = self._chat.stream(recalled.messages, recalled.memory, settings, stopped=stopped)
        return (piece for piece in pieces if isinstance(piece, str))

    def prepare(
        self, question: str, image: Any = None, *, k: int = 3, where: Filter | None = None, mode: Mode | None = None
    ) -> tuple[ModelInputs, torch.Tensor | None, list[MemoryHit]]:
        """What `answer` gives to the model: the prompt, the memory (n, H), and the items they come from.

        Raises:
            PromptTooLongError: Question and items leave no room for an answer.
        """
        recalled = self._recall_for(question, image, k=k, where=where, mode=mode)
        prompt = self._chat.prompt(recalled.messages)
        self.backbone.remaining_tokens(prompt, recalled.memory)
        return prompt, recalled.memory, recalled.hits

    def prompt(
        self, question: str, image: Any, hits: Sequence[MemoryHit], mode: Mode
    ) -> tuple[ModelInputs, torch.Tensor | None]:
        """The prompt for a question with given hits, best first, and the memory (n, H) that goes before it."""
        recalled = self.lay_out(self._shown(_asked(question, image)), hits, mode)
        return self._chat.prompt(recalled.messages), recalled.memory

    def _recall_for(self, question: str, image: Any, *, k: int, where: Filter | None, mode: Mode | None) -> Recalled:
        """A question with its memory; a text-only model is not shown the picture that was searched with.

        Raises:
            QueryError: Nothing is asked, there is nothing to search with, or k is below 1.
        """
        turns = _asked(question, image)
        if check_mode(self.mode if mode is None else mode) != "none":
            _check_k(k)
            if not ((question.strip() and self.key.text) or (image is not None and self.key.image)):
                raise QueryError(
                    "There is nothing to search with: this memory's key embeds "
                    f"{'texts' if self.key.text else 'images'} only. Ask with one, or with mode='none'."
                )
        recalled = self.recall(turns, k=k, where=where, mode=mode)
        return replace(recalled, messages=self._shown(recalled.messages))

    def _shown(self, messages: list[Message]) -> list[Message]:
        if self.backbone.prompts.supports_images:
            return messages
        return [turn | {"content": [part for part in parts_of(turn) if part["type"] == "text"]} for turn in messages]

    @property
    def _chat(self) -> Chat:
        return Chat(self.backbone, reuse_prefix=False)

    def describe(self, id: str, *, max_new_tokens: int = 128, **generation_kwargs: Any) -> Description:
        """What an item's vectors say: the frozen model restates it from them alone, beside the stored text.

        Args:
            id: The item.
            max_new_tokens, generation_kwargs: As in `answer`.

        Raises:
            ItemNotFoundError, CorruptBlockError: As in `get`.
            EncoderMismatchError: Another encoder wrote this collection.
        """
        self._writer.check_encoder()
        [hit] = self.get(id)
        prompt = self.backbone.prompts.prompt_inputs([{"role": "user", "content": RESTATE_INSTRUCTION}])
        memory = memory_of([hit], self.encoder.restate_prompt)
        [tokens] = self.backbone.generate([prompt], [memory], max_new_tokens=max_new_tokens, **generation_kwargs)
        return Description(hit.text, self.backbone.decode(tokens))

    # -- moving -------------------------------------------------------------------------------------------------

    def export(self, folder: str | Path, *, progress: bool | None = None) -> int:
        """Writes this namespace to a folder that `load` reads anywhere: vectors, keys, texts and pictures.

        Superseded items are written too, so that loading it restores their history.

        Returns:
            How many items it holds, superseded ones included.

        Raises:
            StoreLocationError: The folder is not empty, or the picture of an item is gone.
            CorruptBlockError: An item's stored vectors are damaged; the message names it.
        """
        total = len(self.store.ids(namespace=self.name, history=True))
        stored = itertools.chain.from_iterable(self.store.scan(namespace=self.name, history=True))
        records = (replace(record, image=self._pictures.find(record.image)) for record in stored)
        with progress_bar("exporting", progress, iterable=records, total=total) as bar:
            return write_folder(Path(folder), self.store.identity, bar)

    def close(self) -> None:
        """Lets go of the directory or server, and of pictures kept for a memory without a directory."""
        if self._is_view:
            return
        self.store.close()
        if self._temporary is not None:
            self._temporary.remove()

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

    async def aadd(self, items: Addable | Iterable[Addable], **kwargs: Any) -> list[str]:
        """`add` in a thread, which goes on when the caller gives up, until the memory is closed."""
        return await run_in_thread(lambda _: self.add(items, **kwargs))

    async def aencode(self, items: Addable | Iterable[Addable], **kwargs: Any) -> EncodedItems:
        """`encode` in a thread."""
        return await run_in_thread(lambda _: self.encode(items, **kwargs))

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

    async def ahistory(self, id: str) -> list[MemoryHit]:
        """`history` in a worker thread."""
        return await asyncio.to_thread(self.history, id)

    async def anamespaces(self) -> list[str]:
        """`namespaces` in a worker thread."""
        return await asyncio.to_thread(self.namespaces)

    async def acount(self, **kwargs: Any) -> int:
        """`count` in a worker thread."""
        return await asyncio.to_thread(self.count, **kwargs)

    async def areencode(self, **kwargs: Any) -> int:
        """`reencode` in a thread, as `aadd`."""
        return await run_in_thread(lambda _: self.reencode(**kwargs))

    async def arekey(self, **kwargs: Any) -> int:
        """`rekey` in a thread, as `aadd`."""
        return await run_in_thread(lambda _: self.rekey(**kwargs))

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


def _check_k(k: Any) -> None:
    if not isinstance(k, int) or k < 1:
        raise QueryError(f"k is {k!r}. Ask for a whole number of items, at least 1.")


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
            raise QueryError(f"{id!r} is not an id: ids are texts. Pass what add() returned.")
    return listed
