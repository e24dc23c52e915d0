"""A temporary folder that belongs to the process that made it."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path


class TemporaryFolder:
    """A folder that exists until `remove`, or until this object is garbage or its process ends.

    A child of a fork leaves it to its parent; `tempfile.TemporaryDirectory` would remove it when the child ends.

    Args:
        prefix: What its name begins with.
    """

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid())


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
