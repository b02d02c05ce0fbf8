"""What stands before every face: the caller is known before a byte of the body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import FastAPI, Request
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unica_sdk.errors import AccessDenied, InvalidRequest, NotSignedIn, UnicaError
from unica_sdk.gateway.faces.failures import answer_for, install_handlers
from unica_sdk.schemas.identity import Person

T = TypeVar("T")

MAX_BODY = 4 * 1024 * 1024
"""The most bytes a request's body may have."""

_CALLER = "unica_caller"


class Guard:
    """ASGI middleware: finds out who calls, or answers 401; nothing behind it is met by a stranger."""

    def __init__(
        self, app: ASGIApp, *, identify: Callable[[str], Awaitable[object]], max_body: int = MAX_BODY
    ) -> None:
        self._app = app
        self._identify = identify
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._identify(_bearer(HTTPConnection(scope)))
        except UnicaError as err:
            await answer_for(err)(scope, receive, send)
            return
        scope.setdefault("state", {})[_CALLER] = caller
        await self._app(scope, _limited(receive, self._max_body), send)


def caller(request: Request, kind: type[T]) -> T:
    """Return who the guard found to be calling."""
    found = getattr(request.state, _CALLER, None)
    if not isinstance(found, kind):
        raise NotSignedIn("Nobody is signed in.")
    return found


def holding(scope: str) -> Callable[[Request], Awaitable[Person]]:
    """Return a dependency that finds the person who calls, if they have this power.

    Raises:
        AccessDenied: they do not.
    """

    async def check(request: Request) -> Person:
        person = caller(request, Person)
        if scope not in person.scopes:
            raise AccessDenied(
                f"This needs the power {scope}.",
                where=request.url.path,
                hint="Ask the hub's operator which group has it.",
            )
        return person

    return check


def new_face(title: str, *, identify: Callable[[str], Awaitable[object]]) -> FastAPI:
    """Return an empty face behind its guard: one shape of errors, no pages of documentation."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)
    install_handlers(app)
    app.add_middleware(Guard, identify=identify)
    return app


def _bearer(connection: HTTPConnection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "token") or not token.strip():
        raise NotSignedIn("The request has no token.", hint="Send `Authorization: Bearer <token>`.")
    return token.strip()


def _limited(receive: Receive, max_body: int) -> Receive:
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_body:
            raise InvalidRequest(f"The request is longer than {max_body} bytes.", where="body")
        return message

    return limited
