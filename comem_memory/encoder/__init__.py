"""The encoder: an item becomes 8 vectors, read by the frozen model with a LoRA and condensed by a Q-Former."""

from comem_memory.encoder.adapter_files import (
    ADAPTER_FILES,
    ANSWERING_FOLDER,
    CONFIG_FILE,
    READER_FILE,
    AdapterWeights,
    Weights,
    fitting_config,
    load_weights_file,
    read_config,
    read_weights,
    write_adapter,
)
from comem_memory.encoder.deferred import DeferredEncoder
from comem_memory.encoder.encoded import EncodedItem, EncodedItems, encode_items, encode_prepared
from comem_memory.encoder.memory_encoder import (
    BATCH_TOKENS,
    EncoderInputs,
    MemoryEncoder,
    encoder_config,
    linear_names,
)
from comem_memory.encoder.prepared import CHUNK, PreparedItem, content_hash, in_chunks, item_hash, opened, prepare
from comem_memory.encoder.qformer import QFormer

__all__ = [
    "ADAPTER_FILES",
    "ANSWERING_FOLDER",
    "BATCH_TOKENS",
    "CHUNK",
    "CONFIG_FILE",
    "READER_FILE",
    "AdapterWeights",
    "DeferredEncoder",
    "EncodedItem",
    "EncodedItems",
    "EncoderInputs",
    "MemoryEncoder",
    "PreparedItem",
    "QFormer",
    "Weights",
    "content_hash",
    "encode_items",
    "encode_prepared",
    "encoder_config",
    "fitting_config",
    "in_chunks",
    "item_hash",
    "linear_names",
    "load_weights_file",
    "opened",
    "prepare",
    "read_config",
    "read_weights",
    "write_adapter",
]
