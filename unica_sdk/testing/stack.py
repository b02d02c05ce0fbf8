"""The parts of a network, started in one process: sites, gateway and engine, with keys made on the spot."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from unica_sdk.audit import AuditLog
from unica_sdk.errors import Unavailable
from unica_sdk.federation.bundle import Bundle, build
from unica_sdk.federation.grid import LocalEngine
from unica_sdk.gateway.faces.node import node_app
from unica_sdk.gateway.faces.researcher import researcher_app
from unica_sdk.gateway.identity import TokenIdentity
from unica_sdk.gateway.service import Gateway
from unica_sdk.gateway.store import Store
from unica_sdk.node.agent import Agent
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest
from unica_sdk.node.site import LocalSite
from unica_sdk.pilots.catalogue import bundled_apps
from unica_sdk.pilots.phantom import PROFILES, write_collection
from unica_sdk.schemas.app import App
from unica_sdk.schemas.contract import sorted_unique
from unica_sdk.schemas.identity import Person, Scope
from unica_sdk.schemas.permit import Permit, Purpose
from unica_sdk.schemas.signing import sign
from unica_sdk.testing.portal import PortalTransport

HOLDER = "you"
"""The one person of a local network."""

DATASET = "mammograms"

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
        bundles = [build(folder) for folder in bundled_apps().values()]
        for site in self._sites:
            self.homes[site] = self._site(site, report)
            self.homes[site].pin(
                steward.public_key().public_bytes_raw(), ticket_key.public_key().public_bytes_raw()
            )
            for bundle in bundles:
                self.homes[site].approve(bundle.id)
        # The hub's side begins anew each time, as its keys do; a kept folder keeps the sites' side.
        hub = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="unica-hub-")))
        store = Store.open(f"sqlite:///{hub / 'gateway.sqlite'}")
        opening.callback(store.close)
        self._enter(store, steward, bundles)
        engine = LocalEngine(
            {site: LocalSite(home) for site, home in self.homes.items()},
            report=lambda job, update: gateway.report(job, update),
        )
        gateway = Gateway(
            store,
            audit=AuditLog(hub / "audit.jsonl"),
            ticket_key=ticket_key,
            steward_public_key=steward.public_key(),
            engine=engine,
        )
        opening.callback(engine.close)
        return self._connect(opening, gateway, report)

    def _site(self, site: str, report: Report) -> NodeHome:
        profile = PROFILES[site]
        report(f"{profile.title}: drawing {self._patients} synthetic patients")
        source = self._folder / "source" / site
        write_collection(source, site=site, patients=self._patients, seed=self._seed)
        home_folder = self._folder / "nodes" / site
        if (home_folder / "node.toml").exists():
            home = NodeHome.open(home_folder)
        else:
            home = NodeHome.create(home_folder, site=site, name=profile.title, country=profile.country)
        report(f"{profile.title}: reading them into the index")
        ingest(
            home,
            source,
            dataset=DATASET,
            title=f"Screening mammograms, {profile.title} (SYNTHETIC)",
            description="Computer-drawn phantom mammograms of people who do not exist. SYNTHETIC.",
            synthetic=True,
            clinical=source / "clinical.csv",
        )
        return home

    def _enter(self, store: Store, steward: Ed25519PrivateKey, bundles: Sequence[Bundle]) -> None:
        """Do what the operator and the steward do in an environment: sites, apps, one permit."""
        for home in self.homes.values():
            store.enrol(home.enrolment())
        for bundle in bundles:
            store.add_app(App(id=bundle.id, manifest=bundle.manifest), bundle.content)
        now = datetime.now(UTC)
        permit = Permit(
            id="local-demonstration",
            holder=HOLDER,
            project="local",
            title="Demonstration on synthetic data in one process",
            purpose=Purpose.EDUCATION,
            legal_basis="None needed: synthetic data",
            datasets=tuple(f"{site}/{DATASET}" for site in self._sites),
            apps=sorted_unique(tuple(bundle.id for bundle in bundles)),
            demonstration=True,
            issued=now,
            expires=now + timedelta(days=30),
        )
        store.add_permit(sign(permit, steward), steward_public_key=steward.public_key())

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
