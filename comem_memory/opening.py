"""Opens what a memory is made of: the encoder with its model, the retrieval key, and the store that fits both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comem_memory import mini
from comem_memory.convert import cached_adapter, is_checkpoint
from comem_memory.encoder.memory_encoder import MemoryEncoder, read_config
from comem_memory.errors import AdapterError, CheckpointError, ModelError
from comem_memory.model.backbone import Backbone
from comem_memory.retrieval import EfficientNetEmbedder, RetrievalKey, SentenceTransformerEmbedder
from comem_memory.store.chroma import ChromaStore
from comem_memory.store.contract import CollectionIdentity


def default_key() -> RetrievalKey:
    """all-MiniLM-L6-v2 for texts and EfficientNet-Lite0 for pictures: public weights that need no model hub."""
    return RetrievalKey(
        SentenceTransformerEmbedder(mini.minilm_directory()),
        EfficientNetEmbedder(mini.efficientnet_weights()),
    )


def open_key(key: RetrievalKey | str | Path | None) -> RetrievalKey:
    """The retrieval key that is meant: this one, one of a model's embedders, or the default one.

    A CLIP or SigLIP model embeds texts and pictures, a sentence-transformers model texts and, if it takes them,
    pictures; otherwise EfficientNet-Lite0 embeds these.

    Raises:
        ModelError: a name or folder of none of these models.
    """
    if isinstance(key, RetrievalKey):
        return key
    if key is None:
        return default_key()
    text = SentenceTransformerEmbedder(key)
    return RetrievalKey(text, text.for_images() or EfficientNetEmbedder(mini.efficientnet_weights()))


def load_encoder(model: str | None, adapter: str | Path | None, model_kwargs: dict[str, Any]) -> MemoryEncoder:
    """The encoder with its model, as `ContinuousMemory.from_pretrained` takes them."""
    if model is not None and adapter is None:
        adapter, model = _with_encoder(model), None
    adapter = adapter or mini.ADAPTER
    if is_checkpoint(adapter):
        adapter, model = cached_adapter(adapter, model), None  # which names the model that answers
    config = read_config(Path(adapter))  # what is wrong with the folder is said before the model loads
    if (model or config.base_model) == mini.NAME:
        backbone = mini.load_backbone(**model_kwargs)
    else:
        if model is None:
            model_kwargs = {"revision": config.base_revision} | model_kwargs
        backbone = Backbone.from_pretrained(model or config.base_model, **model_kwargs)
    return MemoryEncoder.from_pretrained(adapter, backbone)


def _with_encoder(model: str) -> str:
    """The model, if it is a checkpoint that holds a memory encoder too."""
    try:
        if is_checkpoint(model):
            return model
        found = f"{model} is none."
    except CheckpointError as error:
        found = str(error)
    raise AdapterError(
        f"No adapter was given for {model}. Pass adapter=FOLDER, or train one with `comem train`; without model and "
        f"adapter the embedded default is used. Only a checkpoint of CoMEM's authors needs no adapter: {found}"
    )


def check_hidden_size(encoder: MemoryEncoder, backbone: Backbone) -> None:
    """
    Raises:
        ModelError: the model reads vectors of another width than the encoder makes.
    """
    made, read = encoder.backbone.hidden_size, backbone.hidden_size
    if made != read:
        raise ModelError(
            f"The encoder makes vectors of hidden_size {made} ({encoder.backbone.name}), but {backbone.name} reads "
            f"vectors of {read}. Answer with a model of hidden_size {made}, or leave it to the encoder's own."
        )


def open_store(
    directory: str | Path | None, url: str | None, collection_name: str, identity: CollectionIdentity | None
) -> ChromaStore:
    """The store at a server, in a directory, or in memory; without an identity, one that exists, whatever wrote it."""
    if url is not None:
        return ChromaStore.server(url, identity=identity, collection_name=collection_name)
    if directory is not None:
        return ChromaStore.embedded(directory, identity=identity, collection_name=collection_name)
    assert identity is not None  # what is new has no other
    return ChromaStore.in_memory(identity=identity)
