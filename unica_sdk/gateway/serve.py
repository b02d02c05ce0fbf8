"""The gateway's process: its listeners in one event loop, ended cleanly by SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn
from pydantic import ConfigDict, Field, SecretStr
from starlette.types import ASGIApp

from unica_sdk.audit import AuditLog
from unica_sdk.federation.ports import Engine
from unica_sdk.gateway.app import HubOAuth, engine_app, explorer_app, node_app, researcher_app, service_app
from unica_sdk.gateway.explorer import ExplorerDesk
from unica_sdk.gateway.explorer_clients import read_clients
from unica_sdk.gateway.identity import HubIdentity
from unica_sdk.gateway.keys import ensure_ticket_key, read_public_key
from unica_sdk.gateway.listeners import loopback_listener, remove_socket, unix_listener
from unica_sdk.gateway.service import PUBLISHER, Gateway
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.contract import Contract

_log = logging.getLogger(__name__)

RESEARCHER_MODE = 0o660
ENGINE_MODE = 0o600
"""Modes of the sockets: kernels reach theirs by their group, the engine's is the service user's alone."""

GOODBYE_SECONDS = 3
"""How long requests that are under way may take once the process is told to end."""


class GatewaySettings(Contract):
    """Everything the gateway's process is told. Secrets never show in a repr.

    `database` is an SQLAlchemy URL; `hub_api` the hub's own address (`http://127.0.0.1:…/hub/api`, or
    `http+unix://…`); `hub_token` the token of the hub's service `hub_client` (the OAuth client's secret).
    `publisher` and `contact` (an email address or a web page) say in the catalogue who publishes it.
    `explorer` is the file of the explorer's clients: where it is None, or nobody is in it, that face is off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str = Field(repr=False)
    audit: Path
    ticket_key: Path
    steward_public_key: Path
    researcher_socket: Path
    engine_socket: Path
    engine_secret: SecretStr
    node_port: int = Field(ge=0, lt=65536)
    service_port: int = Field(ge=0, lt=65536)
    hub_api: str
    hub_token: SecretStr
    hub_client: str = "service-unica"
    publisher: str = PUBLISHER
    contact: str = ""
    service_prefix: str = "/services/unica/"
    hub_prefix: str = "/hub/"
    explorer: Path | None = None


def serve(settings: GatewaySettings, engine: Engine) -> None:
    """Run the gateway until SIGTERM or SIGINT; call it in the main thread of its own process.

    Raises:
        ConfigurationError: a port or socket is taken, a key or the database cannot be read.
    """
    asyncio.run(_serve_until_signalled(settings, engine))


async def _serve_until_signalled(settings: GatewaySettings, engine: Engine) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, engine, stop=stop)


async def run(
    settings: GatewaySettings,
    engine: Engine,
    *,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
) -> None:
    """Serve every face until `stop` is set; `ready` is set once all of them take connections."""
    with ExitStack() as stack:
        gateway = stack.enter_context(_opened(settings, engine))
        explorers = ExplorerDesk(gateway, audit=AuditLog(settings.audit))
        listeners = _listen(settings, stack)
        faces = _faces(settings, gateway, explorers)
        servers = {name: _Server(faces[name]) for name in listeners}
        gateway.jobs.resume()
        tasks = [
            asyncio.create_task(server.serve(sockets=[listeners[name]]), name=f"face {name}")
            for name, server in servers.items()
        ]
        watch = asyncio.create_task(gateway.watch(), name="watchdog")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            while not (all(server.started for server in servers.values()) or _over(tasks, stop)):
                await asyncio.sleep(0.01)
            _log.info("The gateway serves %s.", ", ".join(servers))
            if ready is not None:
                ready.set()
            # A face or the watchdog ends early only by a fault; then the whole process must end and say so.
            await asyncio.wait({*tasks, watch, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            explorers.close()
            gateway.release_waiters()
            for server in servers.values():
                server.should_exit = True
            watch.cancel()
            stopping.cancel()
            await asyncio.gather(*tasks)
            with contextlib.suppress(asyncio.CancelledError):
                await watch


def _over(tasks: list[asyncio.Task[None]], stop: asyncio.Event) -> bool:
    return stop.is_set() or any(task.done() for task in tasks)


class _Server(uvicorn.Server):
    """One face's server; signals are the process's business, and there is one process for all faces."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=GOODBYE_SECONDS,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@contextmanager
def _opened(settings: GatewaySettings, engine: Engine) -> Iterator[Gateway]:
    store = Store.open(settings.database)
    try:
        gateway = Gateway(
            store,
            audit=AuditLog(settings.audit),
            ticket_key=ensure_ticket_key(settings.ticket_key),
            steward_public_key=read_public_key(settings.steward_public_key),
            engine=engine,
            publisher=settings.publisher,
            contact=settings.contact,
        )
        try:
            yield gateway
        finally:
            gateway.close()
    finally:
        store.close()


def _listen(settings: GatewaySettings, stack: ExitStack) -> Mapping[str, socket.socket]:
    listeners = {}
    for name, path, mode in (
        ("researcher", settings.researcher_socket, RESEARCHER_MODE),
        ("engine", settings.engine_socket, ENGINE_MODE),
    ):
        listeners[name] = stack.enter_context(unix_listener(path, mode=mode))
        stack.callback(remove_socket, path)
    for name, port in (("node", settings.node_port), ("pages", settings.service_port)):
        listeners[name] = stack.enter_context(loopback_listener(port))
    if settings.explorer is not None and (clients := read_clients(settings.explorer)).keys:
        listeners["explorer"] = stack.enter_context(loopback_listener(clients.port))
    return listeners


def _faces(settings: GatewaySettings, gateway: Gateway, explorers: ExplorerDesk) -> Mapping[str, ASGIApp]:
    identity = HubIdentity(settings.hub_api)
    oauth = HubOAuth(
        api_url=settings.hub_api,
        client_id=settings.hub_client,
        client_secret=settings.hub_token.get_secret_value(),
        prefix=settings.service_prefix,
        hub_prefix=settings.hub_prefix,
    )
    faces: dict[str, ASGIApp] = {
        "researcher": researcher_app(gateway, identity),
        "engine": engine_app(gateway, settings.engine_secret.get_secret_value().encode()),
        "node": node_app(gateway),
        "pages": service_app(gateway, identity, oauth),
    }
    if settings.explorer is not None:
        faces["explorer"] = explorer_app(explorers, settings.explorer)
    return faces
