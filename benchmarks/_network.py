"""A network to measure on one machine: a real gateway process, real nodes, and nodes that only answer.

Each part is this file, run as a process of its own with its settings on standard input:

    gateway    the gateway as an environment runs it, with a hub that knows one person
    nodes      real agents in threads, each with its home and a small synthetic index
    simulated  many sites on one event loop, which answer every count with the same number
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from unica_sdk.client.network import Network
from unica_sdk.client.transport import open_gateway
from unica_sdk.gateway.keys import write_public_key
from unica_sdk.gateway.serve import GatewaySettings, serve
from unica_sdk.gateway.store import Store
from unica_sdk.node.about import About, say
from unica_sdk.node.agent import Agent
from unica_sdk.node.home import NodeHome, policy_text
from unica_sdk.node.ingest import ingest
from unica_sdk.pilots.phantom import write_collection
from unica_sdk.schemas.catalogue import DatasetRecord, NodeEnrolment
from unica_sdk.schemas.cohort import Released
from unica_sdk.schemas.exchange import Answer, Hello
from unica_sdk.schemas.identity import Scope
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.vocabulary import VERSION

NONE: Mapping[str, Sequence[DatasetRecord]] = {}
PATIENTS = 120
TOKEN = "a benchmark's token"  # noqa: S105 - of a hub that ends with the benchmark
READY_SECONDS = 120
POLICY = SitePolicy(noise=100, site_budget=10_000, person_budget=10_000)
"""A budget that a benchmark does not use up, and the noise it takes."""


@dataclass
class Measured:
    """A running network: the client, the processes by name, and the sites of each kind."""

    address: str
    client: Network
    processes: dict[str, subprocess.Popen[bytes]]
    real: tuple[str, ...]
    simulated: tuple[str, ...]

    @contextmanager
    def asleep(self, name: str) -> Iterator[None]:
        """Hold a process still while the block runs, as a machine that hangs: its connections stay."""
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)


@contextmanager
def running(
    folder: Path, *, real: int = 0, simulated: int = 0, records: Mapping[str, Sequence[DatasetRecord]] = NONE
) -> Iterator[Measured]:
    """Start a network and wait until every site is connected; the last real site is a process of its own.

    `records` are in the catalogue from the start, by sites that are enrolled and never there.
    """
    names = tuple(f"site{number:02}" for number in range(real))
    sims = tuple(f"sim{number:03}" for number in range(simulated))
    with ExitStack() as stack:
        keys = {site: Ed25519PrivateKey.generate() for site in sims}
        homes = _homes(folder, names)
        settings = _settings(folder, stack.enter_context(_hub()))
        store = Store.open(settings["database"])
        for home in homes.values():
            store.enrol(home.enrolment())
        for site, key in keys.items():
            store.enrol(_enrolment(site, key))
        fill(store, records)
        store.close()
        processes = {"gateway": _started(stack, "gateway", settings)}
        url = f"http://127.0.0.1:{settings['node_port']}"
        _wait_for_port(settings["node_port"])
        half = len(names) // 2
        for part, sites in (
            ("nodes", names[:half]),
            ("more nodes", names[half:-1]),
            ("last node", names[-1:]),
        ):
            if sites:
                told = {"url": url, "homes": [str(homes[site].folder) for site in sites]}
                processes[part] = _started(stack, "nodes", told)
        if sims:
            told = {"url": url, "keys": {site: key.private_bytes_raw().hex() for site, key in keys.items()}}
            processes["simulated"] = _started(stack, "simulated", told)
        address = f"unix://{settings['researcher_socket']}"
        client = stack.enter_context(Network(open_gateway(address, token=TOKEN)))
        _wait_for(client, {*names, *sims}, folder)
        yield Measured(address=address, client=client, processes=processes, real=names, simulated=sims)


_ABOUT = About(
    description="Synthetic: of nobody.",
    keywords=("synthetic",),
    contact="nobody@unica.example",
    provenance="Made by a program: there is no person behind it.",
    collection_method="patient_based",
)
"""What a site must say before its record is published."""


def fill(store: Store, records: Mapping[str, Sequence[DatasetRecord]]) -> None:
    """Enter sites with these records."""
    for site, described in records.items():
        store.enrol(_enrolment(site, Ed25519PrivateKey.generate()))
        store.put_records(site, tuple(described), at=datetime.now(UTC))


def _wait_for_port(port: int) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            raise SystemExit("the gateway did not start")
        time.sleep(0.1)


def _wait_for(client: Network, sites: set[str], folder: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while not sites <= {node.site for node in client.nodes if node.online}:
        if time.monotonic() > end:
            raise SystemExit(f"not every site connected: {folder}")
        time.sleep(0.2)


def _homes(folder: Path, sites: Sequence[str]) -> dict[str, NodeHome]:
    """Make a node's home for each site; the first reads the images, the others get a copy of its index."""
    collection = write_collection(folder / "source", site="gr", patients=PATIENTS) if sites else None
    homes: dict[str, NodeHome] = {}
    for site in sites:
        home = NodeHome.create(folder / "homes" / site, site=site, name=site, country="GR")
        (home.folder / "policy.toml").write_text(policy_text(POLICY))
        say(home, None, _ABOUT)
        if homes:
            first = next(iter(homes.values()))
            shutil.copytree(first.index_folder, home.index_folder, dirs_exist_ok=True)
            shutil.copy(first.folder / "site.key", home.folder / "site.key")
        elif collection:
            ingest(
                home, collection.dicom, dataset="mammograms", title="Mammograms (SYNTHETIC)", description="",
                synthetic=True, clinical=collection.clinical, workers=1,
            )  # fmt: skip
        homes[site] = home
    return homes


