"""What is open or loaded in this process: copies share it, and pickling is refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

from comem_memory.errors import NotPicklableError


class ProcessBound(ABC):
    """Holds a directory, a connection, or a model and its lock, which another process cannot be sent."""

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: what is open or loaded is shared by what is copied around it."""
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """
        Raises:
            NotPicklableError: Always.
        """
        raise NotPicklableError(self._not_pickled())

    @abstractmethod
    def _not_pickled(self) -> str:
        """Why, and what to send instead."""
