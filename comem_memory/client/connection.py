"""`Connection`: requests to a server, tried again where that does no harm, and its problems as our errors."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent
from pydantic import BaseModel, ValidationError
from tenacity import (
    RetryCallState,
    Retrying,
    nap,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    wait_random_exponential,
)

from comem_memory import errors
from comem_memory.errors import (
    BusyError,
    ComemError,
    LimitError,
    QueryError,
    RequestError,
    StoreClosedError,
    StoreConnectionError,
)
from comem_memory.files import TemporaryFolder
from comem_memory.http_clients import hung_up_when
from comem_memory.server.wire import Problem

ATTEMPTS = 4
"""Of a request, the first included."""
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""After which the server has not seen the request."""
LONGEST_WAIT = 30
"""Seconds between two attempts: where a server asks for more, its refusal is raised at once."""
NOTHING: Mapping[str, Any] = MappingProxyType({})
LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")

A = TypeVar("A", bound=BaseModel)


class Connection:
    """What all namespaces of one server, as one client sees them, share.

    Args:
        url: Where the server is, as `https://memory.example.org`.
        token: What it knows this client by, if it wants one.
        timeout: Seconds that it may be silent while it answers.

    Raises:
        QueryError: That is no URL, or the token has characters that no header can have.
    """

    def __init__(self, url: str, token: str | None, timeout: float = 300.0) -> None:
        try:
            self.url = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise QueryError(f"{url!r} is no URL: {error}. Pass one such as http://127.0.0.1:8420.") from error
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise QueryError(f"{url!r} is no URL of a server. Pass one such as http://127.0.0.1:8420.")
        if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
            raise QueryError("The token has characters that no token has. Pass it as comem token printed it.")
        self._settings: dict[str, Any] = {
            "base_url": self.url,
            "headers": {} if token is None else {"Authorization": f"Bearer {token}"},
            "timeout": httpx.Timeout(timeout, connect=10),
            "mounts": dict.fromkeys(LOOPBACK),  # which no proxy of the environment reaches
            "verify": httpx.create_ssl_context(),
        }
        self._client = httpx.Client(**self._settings)
        self.fetching = threading.Lock()
        """Held while a file is looked for, or made, in `folder`."""

    # -- requests -----------------------------------------------------------------------------------------------

    def get(self, path: str, answer: type[A], params: Mapping[str, Any] = NOTHING) -> A:
        return self._read(self._send("GET", path, None, params, again=True), answer)

    def location(self, path: str) -> str:
        """The URL of what the server has at a path, to those who have a token."""
        return str(self.url.join(path))

    def download(self, path: str, params: Mapping[str, Any] = NOTHING) -> httpx.Response:
        """Whatever the server has there."""
        return self._send("GET", path, None, params, again=True)

    def post(
        self,
        path: str,
        ask: BaseModel | None,
        answer: type[A],
        params: Mapping[str, Any] = NOTHING,
        *,
        method: str = "POST",
        again: bool = True,
    ) -> A:
        """
        Args:
            path: Of the route.
            ask: The request.
            answer: What comes back.
            params: Of the query.
            method: Of HTTP.
            again: Whether the server may be told twice, where it is not known whether it has heard the first time.

        Raises:
            StoreConnectionError: The server does not answer.
            ComemError: What the server raised.
        """
        return self._read(self._send(method, path, ask, params, again=again), answer)

    def _send(
        self, method: str, path: str, ask: BaseModel | None, params: Mapping[str, Any], *, again: bool
    ) -> httpx.Response:
        def once() -> httpx.Response:
            response = self._client.send(self._request(method, path, ask, params))
            self._check(response)
            return response

        return self._trying(once, again=again)

    def _request(self, method: str, path: str, ask: BaseModel | None, params: Mapping[str, Any]) -> httpx.Request:
        content = None if ask is None else ask.model_dump_json(exclude_unset=True, by_alias=True)
        headers = {} if ask is None else {"Content-Type": "application/json"}
        return self._client.build_request(method, path, content=content, headers=headers, params=params or None)

    def _trying(self, once: Callable[[], httpx.Response], *, again: bool, sleep: Any = nap.sleep) -> httpx.Response:
        def may_help(error: BaseException) -> bool:
            if isinstance(error, BusyError):
                return error.retry_after <= LONGEST_WAIT
            if isinstance(error, httpx.ReadTimeout):
                return False
            if isinstance(error, httpx.TransportError | StoreConnectionError):
                return again or isinstance(error, NOT_SENT)
            return False

        self._check_open()
        trying = Retrying(
            retry=retry_if_exception(may_help),
            wait=_wait,
            stop=stop_after_attempt(ATTEMPTS),
            sleep=sleep,
            reraise=True,
        )
        try:
            return trying(once)
        except httpx.ReadTimeout as error:
            raise StoreConnectionError(
                f"The server at {self.url} has not answered in time. It may be busy with a model; connect with a "
                "longer timeout=..., or ask for less at once."
            ) from error
        except httpx.HTTPError as error:
            self._check_open()
            raise StoreConnectionError(
                f"The server at {self.url} does not answer: {error or type(error).__name__}. Check the URL, and that "
                "comem serve runs there."
            ) from error

    def _read(self, response: httpx.Response, answer: type[A]) -> A:
        try:
            return answer.model_validate_json(response.content or b"{}")
        except ValidationError as error:
            raise RequestError(
                f"{self.url} answers in a form that this version does not know: {error.errors()[0]['msg']}. Check that "
                "it is a comem server, and of this version."
            ) from error

    def _check(self, response: httpx.Response) -> None:
        """
        Raises:
            ComemError: The server refused.
        """
        if response.is_success:
            return
        response.read()
        with suppress(ValidationError):
            raise_problem(Problem.model_validate_json(response.content), response.headers.get("Retry-After"))
        if response.status_code == 413:
            raise LimitError(f"The request is larger than {self.url} takes. Send less at once.")
        away = f"The server behind {self.url} is away ({response.status_code}). Try again later."
        if response.status_code == 503:  # a proxy's, as the next ones
            raise BusyError(away)
        if response.status_code in (502, 504):  # the server may have heard
            raise StoreConnectionError(away)
        raise RequestError(
            f"{response.request.url} answers with status {response.status_code}, and not as a comem server does. "
            "Check the URL."
        )

    # -- streams ------------------------------------------------------------------------------------------------

    @contextmanager
    def events(
        self,
        path: str,
        ask: BaseModel,
        params: Mapping[str, Any] = NOTHING,
        *,
        stopped: threading.Event | None = None,
    ) -> Iterator[Iterator[ServerSentEvent]]:
        """The server-sent events that a request is answered with; leaving, or setting `stopped`, ends the answer there.

        Raises:
            StoreConnectionError: The server does not answer, or no longer.
            ComemError: What the server raised.
        """

        stopped = stopped or threading.Event()
        opened: list[socket.socket] = []

        def trace(event: str, told: Mapping[str, Any]) -> None:
            if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
                opened.append(told["return_value"].get_extra_info("socket"))

        with hung_up_when(stopped, opened), httpx.Client(**self._settings) as client:  # with one connection, its own

            def once() -> httpx.Response:
                request = self._request("POST", path, ask, params)
                request.headers["Accept"] = "text/event-stream"
                request.extensions["trace"] = trace
                response = client.send(request, stream=True)
                self._check(response)
                return response

            try:
                response = self._trying(once, again=False, sleep=sleep_using_event(stopped))
            except StoreConnectionError:
                if not stopped.is_set():
                    raise
                yield iter(())
                return
            with closing(response):
                yield self._events(response, stopped)

    def _events(self, response: httpx.Response, stopped: threading.Event) -> Iterator[ServerSentEvent]:
        try:
            for event in EventSource(response).iter_sse():
                if event.event == "error":
                    raise_problem(Problem.model_validate_json(event.data))
                yield event
        except httpx.HTTPError as error:
            if not stopped.is_set():
                raise StoreConnectionError(
                    f"The server at {self.url} broke off in the middle of an answer: {error}. Ask again."
                ) from error

    # -- the rest -----------------------------------------------------------------------------------------------

    @cached_property
    def _folder(self) -> TemporaryFolder:
        return TemporaryFolder("comem-fetched-")

    @property
    def folder(self) -> Path:
        """Where what is fetched lies until the connection is closed."""
        return self._folder.path

    def close(self) -> None:
        self._client.close()
        if "_folder" in self.__dict__:
            self._folder.remove()

    def _check_open(self) -> None:
        if self._client.is_closed:
            raise StoreClosedError("This memory was closed. Connect again: ContinuousMemory.connect(...).")


def raise_problem(problem: Problem, retry_after: str | None = None) -> None:
    """
    Raises:
        ComemError: What the server raised, of the same class.
    """
    kind = getattr(errors, problem.type, ComemError)
    if not (isinstance(kind, type) and issubclass(kind, ComemError)):
        kind = ComemError
    if issubclass(kind, BusyError) and retry_after is not None and retry_after.isdecimal():
        raise kind(problem.detail, int(retry_after))
    raise kind(problem.detail)


_growing = wait_random_exponential(multiplier=0.3, max=5)


def _wait(state: RetryCallState) -> float:
    error = None if state.outcome is None else state.outcome.exception()
    asked = error.retry_after if isinstance(error, BusyError) else 0
    return max(_growing(state), asked)
