"""An embedder that takes its process down, once."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from comem_memory.testing import LetterEmbedder


class DyingEmbedder(LetterEmbedder):
    """`LetterEmbedder`, which kills its process the third time that it embeds; the file `died` says that it did."""

    def __init__(self, died: Path) -> None:
        self.died, self.calls = died, 0

    def embed(self, inputs: Sequence[str]) -> np.ndarray:
        self.calls += 1
        if self.calls == 3 and not self.died.exists():
            self.died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(inputs)
