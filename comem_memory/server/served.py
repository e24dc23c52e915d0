"""`Served`: a memory, the rules under which it is served, and what goes on."""

from __future__ import annotations

from comem_memory.errors import TokenError
from comem_memory.memory import ContinuousMemory
from comem_memory.model import Backbone
from comem_memory.server.limits import Queue, Rates
from comem_memory.server.metrics import Metrics
from comem_memory.server.settings import ServerSettings
from comem_memory.server.tokens import Access, Tokens

EVERYONE = Access("everyone")
"""Who asks where there are no tokens: whoever reaches the server's port, which is on loopback then."""


class Served:
    """What one server shares between its requests.

    Args:
        memory: The memory that was opened, from which every namespace is seen.
        settings: Limits.
        tokens: Who may do what; `None` lets everyone do everything.
    """

    def __init__(self, memory: ContinuousMemory, settings: ServerSettings, tokens: Tokens | None) -> None:
        self.memory, self.settings, self.tokens = memory, settings, tokens
        # Where the model is here, one answer waits for the other anyway; a connected memory has none to show.
        here = isinstance(getattr(memory, "backbone", None), Backbone)
        self.answers = Queue(settings.answers_at_once or (1 if here else 64), settings.answers_waiting)
        self.writes = Queue(settings.writes_at_once, settings.writes_waiting)
        self.metrics = Metrics(self.answers, self.writes)
        self.in_flight = 0
        """Requests that are not answered yet."""
        self.stopping = False
        """New requests are refused, and the process ends when those in flight are answered."""
        self._rates = Rates(settings.rate)

    def access(self, token: str | None) -> Access:
        """What a token opens; each time counts as a request of its owner.

        Raises:
            TokenError: No token where one is wanted, or an unknown one.
            RateLimitError: Its owner asks too often.
        """
        if self.tokens is None:
            found = EVERYONE
        elif token is None:
            raise TokenError("This server wants a token. Send it as: Authorization: Bearer TOKEN")
        else:
            found = self.tokens.find(token)
        self._rates.count(found.name)
        return found
