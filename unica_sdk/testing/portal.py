"""An httpx transport that hands requests to an ASGI app in this process: no socket, no port."""

from __future__ import annotations

import httpx
from anyio.from_thread import BlockingPortal


class PortalTransport(httpx.BaseTransport):
    """Runs an ASGI app on the event loop of a portal, for a synchronous client in any thread."""

    def __init__(self, app: httpx._transports.asgi._ASGIApp, portal: BlockingPortal) -> None:
        self._inner = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._portal = portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the app's answer, read to its end.

        Raises:
            httpx.ConnectError: the portal is closed.
        """
        request.read()
        try:
            return self._portal.call(self._handle, request)
        except RuntimeError as err:
            raise httpx.ConnectError("the in-process network is closed", request=request) from err

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        sent = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        response = await self._inner.handle_async_request(sent)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)
