"""One shape for every failure: `{"error": {"code", "message", "where", "hint"}}` and a status."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from unica_sdk.errors import (
    AccessDenied,
    InvalidRequest,
    NotFound,
    NotSignedIn,
    SignatureInvalid,
    Unavailable,
    UnicaError,
)

_log = logging.getLogger(__name__)

STATUS: tuple[tuple[type[UnicaError], int], ...] = (
    (InvalidRequest, 422),
    (NotSignedIn, 401),
    (AccessDenied, 403),
    (SignatureInvalid, 403),
    (NotFound, 404),
    (Unavailable, 503),
)
"""The status of each kind of error, the narrower kind first; every other one is 500."""

LONGEST = 1_000
"""The most letters of each part of an error."""


def status_of(error: UnicaError) -> int:
    """Return the HTTP status of an error.

    Example:
        >>> status_of(NotSignedIn("no")), status_of(AccessDenied("no")), status_of(UnicaError("no"))
        (401, 403, 500)
    """
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def answer_for(error: UnicaError, *, status: int | None = None) -> JSONResponse:
    """Return the response that says an error."""
    said = {"code": error.code, "message": error.message, "where": error.where, "hint": error.hint}
    # What a caller sent may be echoed: it need not be text that UTF-8 can carry, nor be short.
    body = {key: text[:LONGEST].encode("utf-8", "backslashreplace").decode() for key, text in said.items()}
    status = status or status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": body}, status_code=status, headers=headers)


def install_handlers(app: FastAPI) -> None:
    """Give a face this one shape of errors."""
    app.add_exception_handler(UnicaError, _unica_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def invalid_request(errors: Sequence[Any]) -> InvalidRequest:
    """Return what pydantic found wrong as one error; it names the fields, never the values.

    Example:
        >>> invalid_request([{"loc": ("body", "query", "modality", 0), "msg": "Value error, no"}]).where
        'query.modality'
    """
    first = errors[0]
    message = "; ".join(dict.fromkeys(_sentence(error) for error in errors[:5]))
    return InvalidRequest(message, where=_field(first["loc"]))


async def _unica_error(request: Request, error: Exception) -> JSONResponse:
    known = error if isinstance(error, UnicaError) else UnicaError("Something failed.")
    if status_of(known) >= 500:
        _log.error("%s %s: %s", request.method, request.url.path, known, exc_info=error)
    return answer_for(known)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    return answer_for(invalid_request(found) if found else InvalidRequest("The request is malformed."))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status in (404, 405):
        return answer_for(NotFound("There is nothing here.", where=request.url.path), status=status)
    return answer_for(InvalidRequest("The request cannot be read.", where="body"), status=422)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # The server logs the traceback; the caller learns that it is not their doing, and nothing else.
    return answer_for(
        UnicaError("The gateway failed.", where=request.url.path, hint="Tell the hub's operator.")
    )


def _sentence(error: Any) -> str:
    text = str(error["msg"]).removeprefix("Value error, ")
    field = _field(error["loc"])
    return f"{field}: {text}" if field else text


def _field(location: Sequence[str | int]) -> str:
    # The first word is where in the request it stood (body, query, path); numbers are places in a list.
    return ".".join(part for part in location[1:] if isinstance(part, str))
