"""Copies of adapters: they share the open memory, which cannot be sent to another process."""

from __future__ import annotations

import copy
from typing import Any


class SharesMemory:
    """A pydantic adapter whose deep copy shares memory and model, as a shallow one does, and which is not pickled.

    Pydantic would copy the model's weights, and LlamaIndex would take the memory out of the adapter itself.
    """

    memory: Any

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        memo = {} if memo is None else memo
        memo[id(self)] = copied = copy.copy(self)
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """
        Raises:
            NotPicklableError: The memory is open.
        """
        return self.memory.__reduce_ex__(protocol)
