"""Sessions of browsers: each stands for a token, which is asked for again at every use."""

from __future__ import annotations

import secrets

from comem_memory.errors import TokenError
from comem_memory.server.served import Served
from comem_memory.server.tokens import Access


class Sessions:
    """Who is looking, as long as this process runs.

    A cookie holds the random name of a session and never the token. A token that is revoked ends its sessions.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self._tokens: dict[str, str] = {}
        self._codes: dict[str, str] = {}

    def code(self, token: str) -> str:
        """A code that begins one session of a token: for a link that other users of this machine can see."""
        made = secrets.token_urlsafe(32)
        self._codes[made] = token
        return made

    def begin(self, token: str) -> str:
        """The name of a new session.

        Args:
            token: A token, or what `code` gave.

        Raises:
            TokenError: It is neither, or was used.
        """
        token = self._codes.pop(token, token)
        self.served.access(token)
        name = secrets.token_urlsafe(32)
        self._tokens[name] = token
        return name

    def access(self, name: str | None) -> Access:
        """What a session opens now.

        Raises:
            TokenError: There is no such session, or its token was revoked.
            RateLimitError: Its owner asks too often.
        """
        return self.served.access(self.token(name))

    def token(self, name: str | None) -> str | None:
        """The token of a session, `None` where there are no tokens; it counts as no request and may be revoked.

        Raises:
            TokenError: There is no such session.
        """
        if self.served.tokens is None:
            return None
        if name is None or name not in self._tokens:
            raise TokenError("This page wants a token. Sign in again.")
        return self._tokens[name]

    def end(self, name: str | None) -> None:
        """Forgets a session."""
        self._tokens.pop(name or "", None)
