"""One gateway with two enrolled sites, an app, a permit and an engine that only writes down what it gets."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from unica_sdk.audit import AuditLog
from unica_sdk.gateway.app import engine_app, node_app, researcher_app
from unica_sdk.gateway.identity import TokenIdentity
from unica_sdk.gateway.operator import Operator
from unica_sdk.gateway.service import Gateway
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.app import App, AppManifest, ImageInput, LabelInput, MetricBound, NumberParameter
from unica_sdk.schemas.catalogue import DatasetRecord, NodeEnrolment
from unica_sdk.schemas.cohort import Released, Snapshot, Suppressed
from unica_sdk.schemas.contract import sha256
from unica_sdk.schemas.exchange import Answer, Hello
from unica_sdk.schemas.identity import Person, Scope
from unica_sdk.schemas.job import JobOrder, JobRequest
from unica_sdk.schemas.permit import Permit, Purpose
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.signing import SignedDocument, sign

SITES = ("gr", "lt")
SECRET = "engine-secret"
BUNDLE = b"the bytes of an app"


@dataclass
class WritingEngine:
    """An engine that keeps what it was asked."""

    started: list[tuple[JobOrder, bytes]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    refuses: bool = False
    before_refusing: Callable[[], object] = lambda: None
    asked: threading.Event = field(default_factory=threading.Event)
    told_to_stop: threading.Event = field(default_factory=threading.Event)

    def start(self, order: JobOrder, bundle: bytes) -> None:
        if self.refuses:
            self.before_refusing()
            raise ConnectionError("the engine is away")
        self.started.append((order, bundle))
        self.asked.set()

    def stop(self, job: str) -> None:
        self.stopped.append(job)
        self.told_to_stop.set()


@dataclass
class World:
    folder: Path
    store: Store
    audit: AuditLog
    gateway: Gateway
    engine: WritingEngine
    steward: Ed25519PrivateKey
    ticket_key: Ed25519PrivateKey
    site_keys: dict[str, Ed25519PrivateKey]
    app: App
    now: list[datetime]

    @property
    def researcher(self) -> FastAPI:
        people = {
            "alice-token": Person(subject="alice", groups=("researchers",), scopes=Scope.ALL),
            "bob-token": Person(subject="bob", scopes=Scope.ALL),
            "weak-token": Person(subject="alice"),
        }
        return researcher_app(self.gateway, TokenIdentity(people))

    @property
    def nodes(self) -> FastAPI:
        return node_app(self.gateway)

    @property
    def engines(self) -> FastAPI:
        return engine_app(self.gateway, SECRET.encode())

    @property
    def operator(self) -> Operator:
        return Operator(self.store, audit=self.audit, steward_public_key=self.steward.public_key())

    def signed_permit(self, **changed: Any) -> SignedDocument:
        values: dict[str, Any] = {
            "id": "p-1",
            "holder": "alice",
            "project": "screening",
            "title": "Screening",
            "purpose": Purpose.SCIENTIFIC_RESEARCH,
            "legal_basis": "Art. 53",
            "datasets": ("gr/mammo", "lt/mammo"),
            "apps": (self.app.id,),
            "issued": self.now[0] - timedelta(days=1),
            "expires": self.now[0] + timedelta(days=1),
        }
        return sign(Permit(**{**values, **changed}), self.steward)

    def site_token(self, site: str, *, key: Ed25519PrivateKey | None = None, **changed: Any) -> str:
        now = int(time.time())
        claims = {"sub": site, "aud": "unica-gateway", "iat": now, "exp": now + 60, **changed}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key or self.site_keys[site], algorithm="EdDSA")

    def actions(self) -> list[str]:
        return [entry.action for entry in self.audit.entries()]


def build(folder: Path) -> World:
    steward, ticket_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    site_keys = {site: Ed25519PrivateKey.generate() for site in SITES}
    store = Store.open(f"sqlite:///{folder}/gateway.sqlite")
    audit, engine, now = AuditLog(folder / "audit.jsonl"), WritingEngine(), [datetime.now(UTC)]
    gateway = Gateway(
        store,
        audit=audit,
        ticket_key=ticket_key,
        steward_public_key=steward.public_key(),
        engine=engine,
        clock=lambda: now[0],
        count_seconds=2.0,
        freeze_seconds=2.0,
        resend_seconds=0.2,
    )
    app = App(id=sha256(BUNDLE), manifest=manifest())
    made = World(folder, store, audit, gateway, engine, steward, ticket_key, site_keys, app, now)
    for site in SITES:
        made.operator.enrol(enrolment(site, site_keys[site]))
    made.operator.add_app(app, BUNDLE)
    made.operator.add_permit(made.signed_permit())
    return made


def manifest() -> AppManifest:
    return AppManifest(
        name="breast-screen",
        version="1.0.0",
        title="Breast screening",
        description="A small network.",
        image=ImageInput(modality="MG", rows=64, columns=80),
        label=LabelInput(field="outcome", positive=("screen_detected",)),
        parameters={"epochs": NumberParameter(description="", default=1, low=1, high=5, integer=True)},
        metrics={"loss": MetricBound(description="", low=0, high=100)},
    )


def enrolment(site: str, key: Ed25519PrivateKey) -> NodeEnrolment:
    return NodeEnrolment(
        site=site,
        name=f"Hospital {site}",
        country=site.upper(),
        signing_key=key.public_key().public_bytes_raw().hex(),
        engine_key=f"ecdsa-sha2-nistp384 {site}",
    )


def record(site: str, *, n: int = 800, name: str = "mammo", **changed: Any) -> DatasetRecord:
    count = Released(site=site, n=n, low=n - 2, high=n + 2, index_version=1)
    values: dict[str, Any] = {
        "id": f"{site}/{name}",
        "site": site,
        "title": "Phantom mammograms",
        "description": "Synthetic.",
        "keywords": ("screening",),
        "publisher": f"Hospital {site}",
        "country": site.upper(),
        "contact": "data@hospital.example",
        "provenance": "Drawn by a program.",
        "collection_method": "patient_based",
        "synthetic": True,
        "patients": count,
        "studies": count,
        "modalities": ("MG",),
        "body_parts": ("breast",),
        "manufacturers": ("acme",),
        "ages": None,
        "vocabulary": "2026.11",
        "index_version": 1,
        "issued": datetime.now(UTC),
    }
    return DatasetRecord(**{**values, **changed})


def hello(
    site: str,
    *,
    head: str = "h1",
    length: int = 1,
    policy: SitePolicy | None = None,
    **changed: Any,
) -> Hello:
    records = (record(site, **changed),)
    return Hello(datasets=records, policy=policy, audit_head=head, audit_length=length)


def client(app: FastAPI, token: str | None) -> httpx.AsyncClient:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    # A face answers its own failures; what the server would log must not hide the answer from a test.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://face", headers=headers)


Respond = Callable[[str, dict[str, Any]], Answer | None]


def releasing(site: str, question: dict[str, Any]) -> Answer:
    """Answer everything with 40 people, and a snapshot where one is asked for."""
    count = Released(site=site, n=40, low=38, high=42, index_version=1)
    snapshot = None
    if question["kind"] == "freeze":
        identity = sha256(json.dumps([site, question["query"]]).encode()).removeprefix("sha256:")
        snapshot = Snapshot(site=site, id=f"hmac:{identity}", cases=count, index_version=1)
    return Answer(question=question["id"], count=count, snapshot=snapshot)


def suppressing(site: str, question: dict[str, Any]) -> Answer:
    return Answer(question=question["id"], count=Suppressed(site=site, below=10, index_version=1))


def silent(site: str, question: dict[str, Any]) -> None:
    return None


@asynccontextmanager
async def connected(
    world: World, *, policy: SitePolicy | None = None, **respond: Respond
) -> AsyncIterator[None]:
    """Keep sites connected through the node face, each answering in its way."""

    async def live(site: str, answering: Respond, greeted: asyncio.Event) -> None:
        async with client(world.nodes, world.site_token(site)) as node:
            welcome = await node.post("/node/v1/hello", content=hello(site, policy=policy).model_dump_json())
            assert welcome.status_code == 200, welcome.text
            greeted.set()
            while True:
                reply = await node.get("/node/v1/questions", params={"wait": 5})
                for question in reply.json():
                    answer = answering(site, question)
                    if answer is not None:
                        await node.post("/node/v1/answers", content=answer.model_dump_json())

    greetings = {site: asyncio.Event() for site in respond}
    tasks = [asyncio.create_task(live(s, answering, greetings[s])) for s, answering in respond.items()]
    try:
        greeted = asyncio.gather(*(event.wait() for event in greetings.values()))
        await asyncio.wait({*tasks, greeted}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.wait_for(greeted, 10)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def frozen(world: World) -> str:
    """Freeze a cohort at both sites for Alice and return its identity."""
    async with (
        connected(world, gr=releasing, lt=releasing),
        client(world.researcher, "alice-token") as alice,
    ):
        reply = await alice.post("/v1/cohorts", json={"query": {"modality": ["MG"]}, "permit": "p-1"})
    assert reply.status_code == 200, reply.text
    identity: str = reply.json()["id"]
    return identity


def request_for(world: World, cohort: str, **changed: Any) -> JobRequest:
    return JobRequest(**{"app": world.app.id, "cohort": cohort, "permit": "p-1", "deadline": 60, **changed})


async def until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait for something a thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)
