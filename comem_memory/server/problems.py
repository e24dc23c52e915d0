"""Errors as answers: each of ours has a status, and travels as a problem (RFC 9457) under the name of its class."""

from __future__ import annotations

import inspect
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from comem_memory import errors
from comem_memory.errors import ComemError, RequestError, shortened
from comem_memory.server.wire import Problem

STATUSES: dict[type[ComemError], int] = {
    errors.TokenError: 401,
    errors.AccessError: 403,
    errors.StoreReadOnlyError: 403,
    errors.ItemNotFoundError: 404,
    errors.DuplicateIdError: 409,
    errors.EncoderMismatchError: 409,
    errors.LimitError: 413,
    errors.InvalidItemError: 422,
    errors.QueryError: 422,
    errors.PromptTooLongError: 422,
    errors.GrammarError: 422,
    errors.ModelError: 422,
    RequestError: 422,
    errors.CorruptBlockError: 500,
    errors.RateLimitError: 429,
    errors.BusyError: 503,
    errors.ModelConnectionError: 503,
    errors.StoreConnectionError: 503,
    errors.StoreClosedError: 503,
    errors.TimeLimitError: 504,
}
"""What callers can mend, or wait for; all others are the server's own fault: 500."""
_PRIVATE: dict[type[ComemError], str] = {
    errors.StoreReadOnlyError: "The memory of this server is open for reading only.",
    errors.ModelConnectionError: "The model of this server does not answer. Try again later.",
    errors.StoreConnectionError: "The store of this server does not answer. Try again later.",
    errors.StoreClosedError: "The memory of this server is closed. Try again later.",
}
"""What is said instead of messages that tell how the server is set up."""
MEDIA_TYPE = "application/problem+json"
FAILED = "The server failed. Its log says how."

logger = logging.getLogger(__name__)


def status_of(error: ComemError) -> int:
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def problem_of(error: ComemError) -> Problem:
    """An error as it is sent; how the server is set up, as its files and hosts, is not told."""
    kind = type(error)
    told = _PRIVATE.get(kind, str(error) if any(kind in STATUSES for kind in kind.__mro__) else FAILED)
    return _problem(kind, status_of(error), told)


def _problem(kind: type[ComemError], status: int, told: str) -> Problem:
    return Problem(type=kind.__name__, title=(inspect.getdoc(kind) or "").split("\n")[0], status=status, detail=told)


def declared(*statuses: int, of_200: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a route: what it may refuse with.

    Args:
        *statuses: The statuses, besides those of every route.
        of_200: What it gives if that is no JSON, by media type.
    """
    reasons = {
        400: "The body cannot be read.",
        401: "No token, or an unknown one.",
        403: "The token does not open this namespace, or only for reading; or a page of another site asks.",
        404: "No such item.",
        409: "What is stored forbids it.",
        413: "Larger than the server takes.",
        422: "The request cannot be understood or carried out.",
        429: "Too many requests.",
        503: "Starting, stopping, or too much to do.",
        504: "The answer took too long.",
    }
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    given: dict[int | str, dict[str, Any]] = {} if of_200 is None else {200: {"content": of_200}}
    return given | {status: {"description": reasons[status], "content": content} for status in (*statuses, *_OF_ALL)}


_OF_ALL = (400, 401, 403, 413, 422, 429, 503)


def headers_of(error: ComemError) -> dict[str, str]:
    """What an answer says of an error beside its body."""
    if isinstance(error, errors.TokenError):
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(error.retry_after)} if isinstance(error, errors.BusyError) else {}


def note(request: Request, error: ComemError) -> None:
    """Logs an error that is the server's own fault."""
    if status_of(error) >= 500 and not isinstance(error, errors.BusyError | errors.TimeLimitError):
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)


def answer_to(error: ComemError) -> JSONResponse:
    """An error as an answer."""
    return _answer(problem_of(error), headers_of(error))


def _answer(problem: Problem, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(problem.model_dump(), problem.status, headers, media_type=MEDIA_TYPE)


def handle_errors(app: FastAPI) -> None:
    """Has an app answer with problems, whatever is raised."""

    @app.exception_handler(ComemError)
    async def ours(request: Request, error: ComemError) -> JSONResponse:
        note(request, error)
        return answer_to(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"])
        return answer_to(RequestError(f"{shortened(place)}: {found['msg']}. GET /openapi.json has the form."))

    @app.exception_handler(HTTPException)
    async def foreign(request: Request, error: HTTPException) -> JSONResponse:
        kind = errors.LimitError if error.status_code == 413 else RequestError
        problem = _problem(kind, error.status_code, f"{error.detail}. GET /openapi.json lists what there is.")
        headers = dict(error.headers or {})
        if error.status_code == 405 and (known := app.openapi()["paths"].get(request.url.path)):
            headers["Allow"] = ", ".join(known).upper()  # of all routes of this path, where Starlette asks one
        return _answer(problem, headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return _answer(_problem(ComemError, 500, FAILED), {})
