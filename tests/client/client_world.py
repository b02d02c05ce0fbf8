"""A real gateway over ASGI in this process, sites that answer as a test wants, and the client's network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from gateway_world import Respond, World, build, connected, record, releasing, silent

from unica_sdk.client.network import Network
from unica_sdk.client.transport import Gateway
from unica_sdk.schemas.cohort import Cell, Released, Suppressed
from unica_sdk.schemas.exchange import Answer, Hello
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.testing.portal import PortalTransport

POLICY = SitePolicy()


class Counting(httpx.BaseTransport):
    """Passes requests on, unless the gateway is to be away, and keeps their paths."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self.paths: list[str] = []
        self.away = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if self.away:
            raise httpx.ConnectError("refused", request=request)
        return self._inner.handle_request(request)


@dataclass
class ClientWorld:
    world: World
    portal: BlockingPortal
    transport: Counting
    network: Network
    asked: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def built(cls, folder: Path) -> Iterator[ClientWorld]:
        world = build(folder)
        try:
            with start_blocking_portal() as portal:
                transport = Counting(PortalTransport(world.researcher, portal))
                gateway = Gateway(
                    base_url="http://gateway", token="alice-token", transport=transport, where="test"
                )
                with Network(gateway) as network:
                    yield cls(world, portal, transport, network)
                world.gateway.close()
        finally:
            world.store.close()

    @contextmanager
    def sites(self, **respond: Respond) -> Iterator[None]:
        """Keep sites connected while the block runs; what they are asked is kept in `asked`."""

        def keeping(inner: Respond) -> Respond:
            def respond(site: str, question: dict[str, Any]) -> Answer | None:
                self.asked.append({"site": site, **question})
                return inner(site, question)

            return respond

        kept = {site: keeping(inner) for site, inner in respond.items()}
        with self.portal.wrap_async_context_manager(connected(self.world, policy=POLICY, **kept)):
            yield

    def filled(self, number: int, *, site: str = "gr", **changed: Any) -> None:
        """Let a site describe so many datasets."""
        records = tuple(record(site, name=f"d{n:03}", **changed) for n in range(number))
        hello = Hello(datasets=records, policy=POLICY, audit_head="h", audit_length=1)
        self.world.gateway.hello(site, hello)


def with_left(left: int) -> Respond:
    """Answer with 40 people and so much of the budget."""

    def respond(site: str, question: dict[str, Any]) -> Answer:
        return releasing(site, question).model_copy(update={"left": left})

    return respond


def by_sex(site: str, question: dict[str, Any]) -> Answer:
    """Answer a breakdown with many women and few men."""
    many = Released(site=site, n=100, low=80, high=120, index_version=1)
    few = Suppressed(site=site, below=50, index_version=1)
    cells = (Cell(values=("female",), count=many), Cell(values=("male",), count=few))
    if question["kind"] == "count":
        return Answer(question=question["id"], count=many)
    return Answer(question=question["id"], count=many, cells=cells, left=7)


__all__ = ["POLICY", "ClientWorld", "by_sex", "releasing", "silent", "with_left"]
