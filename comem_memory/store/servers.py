"""Chroma on a server: where it is, who asks, and what is asked again."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx
from tenacity import RetryCallState, Retrying, stop_after_attempt, wait_random_exponential

from comem_memory.errors import StoreAccessError, StoreConnectionError, StoreLocationError, shortened
from comem_memory.http_clients import unsendable
from comem_memory.store.connections import Connection
from comem_memory.store.library import NotFoundError, ServerClient
from comem_memory.store.quotas import Quotas

ATTEMPTS = 4
"""Of a request, within about two seconds."""
_CONNECT_SECONDS = 10.0
_CLOUD = ".trychroma.com"

_READS = ("/get", "/query", "/count", "/search")
_NOT_BEGUN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_REFUSED = (429, 503)
"""The server says that it did not begin."""
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)
_GATEWAY = (502, 504)
"""A proxy says that it does not know."""


@dataclass(frozen=True, kw_only=True)
class ChromaServer:
    """A Chroma server, or Chroma Cloud.

    Args:
        url: `http://host:port` or `https://host`; Chroma Cloud's is `https://api.trychroma.com`.
        token: Sent with each request, to Chroma Cloud as its API key (`x-chroma-token`), elsewhere as a bearer token.
        headers: Sent with each request beside it.
        tenant: By default the one that the server names for this token.
        database: By default the one that the server names for this token, if it is one.
        certificates: A PEM file with the authorities to trust instead of the system's.
        timeout: Seconds that the server may take for an answer.
        quotas: What it takes at most; by default Chroma Cloud's there, and nothing elsewhere.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tenant: str | None = None
    database: str | None = None
    certificates: Path | str | None = None
    timeout: float = 60.0
    quotas: Quotas | None = None

    def __str__(self) -> str:
        return self.url

    def connect(self) -> Connection:
        """
        Raises:
            StoreLocationError: Not such a URL, nothing answers there, or there is no such tenant or database.
            StoreAccessError: The server does not know the token, the token does not open the database, or it cannot be
                sent.
        """
        parts = self._parts()
        session = _Session(
            # Each request has a connection of its own: on one that was kept, a server or proxy that closes it at that
            # moment would leave the request unanswered, and unclear whether it was carried out. A limit of no kept
            # connections lets threads share them.
            headers={**self.sent_headers(), "Connection": "close"},
            timeout=httpx.Timeout(self.timeout, connect=min(self.timeout, _CONNECT_SECONDS)),
            verify=self._trusted(),
        )
        try:
            client = ServerClient(
                parts.hostname or "",
                parts.port or (443 if parts.scheme == "https" else 8000),
                session,
                ssl=parts.scheme == "https",
                tenant=self.tenant,
                database=self.database,
            )
        except StoreAccessError:
            raise
        except NotFoundError as error:
            raise StoreLocationError(
                f"The server at {self.url} has no such tenant and database ({error}). Create them there, or pass "
                "others: ChromaServer(tenant=..., database=...)."
            ) from error
        except Exception as error:  # whatever answers there: Chroma's client raises bare ones
            raise StoreLocationError(
                f"No Chroma server answers at {self.url} ({shortened(error)}). Start one with `chroma run`, or check "
                "the URL."
            ) from error
        return Connection(client, client.close, quotas=self.limits())

    def sent_headers(self) -> dict[str, str]:
        """What goes with each request.

        Raises:
            StoreAccessError: A header has characters that cannot be sent.
        """
        headers, token = dict(self.headers), (self.token or "").strip()
        if token:
            headers |= {"x-chroma-token": token} if self._is_cloud else {"Authorization": f"Bearer {token}"}
        if name := unsendable(headers):
            raise StoreAccessError(
                f"The header {name!r} for the Chroma server has characters that cannot be sent, such as a line break. "
                "Pass another value in printable ASCII: ChromaServer(token=...) or headers=..."
            )
        return headers

    def limits(self) -> Quotas | None:
        """What the server takes at most."""
        return self.quotas or (Quotas() if self._is_cloud else None)

    def _trusted(self) -> ssl.SSLContext | bool:
        if self.certificates is None:
            return True
        try:
            return ssl.create_default_context(cafile=self.certificates)
        except OSError as error:
            raise StoreLocationError(
                f"{self.certificates} is no file of certificates in PEM that can be read ({error}). Pass another one."
            ) from error

    @property
    def _is_cloud(self) -> bool:
        return (urlsplit(self.url).hostname or "").endswith(_CLOUD)

    def _parts(self) -> SplitResult:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise StoreLocationError(f"{self.url!r} is not the URL of a server. Pass one like 'http://localhost:8000'.")
        return parts


class _Session(httpx.Client):
    """Sends a request again where it cannot have been carried out, and one that only reads where it may have been.

    A write that broke off may still be carried out later: sent again, it could come after what others wrote since.
    """

    def send(self, request: httpx.Request, **options: object) -> httpx.Response:
        reads = request.method == "GET" or request.url.path.endswith(_READS)

        def again(state: RetryCallState) -> bool:
            outcome = state.outcome
            if outcome is None:
                return False
            if error := outcome.exception():
                return isinstance(error, _NOT_BEGUN) or (reads and isinstance(error, _BROKEN))
            return outcome.result().status_code in (*_REFUSED, *(_GATEWAY if reads else ()))

        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(0.2, max=2),
            retry=again,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        send: Callable[..., httpx.Response] = super().send
        response: httpx.Response = retrying(send, request, **options)
        status = f"{response.status_code} {response.reason_phrase}".strip()
        if response.status_code in (401, 403):
            raise StoreAccessError(
                f"The Chroma server refuses this token for its tenant and database ({status}). Pass another one: "
                "ChromaServer(token=...) or headers=..., for commands COMEM_SERVER_TOKEN."
            )
        if response.status_code in (*_REFUSED, *_GATEWAY):
            raise StoreConnectionError(
                f"The Chroma server does not answer: {status}. Try again when it does; what was stored is there, and "
                "to add again what was being written is safe."
            )
        return response
