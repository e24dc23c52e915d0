"""Who looks at one page, and the memory that they may see there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nicegui import Client, ui

from comem_memory.errors import BusyError, ComemError, TokenError
from comem_memory.memory import ContinuousMemory
from comem_memory.server.access import readable, writable
from comem_memory.server.problems import FAILED, problem_of, status_of
from comem_memory.server.served import Served
from comem_memory.server.tokens import Access
from comem_memory.ui.guard import LOGIN
from comem_memory.ui.sessions import Sessions

logger = logging.getLogger(__name__)


@dataclass
class Visitor:
    """One open page; what its owner may do is asked anew each time, so that a revoked token shows nothing more.

    Args:
        sessions: Who is signed in, and to what.
        session: The page's session.
        client: The page.
        namespace: The namespace that is shown.
    """

    sessions: Sessions
    session: str | None
    client: Client
    namespace: str = ""

    @property
    def served(self) -> Served:
        """What is served."""
        return self.sessions.served

    @property
    def access(self) -> Access:
        """
        Raises:
            TokenError: The session is over.
        """
        return self.sessions.access(self.session)

    @property
    def memory(self) -> ContinuousMemory:
        """The namespace that is shown.

        Raises:
            TokenError: The session is over.
            AccessError: The token does not open it.
        """
        return self.view(self.namespace)

    @property
    def writing(self) -> ContinuousMemory:
        """The namespace that is shown, to change it.

        Raises:
            TokenError: The session is over.
            AccessError: The token does not open it, or only for reading.
        """
        return writable(readable(self.served, self.access, self.namespace)).memory

    def view(self, namespace: str) -> ContinuousMemory:
        """Another namespace.

        Raises:
            TokenError, AccessError: As `memory`.
            QueryError: Its name cannot be one.
        """
        return readable(self.served, self.access, namespace).memory

    async def namespaces(self) -> list[str]:
        """The namespaces that hold items, and the one that is shown, as far as the token opens them."""
        opens = self.access.opens
        stored = await asyncio.to_thread(self.served.memory.namespaces)
        return sorted(filter(opens, {self.namespace, *stored}))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Within it, what goes wrong is told on the page; a server that stops waits for its end."""
        with self.client:  # what asked for it may be gone from the page meanwhile
            self.served.in_flight += 1
            try:
                if self.served.stopping:
                    raise BusyError("This server is stopping. Try again later.")
                yield
            except Exception as error:
                self._tell(error)
            finally:
                self.served.in_flight -= 1

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, ComemError) or status_of(error) >= 500:
            logger.error("The page failed", exc_info=error)
        said = problem_of(error).detail if isinstance(error, ComemError) else FAILED
        ui.notify(said, type="negative", multi_line=True, close_button=True, timeout=10_000)
        if isinstance(error, TokenError):
            ui.navigate.to(LOGIN)


@contextmanager
def loading(button: ui.button) -> Iterator[None]:
    """Within it, a button shows that something goes on."""
    button.props("loading")
    try:
        yield
    finally:
        button.props(remove="loading")
