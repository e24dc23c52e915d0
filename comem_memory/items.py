"""`ItemMemory`: items of a namespace are added, found, changed and forgotten."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np

from comem_memory.config import Order
from comem_memory.content import repaired
from comem_memory.conversion import Addable, is_one, to_item
from comem_memory.encoder import DeferredEncoder, EncodedItems, MemoryEncoder, encode_items, item_hash
from comem_memory.errors import QueryError
from comem_memory.files import TemporaryFolder, load_image
from comem_memory.passages import PassageRule
from comem_memory.process_bound import ProcessBound
from comem_memory.progress import tracked
from comem_memory.redaction import Redact, redacted
from comem_memory.retrieval import (
    Reranker,
    RetrievalKey,
    SearchOptions,
    check_options,
    check_reranker,
    embed_questions,
)
from comem_memory.store import (
    Filter,
    MemoryRecord,
    MemoryStore,
    PictureFolder,
    Precision,
    Writer,
    decode_block,
    find,
    nearest_passage,
    to_export,
    write_folder,
)
from comem_memory.types import MemoryHit, MemoryItem, Metadata, Page, notes_of, own_metadata


class ItemMemory(ProcessBound):
    """What `ContinuousMemory` does without the model that answers; see there for what it is made of."""

    redact: Redact | None = None
    """Takes out of every text what must not be stored; adapters ask it where they note what was said."""

    def __init__(
        self,
        encoder: MemoryEncoder | DeferredEncoder,
        key: RetrievalKey,
        store: MemoryStore,
        *,
        namespace: str,
        precision: Precision,
        picture_directory: Path | None,
        min_similarity: float | None,
        reranker: Reranker | None,
        redact: Redact | None = None,
    ) -> None:
        check_options(min_similarity=min_similarity)
        check_reranker(reranker)
        self._encoder, self.key, self.store = encoder, key, store
        self.min_similarity, self.reranker, self.redact = min_similarity, reranker, redact
        self._pictures = PictureFolder(picture_directory)
        self._writer = Writer(
            encoder, key, store, self._pictures, namespace=namespace, precision=precision, redact=redact
        )
        self._temporary: TemporaryFolder | None = None
        self._is_view = False

    @property
    def encoder(self) -> MemoryEncoder:
        """Makes the vectors; where another process answers, it is loaded when it is first needed."""
        return self._encoder.loaded if isinstance(self._encoder, DeferredEncoder) else self._encoder

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
        return self._encoder.prompts.supports_images and self._pictures.folder is not None

    @property
    def order(self) -> Order:
        """In which order a model reads recalled items, as this memory's encoder was trained."""
        return self._encoder.encoder_config.order

    @property
    def source(self) -> object:
        """What keeps the items: the same object for all that see one store, whatever their namespace."""
        return self.store

    def namespace(self, name: str, *, precision: Precision | None = None) -> Self:
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

    def _not_pickled(self) -> str:
        return (
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
            InvalidItemError: A picture cannot be opened, or an item has nothing that the retrieval key embeds, or has
                passages, each of which is to be encoded as an item of its own.
            ItemTooLongError: A text exceeds the encoder's window, and not `truncate`.
        """
        given: Iterable[Any] = [items] if is_one(items) else items  # type: ignore[assignment]
        clean = (redacted(to_item(one), self.redact) for one in given)
        return encode_items(clean, self._encoder, self.key, truncate=truncate, batch_size=batch_size)

    def add(
        self,
        items: Addable | Iterable[Addable],
        *,
        truncate: bool = False,
        passages: PassageRule | None = None,
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
                text, a `Trajectory`, a document of LangChain, or a document or node of LlamaIndex, whose id it gets.
            truncate: Encode the beginning of texts, or passages, that are too long; hits then say `truncated`.
            passages: Give each passage of a text vectors of its own, of which a question gets those of the passage that
                it is about; the item stays one. A passage is a "sentence", or what a function from a text to its
                passages gives; in front of it stands what the text is about (`passages.in_passages`). An item of
                several parts, or of a single passage, stays as it is without, and so does what is stored already:
                `update` cuts that.
            batch_size: Items, or passages, per forward pass of the encoder.
            progress: Show a bar; by default on a terminal, elsewhere a line every few seconds of the logger
                `comem_memory.progress`.

        Returns:
            The ids, in the order given.

        Raises:
            InvalidItemError: A picture cannot be opened, or something cannot be added or stored; or `passages` is no
                rule.
            ItemTooLongError: A text, or one of its passages, exceeds the encoder's window, and not `truncate`.
            DuplicateIdError: Two items of this call have the same id but different content.
            ItemNotFoundError: An item supersedes one that is neither stored nor stands before it in this call.
            EncoderMismatchError: Another encoder or retrieval key wrote this collection.
        """
        return self._writer.add(items, truncate=truncate, passages=passages, batch_size=batch_size, progress=progress)

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
        """Changes a stored item; it is encoded again if its text, image or content changes.

        Its `created_at` stays, and its `updated_at` is now. What it said before is gone; an item that `supersedes` it
        keeps it as history.

        Args:
            id: The id of the item.
            text: The new text; `None` keeps the old one. It takes the place of all of a history's message.
            image: The new picture; `None` keeps the old one.
            content: The new content, as in `MemoryItem`; then text and image, unless they are given, are its own. An
                item that has content takes a new text or image only with it.
            metadata: The new metadata, instead of all the old; `None` keeps these.
            thin: Whether steps of the new content may be left out, as in `MemoryItem`; `None` if some of the old are.
            truncate: Encode the beginning of a text that is too long; hits then say `truncated`.
            passages: Cut its text into passages, as in `add`. The new text of an item in passages is cut into
                sentences if nothing else is said.

        Raises:
            ItemNotFoundError: There is no such item in this namespace.
            InvalidItemError: The picture cannot be opened, neither text nor picture is left, or the item has content,
                which text and image alone would not replace.
            ItemTooLongError: The text exceeds the encoder's window, and not `truncate`.
            EncoderMismatchError: Another encoder or retrieval key wrote this collection.
        """
        self._writer.update(
            id,
            text=text,
            image=image,
            content=content,
            metadata=metadata,
            thin=thin,
            truncate=truncate,
            passages=passages,
        )

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
        return self._delete(None if ids is None else listed(ids), where)

    def _delete(self, ids: list[str] | None, where: Filter | None) -> int:
        return self._writer.delete(ids=ids, where=where)

    def postpone(self, ids: Sequence[str], duration: timedelta) -> None:
        """Has items expire when a duration from now has passed: those alone that are to expire and have not yet."""
        self.store.postpone(ids, duration, namespace=self.name)

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

    def load(self, folders: str | Path | Iterable[str | Path], *, progress: bool | None = None) -> int:
        """Adds what `export` or `comem_memory.ray.encode` wrote to this namespace, history included.

        The vectors travel, nothing is encoded again. Of an item that is stored already the one that was changed last
        stays, so folders may be loaded in any order and again, and a load that was stopped goes on. An item that was
        added without an id is the stored item of the same content, as in `add`.

        A memory without a directory (on a server, without `persist_directory`) refers to the pictures in the folders.

        Args:
            folders: A folder, a folder of such folders, or several of both.
            progress: Show a bar; by default on a terminal.

        Returns:
            How many items they hold.

        Raises:
            StoreLocationError: A folder is not an export, before anything is stored; or it is damaged.
            EncoderMismatchError: Another encoder or retrieval key made one, before anything is stored.
        """
        return self._writer.load(folders, progress=progress)

    # -- reading ------------------------------------------------------------------------------------------------

    def get(
        self, ids: str | Sequence[str], *, skip_missing: bool = False, question: str | None = None
    ) -> list[MemoryHit]:
        """Items by id, in the order asked; superseded ones too, which then say `superseded_by`.

        Args:
            ids: One id, or several.
            skip_missing: Leave out ids that are not stored.
            question: Of an item in passages, give the vectors of the passage that this is about, of a blank one the
                first passage's; by default those of all.

        Raises:
            ItemNotFoundError: An id is not stored in this namespace, and not `skip_missing`.
            QueryError: An id is not a text.
            CorruptBlockError: An item's stored vectors are damaged.
        """
        read = self.store.get if skip_missing else self.store.require
        records = read(listed(ids), namespace=self.name)
        asked = self._asked(question) if any(record.passages for record in records) else None
        return [self._hit(record, passage=nearest_passage(record, asked)) for record in records]

    def _asked(self, question: str | None) -> np.ndarray | None:
        """What a question's passages are chosen with; zeros where none is more similar than another."""
        if question is None:
            return None
        if self.key.text is None or not question.strip():
            return np.zeros(self.key.dimension, np.float32)
        return self.key.query_key(repaired(question))

    def history(self, id: str) -> list[MemoryHit]:
        """An item with those that it superseded and that superseded it, directly or not, oldest first.

        Args:
            id: The id of any of them.

        Raises:
            ItemNotFoundError: The id is not stored in this namespace.
            QueryError: The id is not a text.
            CorruptBlockError: An item's stored vectors are damaged.
        """
        [one] = listed([id])
        return [self._hit(record) for record in self.store.history(one, namespace=self.name)]

    def ids(self, *, where: Filter | None = None, history: bool = False) -> list[str]:
        """The ids of all items, or of those that match a filter, sorted; nothing else is read.

        Args:
            where: A filter on metadata and times, as in `search`.
            history: Those of superseded items too.

        Raises:
            QueryError: An unknown filter operator.
        """
        return self.store.ids(namespace=self.name, where=where, history=history)

    def newest(self, *, limit: int = 20, offset: int = 0, where: Filter | None = None) -> Page[MemoryHit]:
        """The items that were stored last, newest first, or of those that match a filter; `total` says how many do.

        Args:
            limit: How many items at most.
            offset: How many newer ones to pass over: those of the pages before.
            where: A filter on metadata and times, as in `search`.

        Raises:
            QueryError: A limit below 1, an offset below 0, or an unknown filter operator.
            CorruptBlockError: An item's stored vectors are damaged.
        """
        check_page(limit, offset)
        found = self.store.newest(namespace=self.name, limit=limit, offset=offset, where=where)
        return Page(map(self._hit, found), found.total)

    def same_content(self, items: Sequence[MemoryItem]) -> list[list[str]]:
        """For each item, the ids of what is stored with the same text and image, superseded ones too.

        Raises:
            InvalidItemError: A picture cannot be opened.
        """
        hashes = [item_hash(redacted(item, self.redact)) for item in items]
        stored = self.store.same_content(hashes, namespace=self.name)
        return [[one.id for one in stored if one.content_hash == wanted] for wanted in hashes]

    def _hit(
        self,
        record: MemoryRecord,
        similarity: float | None = None,
        found_by: tuple[str, ...] = (),
        passage: int | None = None,
        of_texts: float | None = None,
    ) -> MemoryHit:
        vectors = decode_block(record.block, item_id=record.id)
        if passage is not None:
            vectors = vectors.unflatten(0, (len(record.passages), -1))[passage].clone()
        return MemoryHit(
            id=record.id,
            memory_embeddings=vectors,
            similarity=similarity,
            text=record.text,
            image=self._pictures.find(record.image),
            metadata=own_metadata(record.metadata),
            notes=notes_of(record.metadata),
            created_at=record.created_at,
            truncated=record.truncated,
            updated_at=record.updated_at,
            said_at=record.said_at,
            expires=record.expires,
            supersedes=record.supersedes,
            superseded_by=record.superseded_by,
            found_by=found_by,
            content=self._pictures.content(record),
            left_out=record.left_out,
            passages=record.passages,
            passage=passage,
            similarity_of_texts=of_texts,
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
        candidates: int | None = None,
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
                says. -1 finds whatever is nearest, also what the reranker would leave out.
            recency: How much it counts that an item is new, from 0 (not at all) to 1 (alone), among the candidates.
                What has a `said_at` is as old as that.
            half_life: After this time an item counts as half as new.
            diversity: How much it counts that an item is unlike those before it, from 0 to 1, among the candidates
                (maximal marginal relevance).
            candidates: The most similar items, of which the k are chosen where recency, diversity or a reranker
                decide; by default 4 k, and never fewer than k.

        Returns:
            Hits, best first; `RetrievalKey` says what the similarity is, by which they are not always in order.

        Raises:
            QueryError: Neither text nor image, k below 1, an option out of its range, or an unknown filter operator.
            InvalidItemError: The image cannot be opened.
            CorruptBlockError: A found item's vectors are damaged.
            EncoderMismatchError: Another encoder or retrieval key wrote this collection.
        """
        self._writer.check_encoder()
        check_searched(text, image, k)
        options: SearchOptions = {
            "min_similarity": min_similarity,
            "recency": recency,
            "half_life": half_life,
            "diversity": diversity,
            "candidates": candidates,
        }
        check_options(**options)
        options["min_similarity"] = self._least_similar(min_similarity, in_words=image is None)
        found = find(
            self.store,
            self.key,
            text and repaired(text),
            None if image is None else load_image(image),
            namespace=self.name,
            k=k,
            where=where,
            reranker=self.reranker,
            **options,
        )
        return [self._hit(one.record, one.similarity, one.found_by, one.passage, one.of_texts) for one in found]

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

    def embed(self, texts: Sequence[str], *, questions: bool = False) -> np.ndarray:
        """Vectors of texts, as the retrieval key compares them.

        Args:
            texts: n texts.
            questions: As what is asked for rather than as what is stored, where the embedder tells them apart.

        Returns:
            (n, dimension) float32, rows of unit length.

        Raises:
            QueryError: This memory's key embeds pictures only.
        """
        if self.key.text is None:
            raise QueryError("This memory's key embeds images only. Open it with a key=... that embeds texts.")
        whole = [repaired(text) for text in texts]
        return embed_questions(self.key.text, whole) if questions else self.key.text.embed(whole)

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
        return self._namespaces()

    def namespaces_below(self) -> list[str]:
        """The namespaces that hold items and whose names begin with this one's and a slash, sorted."""
        return [name for name in self._namespaces() if name.startswith(f"{self.name}/")]

    def _namespaces(self) -> list[str]:
        return self.store.namespaces()

    def next_moment(self) -> int:
        """When something that is stored now is created, in microseconds since 1970, UTC: later than all that is."""
        return self.store.next_moment()

    # -- moving -------------------------------------------------------------------------------------------------

    def export(self, folder: str | Path, *, where: Filter | None = None, progress: bool | None = None) -> int:
        """Writes this namespace to a folder that `load` reads anywhere: vectors, keys, texts and pictures.

        Superseded items are written too, so that loading it restores their history.

        Args:
            folder: A new folder, or an empty one.
            where: A filter on metadata and times, as in `search`: only what matches is written.
            progress: Show a bar; by default on a terminal.

        Returns:
            How many items it holds, superseded ones included.

        Raises:
            QueryError: An unknown filter operator.
            StoreLocationError: The folder is not empty, or the picture of an item is gone.
            CorruptBlockError: An item's stored vectors are damaged; the message names it.
        """
        total = len(self.store.ids(namespace=self.name, where=where, history=True))
        records = to_export(self.store, self._pictures, namespace=self.name, where=where)
        with closing(tracked(records, "exporting", progress, total=total)) as shown:
            return write_folder(Path(folder), self.store.identity, shown)

    def close(self) -> None:
        """Lets go of the directory or server, and of pictures kept for a memory without a directory."""
        if self._is_view:
            return
        self.store.close()
        if self._temporary is not None:
            self._temporary.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_searched(text: str | None, image: Any, k: Any) -> None:
    """
    Raises:
        QueryError: There is nothing to search for, or k is below 1.
    """
    if not (text and text.strip()) and image is None:
        raise QueryError("There is nothing to search for. Pass text=..., image=..., or both.")
    check_k(k)


def check_k(k: Any) -> None:
    """
    Raises:
        QueryError: k is no number of items.
    """
    if not isinstance(k, int) or k < 1:
        raise QueryError(f"k is {k!r}. Ask for a whole number of items, at least 1.")


def check_page(limit: Any, offset: Any) -> None:
    """
    Raises:
        QueryError: They are no numbers of items.
    """
    if not isinstance(limit, int) or limit < 1 or not isinstance(offset, int) or offset < 0:
        raise QueryError(
            f"limit is {limit!r} and offset {offset!r}. Ask for whole numbers of items, at least 1 and at least 0."
        )


def listed(ids: str | Iterable[str]) -> list[str]:
    """One id or several as a list.

    Raises:
        QueryError: One of them is not a text.
    """
    several = [ids] if isinstance(ids, str) or not isinstance(ids, Iterable) else list(ids)
    for id in several:
        if not isinstance(id, str):
            raise QueryError(f"{id!r} is not an id: ids are texts. Pass what add() returned.")
    return [repaired(id) for id in several]
