"""A trained memory encoder that is loaded when the first item is encoded; until then its files say what it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from comem_memory.encoder.adapter_files import READER_FILE, load_weights_file, read_config, read_fingerprint
from comem_memory.encoder.memory_encoder import EncoderInputs, MemoryEncoder
from comem_memory.model import Prompts


class DeferredEncoder:
    """Stands for an encoder where another process answers, so that nothing is loaded unless something is encoded.

    Args:
        folder: The adapter folder.
        prompts: What the base model reads.
        load: Loads the encoder with its base model, and checks that they fit.

    Raises:
        AdapterError: The folder is incomplete or damaged.
    """

    def __init__(self, folder: Path, prompts: Prompts, load: Callable[[], MemoryEncoder]) -> None:
        self.encoder_config, self.fingerprint = read_config(folder), read_fingerprint(folder)
        learned = load_weights_file(folder / READER_FILE) if self.encoder_config.num_reader_tokens else {}
        none = torch.zeros(0, self.encoder_config.qformer.hidden_size)
        self.reader_prompt, self.restate_prompt = (learned.get(n, none) for n in ("reader_prompt", "restate_prompt"))
        self.prompts = prompts
        self._load, self._loading = load, threading.Lock()
        self._loaded: MemoryEncoder | None = None

    @property
    def loaded(self) -> MemoryEncoder:
        """The encoder itself.

        Raises:
            AdapterError, ModelError, DownloadError: It cannot be loaded; as for `load`.
        """
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def inputs(self, text: str | None = None, image: Image.Image | None = None, **settings: Any) -> EncoderInputs:
        """As `MemoryEncoder.inputs`."""
        return self.loaded.inputs(text, image, **settings)

    def encode(self, inputs: Sequence[EncoderInputs], **settings: Any) -> torch.Tensor:
        """As `MemoryEncoder.encode`."""
        return self.loaded.encode(inputs, **settings)
