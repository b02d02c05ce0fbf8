"""An httpx transport that hands requests to an ASGI app in this process: no socket, no port."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import anyio
import httpx
from anyio.from_thread import BlockingPortal
from starlette.types import ASGIApp, Message, Scope

_ENDED: Message = {"type": "ended"}
_FAILED: Message = {"type": "failed"}


class PortalTransport(httpx.BaseTransport):
    """Runs an ASGI app on the event loop of a portal, for a synchronous client in any thread.

    A response that the app sends in parts arrives in parts; whoever stops reading it ends the app's part too.
    """

    def __init__(self, app: ASGIApp, portal: BlockingPortal) -> None:
        self._app = app
        self._portal = portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the app's answer; its content comes as it is read.

        Raises:
            httpx.ConnectError: the portal is closed.
        """
        exchange = _Exchange(request.read())
        try:
            task = self._portal.start_task_soon(exchange.run, self._app, _scope(request))
        except RuntimeError as err:
            raise httpx.ConnectError("the in-process network is closed", request=request) from err
        start = exchange.take()
        if start is _FAILED:
            return httpx.Response(500)
        if start is _ENDED:
            raise httpx.ConnectError("the in-process network is closed", request=request)
        return httpx.Response(start["status"], headers=start["headers"], stream=_Body(exchange, task))


class _Exchange:
    """One request and what the app sends, between the app's loop and the client's thread."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._sent: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def take(self) -> Message:
        return self._sent.get()

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception:
            # As behind a server: the client learns that it failed, the app's own log has what.
            self._sent.put(_FAILED)
        finally:
            self._sent.put(_ENDED)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await anyio.sleep_forever()
        raise AssertionError("whoever goes away ends this task")

    async def _send(self, message: Message) -> None:
        self._sent.put(message)


class _Body(httpx.SyncByteStream):
    """The content of a response, in the parts in which the app sends it."""

    def __init__(self, exchange: _Exchange, task: Future[Any]) -> None:
        self._exchange = exchange
        self._task = task
        self._whole = False

    def __iter__(self) -> Iterator[bytes]:
        while (message := self._exchange.take())["type"] == "http.response.body":
            if body := message.get("body", b""):
                yield body
            if not message.get("more_body", False):
                self._whole = True
                return
        raise httpx.RemoteProtocolError("the answer broke off")

    def close(self) -> None:
        """Stop the app where it is still sending: nobody listens."""
        if not self._whole:
            self._task.cancel()


def _scope(request: httpx.Request) -> Scope:
    path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": path,
        "query_string": query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
