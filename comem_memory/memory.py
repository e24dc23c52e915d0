"""`ContinuousMemory`: items as vectors, from which the frozen model answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from comem_memory.answers import Answer, Description, MemoryInfo, Replied
from comem_memory.asynchronous import AsyncTwins
from comem_memory.chat import (
    Chat,
    ChatSettings,
    NamedItems,
    Recalled,
    Reply,
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
from comem_memory.encoder import DeferredEncoder, MemoryEncoder
from comem_memory.errors import EncoderMismatchError, QueryError
from comem_memory.files import TemporaryFolder, load_image
from comem_memory.items import ItemMemory, check_k
from comem_memory.model import (
    DEFAULT_TEXT_PROMPTS,
    RESTATE_INSTRUCTION,
    AnsweringModel,
    Message,
    check_text_prompt,
)
from comem_memory.opening import (
    LATE_INTERACTION,
    check_hidden_size,
    find_store,
    key_of,
    open_key,
    open_models,
    open_reranker,
    open_store,
)
from comem_memory.redaction import Redact
from comem_memory.retrieval import (
    Reranker,
    RetrievalKey,
    SearchOptions,
    check_margin,
    check_options,
    check_reranker,
    near_first,
)
from comem_memory.store import ChromaServer, ChromaStore, Filter, MemoryStore, Precision, identity_of
from comem_memory.types import MemoryHit

if TYPE_CHECKING:
    from comem_memory.integrations.langchain import ComemRetriever as LangChainRetriever
    from comem_memory.integrations.llama_index import ComemRetriever as LlamaIndexRetriever


class RecallOptions(SearchOptions, total=False):
    """How `ContinuousMemory.recall` comes by the items that go before an answer."""

    k: int
    where: Filter | None
    mode: Mode | None
    default_mode: Mode | None
    ids: Sequence[str] | None
    found: Sequence[str] | None


class ContinuousMemory(ItemMemory, AsyncTwins):
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
        margin: Of the items that are found for a question, the model is given those that are at most so much less
            similar than the first (`near_first`); by default as the encoder says (`EncoderConfig.margin`), 2 gives all.
        reranker: Orders what is found for a question by its own judgement, for instance sentence-transformers'
            `CrossEncoder`; at least 4 k items are shown to it. What it gives less than its `min_score`, where it has
            one, is not found.
        redact: From a text to the same text without what must not be stored: passwords, addresses. Every text of an
            item, its metadata and what adapters note with it goes through it before it is hashed, encoded or stored;
            where it raises, nothing of the item is. Pictures, ids and names of metadata do not, nor what `load` reads.

    Examples:
        >>> memory = ContinuousMemory.from_pretrained()                                        # doctest: +SKIP
        >>> memory.add(MemoryItem(text="The blue door opens with the brass key."))             # doctest: +SKIP
        >>> print(memory.answer("What opens the blue door?"))                                  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: MemoryEncoder | DeferredEncoder,
        key: RetrievalKey,
        store: MemoryStore,
        *,
        backbone: AnsweringModel[Any] | None = None,
        namespace: str = "default",
        precision: Precision = "int8",
        picture_directory: Path | None = None,
        mode: Mode | None = None,
        text_prompt: str | None = None,
        min_similarity: float | None = None,
        margin: float | None = None,
        reranker: Reranker | None = None,
        redact: Redact | None = None,
    ) -> None:
        super().__init__(
            encoder,
            key,
            store,
            namespace=namespace,
            precision=precision,
            picture_directory=picture_directory,
            min_similarity=min_similarity,
            reranker=reranker,
            redact=redact,
        )
        self.backbone: AnsweringModel[Any] = backbone or self.encoder.backbone
        check_hidden_size(encoder, self.backbone)
        self.mode: Mode = check_mode(encoder.encoder_config.recommended_mode if mode is None else mode)
        check_margin(margin)
        self.margin = encoder.encoder_config.margin if margin is None else margin
        own = None if text_prompt is None else check_text_prompt(text_prompt)
        self.text_prompts: Mapping[Mode, str] = {mode: own or text for mode, text in DEFAULT_TEXT_PROMPTS.items()}
        self._conversations = Chat(self.backbone)

    @classmethod
    def from_pretrained(
        cls,
        model: str | None = None,
        adapter: str | Path | None = None,
        persist_directory: str | Path | None = None,
        *,
        answering_model: str | None = None,
        answering_url: str | None = None,
        answering_token: str | None = None,
        namespace: str = "default",
        chroma_url: str | ChromaServer | None = None,
        collection_name: str = "comem",
        key: RetrievalKey | str | Path | None = None,
        precision: Precision = "int8",
        mode: Mode | None = None,
        text_prompt: str | None = None,
        min_similarity: float | None = None,
        margin: float | None = None,
        reranker: Reranker | str | None = None,
        redact: Redact | None = None,
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
            answering_url: A vLLM server that runs the model that answers, e.g. `http://localhost:8000/v1`:
                docs/guides/vllm.md says how to start it. This process then loads the encoder alone, and that only when
                something is added. vLLM takes vectors from trusted clients only: whoever reaches the server can bring
                it down with them.
            answering_token: The server's API key, if it has one.
            namespace: See `namespace`.
            chroma_url: Keep the data in this Chroma server instead, e.g. `http://localhost:8000`, or a `ChromaServer`
                with a token, tenant, database, ...;
                `persist_directory` then holds only pictures that were added without a path.
            collection_name: One memory of several in a directory or server.
            key: How items are found: hub name or folder of a CLIP or SigLIP model, which embeds texts and pictures, or
                of a sentence-transformers model for texts, beside EfficientNet-Lite0 for pictures; `concatenated:` and
                the name of a CLIP model for the key of CoMEM's agents; or a `RetrievalKey` of any embedders.
                "multilingual-e5-small", the default, and "all-MiniLM-L6-v2", for English, need no model hub. A memory
                that was written with all-MiniLM-L6-v2, the default up to version 0.1.0, is opened with it by default.
            precision: How the vectors are stored; see `codec`.
            mode: How recalled items are given to the model; by default as the adapter recommends.
            text_prompt: A layout of your own for texts and question, with `{context}` and `{question}`.
            min_similarity: What is less similar to a question is not found; by default as the key was measured.
            margin: Of the items that are found for a question, the model is given those that are at most so much less
                similar than the first; by default as the adapter says, 2 gives all.
            reranker: Orders what is found: "late-interaction", which comes with the default key and reads the
                candidates once more (docs/guides/retrieval.md), or for instance sentence-transformers' `CrossEncoder`.
            redact: Takes out of every text what must not be stored, before anything is made of it.
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
            ModelError: There is no such model, the answering model has another hidden size, the key's model is none of
                those named there or not what the reranker reads with, or the server of `answering_url` serves another
                model.
            ModelConnectionError: The server of `answering_url` does not answer, or does not take the token.
            EncoderMismatchError: Another encoder wrote this collection, and not `reencode`; or another retrieval key,
                and neither `reencode` nor `rekey`.
            QueryError: The reranker is neither this name nor something that can judge, or its `min_score` is no number.
            StoreLocationError, StoreInUseError: The directory or server cannot be opened.
            ForkedProcessError: This process is a fork of one that opened a memory.
            DownloadError: The embedded default's public weights cannot be fetched.
        """
        if mode is not None:
            check_mode(mode)
        if text_prompt is not None:
            check_text_prompt(text_prompt)
        check_options(min_similarity=min_similarity)
        check_margin(margin)
        check_reranker(reranker, names=[LATE_INTERACTION])
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
            encoder, backbone = open_models(
                model, adapter, answering_model, answering_url, answering_token, model_kwargs
            )
            key = open_key(key)
            reranker = open_reranker(reranker, key)
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
                pictures = ChromaStore.picture_directory(persist_directory, collection_name)
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
                margin=margin,
                reranker=reranker,
                redact=redact,
            )
            memory._temporary, memory._writer.identity = temporary, identity
            if not store.identity.matches(identity):
                if reencode:
                    memory.reencode()
                else:
                    memory.rekey()
            opened.pop_all()
        return memory

    @classmethod
    def connect(
        cls, url: str, token: str | None = None, *, namespace: str | None = None, timeout: float = 300.0
    ) -> ContinuousMemory:
        """The memory of a server (`comem serve`), with the methods of one that is opened here; no model is loaded.

        Args:
            url: Where the server is, as `https://memory.example.org`.
            token: What it knows the caller by, as `comem token` printed it; a server of this machine may want none.
            namespace: See `namespace`; by default the first that the token opens.
            timeout: Seconds that the server may be silent while it answers.

        Raises:
            StoreConnectionError: The server does not answer.
            TokenError: It wants a token, or does not know this one.
            AccessError: The token does not open the namespace.
            QueryError: The URL or the namespace cannot be one.
        """
        from comem_memory.client import connect  # which builds on this class

        return connect(url, token, namespace=namespace, timeout=timeout)

    @property
    def info(self) -> MemoryInfo:
        """What it answers and searches with."""
        return MemoryInfo(
            model=self.backbone.name,
            context_window=self.backbone.max_length,
            reads_pictures=self.backbone.prompts.supports_images,
            text_embedder=None if self.key.text is None else self.key.text.name,
            image_embedder=None if self.key.image is None else self.key.image.name,
        )

    def token_ids(self, text: str) -> list[int]:
        """The tokens of a text, as the model that answers reads it."""
        return self.backbone.prompts.text_ids(text)

    # -- answering ----------------------------------------------------------------------------------------------

    def reply(
        self,
        messages: Sequence[Message],
        settings: ChatSettings | None = None,
        *,
        stopped: threading.Event | None = None,
        **recalling: Unpack[RecallOptions],
    ) -> Replied:
        """A conversation's next turn, with the items that `recall` gives it.

        What it shares with the conversation that was answered before it is not read again.

        Args:
            messages: The conversation so far, in transformers' form.
            settings: How to answer.
            stopped: Ends the answer at the next token when it is set.
            **recalling: Which items, and how they are given, as in `recall`.

        Raises:
            PromptTooLongError: Conversation and items leave no room for an answer.
            GrammarError: The schema cannot be enforced, or `tool_choice` names no tool.
            ModelError: The model's chat template refuses the conversation.
            QueryError, ItemNotFoundError, InvalidItemError, CorruptBlockError, EncoderMismatchError: As in `recall`.
        """
        recalled = self.recall(messages, **recalling)
        reply = self._conversations.reply(recalled.messages, recalled.memory, settings, stopped=stopped)
        return Replied(reply, recalled.hits)

    def stream_reply(
        self,
        messages: Sequence[Message],
        settings: ChatSettings | None = None,
        *,
        stopped: threading.Event | None = None,
        **recalling: Unpack[RecallOptions],
    ) -> Iterator[str | Replied]:
        """Like `reply`, yielding text as it is made and then all of it; items are recalled, and errors raised, before
        it returns."""
        recalled = self.recall(messages, **recalling)
        pieces = self._conversations.stream(recalled.messages, recalled.memory, settings, stopped=stopped)
        return (piece if isinstance(piece, str) else Replied(piece, recalled.hits) for piece in pieces)

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
        they are still stored and not superseded; the k most similar to text and picture of what the user said last, of
        these those that are `near_first`.

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
            turns = spoken(messages)
            hits = self._given(ids, turns, skip_missing=False)
        elif named or found is not None:
            wanted = [id for one in reversed(named) for id in one.ids] + list(found or ())
            hits = self._given(list(dict.fromkeys(wanted)), spoken(messages), skip_missing=True)
            turns = spoken(messages, given={hit.id for hit in hits})
        else:
            turns = spoken(messages)
            hits = self.near_first(self.search_turn(turns, k=k, where=where, **options))
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
        info = self.info
        text = asked_in(text) if info.text_embedder is not None else ""
        picture = picture if info.image_embedder is not None else None
        if k == 0 or not (text or picture is not None):
            return []
        return self.search(text or None, picture, k=k, where=where, **options)

    def _given(self, ids: Sequence[str], turns: Sequence[Message], *, skip_missing: bool) -> list[MemoryHit]:
        """Items by id, for a model that reads the vectors of this memory's encoder and is asked what was said last."""
        self._writer.check_encoder()
        at = question_turn(turns)
        question = "" if at is None else asked_in(content_of(turns[at])[0])
        hits = self.get(ids, skip_missing=skip_missing, question=question)
        return [hit for hit in hits if hit.superseded_by is None] if skip_missing else hits

    def near_first(self, hits: Sequence[MemoryHit]) -> list[MemoryHit]:
        """Of what a search found, best first, that which this memory's model is given: what is at most `margin` less
        similar than the first; of a question in words and a picture, all."""
        in_words = [hit.similarity for hit in hits if hit.similarity_of_texts is None]
        similarities = [similarity for similarity in in_words if similarity is not None]
        if self.margin is None or len(similarities) < len(hits):
            return list(hits)
        return [hits[at] for at in near_first(similarities, self.margin)]

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
            reader_prompt=self._encoder.reader_prompt,
            order=self.order,
        )
        return replace(laid_out, hits=list(hits))

    def _as_encoded(self, hit: MemoryHit) -> MemoryHit:
        """A hit with as much of its text as the encoder read, so that a long one fits a prompt as well."""
        if not hit.truncated or not hit.full_text:
            return hit
        window = self._encoder.encoder_config.max_length
        return replace(hit, text=self._encoder.prompts.beginning(hit.full_text, window), content=None)

    def answer(
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
            stopped: Ends the answer at the next token when it is set.
            **generation_kwargs: As in `Backbone.generate`.

        Raises:
            QueryError: Nothing is asked, an unknown mode, or as in `search`.
            PromptTooLongError: Question and items leave no room for an answer.
            InvalidItemError, CorruptBlockError, EncoderMismatchError: As in `search`.
        """
        recalled = self._recall_for(question, image, k=k, where=where, mode=mode)
        settings = ChatSettings(max_tokens=max_new_tokens, generation_kwargs=generation_kwargs)
        reply = self._chat.reply(recalled.messages, recalled.memory, settings, stopped=stopped)
        return _answer_of(reply, recalled)

    def stream_answer(
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
    ) -> Iterator[str | Answer]:
        """Like `answer`, yielding text as it is made and then all of it; items are recalled, and errors raised, before
        it returns."""
        recalled = self._recall_for(question, image, k=k, where=where, mode=mode)
        settings = ChatSettings(max_tokens=max_new_tokens, generation_kwargs=generation_kwargs)
        pieces = self._chat.stream(recalled.messages, recalled.memory, settings, stopped=stopped)
        return (piece if isinstance(piece, str) else _answer_of(piece, recalled) for piece in pieces)

    def stream(self, question: str, image: Any = None, **options: Any) -> Iterator[str]:
        """The text alone of `stream_answer`, which takes the same options."""
        return (piece for piece in self.stream_answer(question, image, **options) if isinstance(piece, str))

    def prepare(
        self, question: str, image: Any = None, *, k: int = 3, where: Filter | None = None, mode: Mode | None = None
    ) -> tuple[Any, torch.Tensor | None, list[MemoryHit]]:
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
    ) -> tuple[Any, torch.Tensor | None]:
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
            check_k(k)
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

    def describe(
        self,
        id: str,
        *,
        max_new_tokens: int = 128,
        stopped: threading.Event | None = None,
        **generation_kwargs: Any,
    ) -> Description:
        """What an item's vectors say: the frozen model restates it from them alone, beside the stored text.

        Of an item in passages it restates each, a line each.

        Args:
            id: The item.
            max_new_tokens: Longest restatement, in tokens.
            stopped: As in `answer`.
            **generation_kwargs: As in `answer`.

        Raises:
            ItemNotFoundError, CorruptBlockError: As in `get`.
            EncoderMismatchError: Another encoder wrote this collection.
        """
        self._writer.check_encoder()
        [hit] = self.get(id)
        prompt = self.backbone.prompt([{"role": "user", "content": RESTATE_INSTRUCTION}])
        apart = [replace(hit, memory_embeddings=block) for block in hit.blocks]
        memories = [memory_of([one], self._encoder.restate_prompt) for one in apart]
        generation_kwargs |= {"max_new_tokens": max_new_tokens, "stopped": stopped}
        made = self.backbone.generate([prompt] * len(memories), memories, **generation_kwargs)
        return Description(hit.text, "\n".join(map(self.backbone.decode, made)))

    def as_langchain_retriever(self, **fields: Any) -> LangChainRetriever:
        """This memory as a LangChain retriever; `fields` as in `ComemRetriever`."""
        from comem_memory.integrations.langchain import ComemRetriever

        return ComemRetriever(memory=self, **fields)

    def as_llama_index_retriever(self, **fields: Any) -> LlamaIndexRetriever:
        """This memory as a LlamaIndex retriever; `fields` as in its `ComemRetriever`."""
        from comem_memory.integrations.llama_index import ComemRetriever

        return ComemRetriever(self, **fields)


def _answer_of(reply: Reply, recalled: Recalled) -> Answer:
    return Answer(reply.text, recalled.hits, reply.prompt_tokens, reply.completion_tokens)


def _asked(question: str, image: Any) -> list[Message]:
    """A question as a conversation."""
    if not question.strip() and image is None:
        raise QueryError("There is nothing to answer. Pass a question, an image, or both.")
    picture = [] if image is None else [{"type": "image", "image": load_image(image)}]
    return [{"role": "user", "content": [*picture, {"type": "text", "text": question}]}]
