"""The parts of a network, started in one process: sites, gateway and engine, with keys made on the spot."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from unica_sdk import assembly
from unica_sdk.audit import AuditLog
from unica_sdk.errors import Unavailable
from unica_sdk.federation.grid import LocalEngine
from unica_sdk.gateway.faces.node import node_app
from unica_sdk.gateway.faces.researcher import researcher_app
from unica_sdk.gateway.identity import TokenIdentity
from unica_sdk.gateway.operator import Operator
from unica_sdk.gateway.service import Gateway
from unica_sdk.gateway.store import Store
from unica_sdk.node.agent import Agent
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest
from unica_sdk.node.site import LocalSite
from unica_sdk.pilots.phantom import write_collection
from unica_sdk.schemas.identity import Person, Scope
from unica_sdk.schemas.signing import sign
from unica_sdk.testing.portal import PortalTransport

HOLDER = "you"
"""The one person of a local network."""

Report = Callable[[str], None]
"""Called with what is being done, for a person who waits."""


class LocalStack:
    """Everything a network needs, in threads of this process, in one folder.

    `start` makes the sites' synthetic collections where the folder has none, and connects the sites.
    """

    def __init__(self, folder: Path, *, sites: Sequence[str], patients: int, seed: int, token: str) -> None:
        self._folder = folder
        self._sites = tuple(sites)
        self._patients, self._seed = patients, seed
        self._open = ExitStack()
        self._token = token
        self.homes: dict[str, NodeHome] = {}

    def start(self, report: Report) -> httpx.BaseTransport:
        """Start every part and return the transport to the gateway's researcher face."""
        with ExitStack() as opening:
            transport = self._start(opening, report)
            self._open = opening.pop_all()
        return transport

    def close(self) -> None:
        """Stop every part; the folder stays as it is."""
        self._open.close()

    def _start(self, opening: ExitStack, report: Report) -> httpx.BaseTransport:
        steward, ticket_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        for site in self._sites:
            self.homes[site] = self._site(site, report)
        # The hub's side begins anew each time, as its keys do; a kept folder keeps the sites' side.
        hub = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="unica-hub-")))
        audit = AuditLog(hub / "audit.jsonl")
        store = Store.open(f"sqlite:///{hub / 'gateway.sqlite'}")
        opening.callback(store.close)
        operator = Operator(store, audit=audit, steward_public_key=steward.public_key())
        self._enter(store, operator, steward, ticket_key)
        engine = LocalEngine(
            {site: LocalSite(home) for site, home in self.homes.items()},
            report=lambda job, update: gateway.report(job, update),
        )
        gateway = Gateway(
            store,
            audit=audit,
            ticket_key=ticket_key,
            steward_public_key=steward.public_key(),
            engine=engine,
        )
        opening.callback(engine.close)
        return self._connect(opening, gateway, report)

    def _site(self, site: str, report: Report) -> NodeHome:
        home = assembly.open_home(self._folder / "nodes" / site, site)
        report(f"{site}: drawing {self._patients} synthetic patients")
        collection = write_collection(
            self._folder / "source" / site, site=site, patients=self._patients, seed=self._seed
        )
        report(f"{site}: reading them into the index")
        assembly.describe(
            home,
            assembly.MAMMOGRAMS,
            provenance=assembly.DRAWN,
            keywords=("breast screening", "synthetic"),
            condition="breast_cancer",
        )
        ingest(
            home,
            collection.dicom,
            dataset=assembly.MAMMOGRAMS,
            title=f"Screening mammograms, {collection.title} (SYNTHETIC)",
            description="Computer-drawn phantom mammograms of people who do not exist. SYNTHETIC.",
            synthetic=True,
            clinical=collection.clinical,
        )
        return home

    def _enter(
        self, store: Store, operator: Operator, steward: Ed25519PrivateKey, ticket_key: Ed25519PrivateKey
    ) -> None:
        """Do what operator and steward do in an environment: sites, apps, one permit."""
        bundles = assembly.build_apps()
        apps = [bundle.id for bundle in bundles]
        for home in self.homes.values():
            assembly.join(
                home,
                store=store,
                operator=operator,
                steward=steward.public_key(),
                gateway=ticket_key.public_key(),
                apps=apps,
            )
        assembly.enter_apps(store, operator, bundles)
        permit = assembly.demonstration_permit(
            name="local-demonstration",
            holder=HOLDER,
            project="local",
            datasets=[f"{site}/{assembly.MAMMOGRAMS}" for site in self._sites],
            apps=apps,
            days=30,
        )
        operator.add_permit(sign(permit, steward))

    def _connect(self, opening: ExitStack, gateway: Gateway, report: Report) -> httpx.BaseTransport:
        portal = opening.enter_context(start_blocking_portal())
        watchdog = portal.start_task_soon(gateway.watch)
        opening.callback(watchdog.cancel)
        opening.callback(gateway.close)
        report("connecting the sites")
        self._run_agents(opening, PortalTransport(node_app(gateway), portal), gateway)
        people = {self._token: Person(subject=HOLDER, groups=("researchers",), scopes=Scope.ALL)}
        return PortalTransport(researcher_app(gateway, TokenIdentity(people)), portal)

    def _run_agents(self, opening: ExitStack, transport: httpx.BaseTransport, gateway: Gateway) -> None:
        stop = threading.Event()
        threads = []
        for site, home in self.homes.items():
            client = httpx.Client(base_url="http://gateway", transport=transport, timeout=60)
            agent = Agent(home, client)
            threads.append(
                threading.Thread(target=agent.run, args=(stop,), name=f"unica-{site}", daemon=True)
            )
            threads[-1].start()
        opening.callback(_end, stop, gateway, threads)
        deadline = time.monotonic() + 30
        while not all(node.online and node.datasets for node in gateway.nodes()):
            if time.monotonic() > deadline:
                raise Unavailable("The sites of the local network did not connect.", where=str(self._folder))
            time.sleep(0.02)


def _end(stop: threading.Event, gateway: Gateway, threads: Sequence[threading.Thread]) -> None:
    """Let held requests return first, so that no agent waits for one."""
    stop.set()
    gateway.release_waiters()
    for thread in threads:
        thread.join(10)
