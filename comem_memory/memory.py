"""`ContinuousMemory`: add items, find them again, and have the frozen model answer from their vectors."""

from __future__ import annotations

import asyncio
import copy
import itertools
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from PIL import Image

from comem_memory.config import Mode
from comem_memory.encoder.memory_encoder import MemoryEncoder
from comem_memory.errors import EncoderMismatchError, QueryError
from comem_memory.files.images import load_image
from comem_memory.model.backbone import Backbone
from comem_memory.model.prompts import RESTATE_INSTRUCTION, ModelInputs, prompt_length
from comem_memory.model.text_prompts import PromptItem, retrieval_content
from comem_memory.opening import check_hidden_size, load_encoder, open_key, open_store
from comem_memory.retrieval import PROBE, RetrievalKey
from comem_memory.store import (
    ChromaStore,
    Filter,
    MemoryRecord,
    MemoryStore,
    PictureFolder,
    Precision,
    Writer,
    decode_block,
    identity_of,
    progress_bar,
    write_folder,
)
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


def memory_of(hits: Sequence[MemoryHit]) -> torch.Tensor | None:
    """The vectors of hits, best first, in one (n, H): the best last, next to the question (the authors' order)."""
    return torch.cat([hit.memory_embeddings for hit in reversed(hits)]) if hits else None


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
    ) -> None:
        self.encoder, self.key, self.store = encoder, key, store
        self.backbone = backbone or encoder.backbone
        check_hidden_size(encoder, self.backbone)
        self._pictures = PictureFolder(picture_directory)
        self._writer = Writer(encoder, key, store, self._pictures, namespace=namespace, precision=precision)
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
        key: RetrievalKey | str | Path | None = None,
        precision: Precision = "int8",
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
            key: how items are found: hub name or folder of a CLIP or SigLIP model, which embeds texts and pictures, or
                of a sentence-transformers model for texts, beside EfficientNet-Lite0 for pictures; or a `RetrievalKey`
                of any embedders. By default all-MiniLM-L6-v2 and EfficientNet-Lite0, which need no model hub.
            precision: of the stored vectors.
            reencode: if another encoder wrote this collection, encode its items again instead of refusing.
            **model_kwargs: for loading the models (`dtype`, `device_map`, `quantization_config`, ...); `revision` is
                the base model's.

        Raises:
            AdapterError: a model without an adapter, or one that does not fit the model.
            CheckpointError: an adapter that is neither a folder nor on the hub, or a checkpoint that does not tell its
                base model or cannot be converted.
            ModelError: there is no such model, the answering model has another hidden size, or the key's model is none
                of those named there.
            EncoderMismatchError: another encoder or retrieval key wrote this collection, and not `reencode`.
            StoreLocationError, StoreInUseError: the directory or server cannot be opened.
            DownloadError: the embedded default's public weights cannot be fetched.
        """
        if persist_directory is not None and chroma_url is None:
            ChromaStore.check_location(persist_directory)  # before weights load
        if key is not None:
            key = open_key(key)
        encoder = load_encoder(model, adapter, model_kwargs)
        backbone = encoder.backbone
        if answering_model is not None:
            others = {name: value for name, value in model_kwargs.items() if name != "revision"}
            backbone = Backbone.from_pretrained(answering_model, **others)
            check_hidden_size(encoder, backbone)  # before the store opens
        key = open_key(key)
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
        )
        memory._temporary, memory._writer.identity = temporary, identity
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

        Closing it leaves the memory open, so keep that too; who needs one namespace alone opens the memory with it.

        Args:
            name: of the tenant, user or agent.
            precision: of the vectors that are added there, by default this memory's.

        Raises:
            QueryError: the name is not a text, empty or has characters that cannot be printed.
        """
        view = copy.copy(self)
        view._writer = self._writer.for_namespace(name, precision)
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

        Args:
            id: the item.
            text, image, metadata: the new values; `None` keeps the old one.
            truncate: as in `add`.

        Raises:
            ItemNotFoundError: no such item in this namespace.
            InvalidItemError, ItemTooLongError, EncoderMismatchError: as in `add`.
        """
        self._writer.update(id, text=text, image=image, metadata=metadata, truncate=truncate)

    def delete(self, *, ids: str | Sequence[str] | None = None, where: Filter | None = None) -> int:
        """Deletes items by id, by a filter on their metadata, or by both; returns how many.

        Raises:
            QueryError: neither ids nor a filter that filters (`clear` deletes everything), an id that is not a text, or
                an unknown operator.
        """
        if ids is None and not where:
            raise QueryError("delete() needs ids or where. To delete everything in this namespace, call clear().")
        return self._writer.delete(ids=None if ids is None else _listed(ids), where=where)

    def clear(self) -> int:
        """Deletes everything in this namespace; returns how many items that were."""
        return self._writer.delete()

    def reencode(self, *, batch_size: int = 16, progress: bool | None = None) -> int:
        """Encodes every item of every namespace again with this encoder and retrieval key.

        Resumes where an interrupted run stopped. Until the end the collection is the old one, whole; then it is
        the new one, whole. Texts are cut where needed, as they were when they were added.

        Returns:
            how many items this run encoded.

        Raises:
            InvalidItemError: a stored picture's file is gone; the message names the item.
        """
        return self._writer.reencode(batch_size=batch_size, progress=progress)

    def load(self, folder: str | Path, *, progress: bool | None = None) -> int:
        """Adds what `export` wrote to this namespace; the vectors travel, nothing is encoded again.

        A memory without a directory (on a server, without `persist_directory`) refers to the pictures in the folder.

        Returns:
            how many items it holds.

        Raises:
            StoreLocationError: the folder is not an export, or damaged.
            EncoderMismatchError: another encoder or retrieval key made it.
        """
        return self._writer.load(folder, progress=progress)

    def _check_encoder(self) -> None:
        self._writer.check_encoder()

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, ids: str | Sequence[str], *, skip_missing: bool = False) -> list[MemoryHit]:
        """Items by id, in the order asked.

        Args:
            ids: one or many.
            skip_missing: leave out ids that are not stored.

        Raises:
            ItemNotFoundError: an id is not stored in this namespace, and not `skip_missing`.
            QueryError: an id is not a text.
            CorruptBlockError: an item's stored vectors are damaged.
        """
        read = self.store.get if skip_missing else self.store.require
        return [self._hit(record) for record in read(_listed(ids), namespace=self.name)]

    def _hit(self, record: MemoryRecord, similarity: float | None = None) -> MemoryHit:
        return MemoryHit(
            id=record.id,
            memory_embeddings=decode_block(record.block, item_id=record.id),
            similarity=similarity,
            text=record.text,
            image=self._pictures.find(record.image),
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
            return self.store.nearest_similarities(key, namespace=self.name, k=PROBE, where=where)

        key = self.key.query_key(text, None if image is None else load_image(image), best=best)
        found = self.store.search(key, namespace=self.name, k=k, where=where)
        return [self._hit(record, similarity) for record, similarity in found]

    def scan(self, *, where: Filter | None = None) -> Iterator[MemoryHit]:
        """All items in this namespace, or those that match a filter, ordered by id; few are in memory at a time.

        Raises:
            QueryError: an unknown filter operator.
            CorruptBlockError: an item's vectors are damaged.
        """
        return map(self._hit, itertools.chain.from_iterable(self.store.scan(namespace=self.name, where=where)))

    def count(self, *, where: Filter | None = None) -> int:
        """Items in this namespace, or those that match a filter."""
        return self.store.count(namespace=self.name, where=where)

    # -- answering ----------------------------------------------------------------------------------------------

    def answer(
        self,
        question: str,
        image: Any = None,
        *,
        k: int = 3,
        where: Filter | None = None,
        mode: Mode = "memory",
        max_new_tokens: int = 64,
        **generation_kwargs: Any,
    ) -> Answer:
        """Recalls k items and has the frozen model answer.

        Args:
            question, image: what to ask, and to search with.
            k, where: as in `search`.
            mode: `memory` puts the items' vectors before the prompt, `text` their texts and pictures into it (plain
                retrieval-augmented prompting), `both` does both, `none` asks the bare model.
            max_new_tokens: longest answer.
            **generation_kwargs: as in `Backbone.generate`.

        Raises:
            QueryError: an unknown mode, or as in `search`.
            PromptTooLongError: question and items leave no room for an answer.
            InvalidItemError, CorruptBlockError, EncoderMismatchError: as in `search`.
        """
        prompt, memory, hits = self.prepare(question, image, k=k, where=where, mode=mode)
        tokens = self.backbone.generate([prompt], [memory], max_new_tokens=max_new_tokens, **generation_kwargs)
        text = self.backbone.decode(tokens[0])
        return Answer(text, hits, prompt_length(prompt, memory))

    def stream(
        self,
        question: str,
        image: Any = None,
        *,
        k: int = 3,
        where: Filter | None = None,
        mode: Mode = "memory",
        max_new_tokens: int = 64,
        **generation_kwargs: Any,
    ) -> Iterator[str]:
        """Like `answer`, yielding text as it is made; items are recalled, and errors raised, before it returns."""
        prompt, memory, _ = self.prepare(question, image, k=k, where=where, mode=mode)
        return self.backbone.stream(prompt, memory, max_new_tokens=max_new_tokens, **generation_kwargs)

    def prepare(
        self, question: str, image: Any = None, *, k: int = 3, where: Filter | None = None, mode: Mode = "memory"
    ) -> tuple[ModelInputs, torch.Tensor | None, list[MemoryHit]]:
        """What `answer` gives to the model: the prompt, the memory (n, H), and the items they come from.

        The most relevant item comes last, next to the question (the authors' inference order).

        Raises:
            PromptTooLongError: they leave no room for an answer.
        """
        if mode not in get_args(Mode):
            raise QueryError(f"mode is {mode!r}. Use one of {', '.join(get_args(Mode))}.")
        picture = None if image is None else load_image(image)
        hits = [] if mode == "none" else self.search(question, picture, k=k, where=where)
        prompt, memory = self.prompt(question, picture, hits, mode)
        self.backbone.remaining_tokens(prompt, memory)
        return prompt, memory, hits

    def prompt(
        self, question: str, picture: Image.Image | None, hits: Sequence[MemoryHit], mode: Mode
    ) -> tuple[ModelInputs, torch.Tensor | None]:
        """The prompt for a question with given hits, best first, and the memory (n, H) that goes before it."""
        items = [PromptItem(hit.text, hit.image) for hit in reversed(hits)] if mode in ("text", "both") else []
        content = retrieval_content(question, items, picture, supports_images=self.backbone.prompts.supports_images)
        prompt = self.backbone.prompts.prompt_inputs([{"role": "user", "content": content}])
        return prompt, memory_of(hits) if mode in ("memory", "both") else None

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
        stored = itertools.chain.from_iterable(self.store.scan(namespace=self.name))
        records = (replace(record, image=self._pictures.find(record.image)) for record in stored)
        with progress_bar("exporting", progress, iterable=records, total=self.count()) as bar:
            return write_folder(Path(folder), self.store.identity, bar)

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


def _listed(ids: str | Iterable[str]) -> list[str]:
    listed = [ids] if isinstance(ids, str) or not isinstance(ids, Iterable) else list(ids)
    for id in listed:
        if not isinstance(id, str):
            raise QueryError(f"{id!r} is not an id: ids are texts. Pass what add() returned.")
    return listed