def _settings(folder: Path, hub_port: int) -> dict[str, Any]:
    write_public_key(folder / "steward.pub", Ed25519PrivateKey.generate().public_key())
    return {
        "database": f"sqlite:///{folder}/gateway.sqlite",
        "audit": str(folder / "audit.jsonl"),
        "ticket_key": str(folder / "ticket.key"),
        "steward_public_key": str(folder / "steward.pub"),
        "researcher_socket": str(folder / "gateway.sock"),
        "engine_socket": str(folder / "engine.sock"),
        "engine_secret": "none",
        "node_port": _free_port(),
        "service_port": _free_port(),
        "hub_api": f"http://127.0.0.1:{hub_port}/hub/api",
        "hub_token": "none",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _enrolment(site: str, key: Ed25519PrivateKey) -> NodeEnrolment:
    public = key.public_key().public_bytes_raw().hex()
    return NodeEnrolment(site=site, name=site, country="GR", signing_key=public, engine_key="none")


def _started(stack: ExitStack, part: str, settings: dict[str, Any]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(  # noqa: S603 - this file itself
        [sys.executable, __file__, part], stdin=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    process.stdin.write(json.dumps(settings).encode())
    process.stdin.close()
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _hub() -> Iterator[int]:
    """Serve the one page of the hub's API that the gateway asks: who holds a token."""
    person = json.dumps({"kind": "user", "name": "alice", "groups": [], "scopes": list(Scope.ALL)}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(person)))
            self.end_headers()
            self.wfile.write(person)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class _NoEngine:
    """No job is started in this network."""

    def start(self, order: object, bundle: bytes) -> None:
        raise ConnectionError

    def stop(self, job: str) -> None:
        return


def _run_nodes(url: str, homes: list[str]) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = []
    for folder in homes:
        agent = Agent(NodeHome.open(Path(folder)), httpx.Client(base_url=url, timeout=60))
        threads.append(threading.Thread(target=agent.run, args=(stop,)))
        threads[-1].start()
    stop.wait()
    for thread in threads:
        thread.join()
    # Held requests are daemons' business; what DuckDB says of their connections at the end is no news.
    os._exit(0)


async def _run_simulated(url: str, keys: dict[str, str]) -> None:
    port = int(url.rpartition(":")[2])
    await asyncio.gather(*(_simulate(port, site, bytes.fromhex(key)) for site, key in keys.items()))


class _Line:
    """One connection kept open, and no more of HTTP than it takes: the sites are not what is measured."""

    def __init__(self, port: int, token: Callable[[], str]) -> None:
        self._port = port
        self._token = token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, body: bytes = b"") -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {self._token()}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith((b"http/1.1 200", b"http/1.1 204")):
            raise SystemExit(f"the gateway said {head.partition(b' ')[2][:40]!r}")
        _, _, length = head.partition(b"content-length: ")
        return await reader.readexactly(int(length.partition(b"\r")[0] or 0))


async def _simulate(port: int, site: str, key: bytes) -> None:
    """Poll, and answer on a second connection while the next poll is held open, as an agent does."""
    private = Ed25519PrivateKey.from_private_bytes(key)

    @lru_cache(maxsize=1)
    def signed(period: int) -> str:
        claims = {"sub": site, "aud": "unica-gateway", "iat": period * 20, "exp": period * 20 + 60}
        return jwt.encode(claims, private, algorithm="EdDSA")

    def token() -> str:
        return signed(int(time.time()) // 20)

    polls, answers, replying = _Line(port, token), _Line(port, token), asyncio.Lock()
    count = Released(site=site, n=40, low=30, high=50, index_version=1)

    async def reply(question: str) -> None:
        async with replying:
            answer = Answer(question=question, count=count).model_dump_json().encode()
            await answers.send("POST", "/node/v1/answers", answer)

    async def beat() -> None:
        told = Hello(datasets=(_described(site, count),), policy=POLICY, audit_head="", audit_length=0)
        hello = told.model_dump_json().encode()
        while True:
            async with replying:
                await answers.send("POST", "/node/v1/hello", hello)
            await asyncio.sleep(10)

    async with asyncio.TaskGroup() as group:
        group.create_task(beat())
        while True:
            for question in json.loads(await polls.send("GET", "/node/v1/questions?wait=20")):
                group.create_task(reply(question["id"]))


def _described(site: str, count: Released) -> DatasetRecord:
    return DatasetRecord(
        id=f"{site}/images", site=site, title="Images (SYNTHETIC)", description="", synthetic=True,
        patients=count, studies=count, modalities=("MG",), body_parts=(), manufacturers=(), ages=None,
        vocabulary=VERSION, index_version=count.index_version, issued=datetime.now(UTC),
    )  # fmt: skip


def main() -> None:
    """Be the part that is named, until told to end."""
    part, told = sys.argv[1], json.loads(sys.stdin.read())
    if part == "gateway":
        serve(GatewaySettings.model_validate(told), _NoEngine())
    elif part == "nodes":
        _run_nodes(**told)
    else:
        asyncio.run(_run_simulated(**told))


if __name__ == "__main__":
    main()
