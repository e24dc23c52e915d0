"""Errors as OpenAI tells them, so that its clients raise what they raise for OpenAI."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from comem_memory.errors import ComemError, PromptTooLongError, shortened
from comem_memory.server.openai_wire import ChatRequest, ErrorAnswer, Failure
from comem_memory.server.problems import headers_of, problem_of

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""OpenAI's types of errors, by status."""


def failure(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An error as it is sent.

    Args:
        status: The HTTP status.
        message: What happened, and what to do.
        code: What programs tell it by.
        param: The field of the request that is at fault.
        headers: More headers.
    """
    kind = "server_error" if status >= 500 else TYPES.get(status, TYPES[400])
    answer = ErrorAnswer(error=Failure(message=message, type=kind, param=param, code=code))
    return JSONResponse(answer.model_dump(), status, headers)


def failed(error: ComemError | RequestValidationError) -> JSONResponse:
    """An error as it is sent. What a request is at fault for is 400, where other routes of ours say 422."""
    if isinstance(error, RequestValidationError):
        return _malformed(error)
    problem = problem_of(error)
    code = "context_length_exceeded" if isinstance(error, PromptTooLongError) else problem.type
    status = 400 if problem.status == 422 else problem.status
    return failure(status, problem.detail, code=code, headers=headers_of(error))


def _malformed(error: RequestValidationError) -> JSONResponse:
    """What is wrong with a field, and what the field is for."""
    found = max(error.errors(), key=lambda one: len(one["loc"]))  # of what was tried, what came furthest
    place = [str(part) for part in found["loc"] if part != "body" and "[" not in str(part)]
    known = ChatRequest.model_fields.get(place[0]) if place else None
    param = shortened(".".join(place))
    why = known.description if known is not None and known.description else "GET /openapi.json has the form."
    return failure(400, f"{param or 'The request'}: {found['msg']}. {why}", param=param or None, code="invalid_request")


def declared() -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a route: what it may refuse with."""
    return {
        "4XX": {"description": "The request is at fault.", "model": ErrorAnswer},
        "5XX": {"description": "The server is at fault, or stopping.", "model": ErrorAnswer},
    }
