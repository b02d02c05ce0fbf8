"""Whether a part answers: quick questions over loopback and unix sockets that never raise."""

from __future__ import annotations

import socket as sockets
from pathlib import Path

import httpx

from unica_sdk.environment import lifecycle
from unica_sdk.environment.layout import Layout
from unica_sdk.environment.preflight import port_holder

PATIENCE = 2.0
"""Seconds to wait for one answer."""


def answers(url: str, *, status: int, socket: Path | None = None, body: str = "") -> bool:
    """Whether a GET is answered with this status, and with this text somewhere in it."""
    transport = httpx.HTTPTransport(uds=str(socket) if socket else None, trust_env=False)
    try:
        with httpx.Client(transport=transport, timeout=PATIENCE, trust_env=False) as client:
            reply = client.get(url)
    except (httpx.HTTPError, OSError):
        return False
    return reply.status_code == status and body in reply.text


def listens(port: int) -> bool:
    """Whether a loopback port takes connections."""
    try:
        with sockets.create_connection(("127.0.0.1", port), timeout=PATIENCE):
            return True
    except OSError:
        return False


class SignInPage:
    """Whether the hub's sign-in page answers on the public port, and it is our proxy that serves it.

    The hub says it runs also where its proxy could not bind; another program may hold the port.
    """

    def __init__(self, layout: Layout, *, port: int) -> None:
        self._layout = layout
        self._port = port
        self._ours = False

    def __call__(self) -> bool:
        """Ask once: the page itself until it was seen to be ours, then only whether hub and proxy answer."""
        base = f"http://127.0.0.1:{self._port}/hub"
        if self._ours:
            self._ours = answers(f"{base}/health", status=200)
        elif answers(f"{base}/login", status=200):
            holder = port_holder(self._port)
            self._ours = holder is not None and holder.pid in lifecycle.leftovers(self._layout)
        return self._ours
