"""The real federation for the tests: a SuperLink, a coordinator and three sites, each a process on loopback.

The engine face of the gateway is a small FastAPI application here, over a unix socket as in the product.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI, Header, HTTPException
from world import SITES, Authority, markers, save_authority

from unica_sdk.federation import adapter
from unica_sdk.federation.hub.engine import FlowerEngine
from unica_sdk.federation.hub.superlink import run_superlink
from unica_sdk.schemas.catalogue import NodeEnrolment
from unica_sdk.schemas.job import JobOrder, JobUpdate

SECRET = "the engine face's secret"
HERE = Path(__file__).parent


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], bool], *, seconds: float = 200.0, why: str = "") -> None:
    """Wait until something holds; the bound is against hanging, not a measurement."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain: {why}"
        time.sleep(0.05)


class EngineFace:
    """The part of a gateway that the coordinator speaks to."""

    def __init__(self) -> None:
        self.orders: dict[str, JobOrder] = {}
        self.updates: dict[str, list[JobUpdate]] = defaultdict(list)
        self.nodes: list[NodeEnrolment] = []
        self.unwanted: set[str] = set()

    def app(self) -> FastAPI:
        """The engine face over HTTP."""
        app = FastAPI()

        def check(authorization: str) -> None:
            if authorization != f"Bearer {SECRET}":
                raise HTTPException(401)

        @app.get("/engine/v1/jobs/{job}/order")
        def order(job: str, authorization: Annotated[str, Header()] = "") -> JobOrder:
            check(authorization)
            if job not in self.orders:
                raise HTTPException(404)
            return self.orders[job]

        @app.post("/engine/v1/jobs/{job}/updates")
        def updates(
            job: str, update: JobUpdate, authorization: Annotated[str, Header()] = ""
        ) -> dict[str, bool]:
            check(authorization)
            self.updates[job].append(update)
            return {"wanted": job not in self.unwanted}

        @app.get("/engine/v1/nodes")
        def nodes(authorization: Annotated[str, Header()] = "") -> list[NodeEnrolment]:
            check(authorization)
            return self.nodes

        return app


class Federation:
    """The processes, and what the tests do with them."""

    def __init__(self, state: Path, authority: Authority, approved: frozenset[str]) -> None:
        self.state, self.authority = state, authority
        self.markers = state / "markers"
        self.face = EngineFace()
        self.superlink = f"127.0.0.1:{free_port()}"
        self.socket = state / "engine.sock"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = dict(os.environ) | {
            "UNICA_TEST_MARKERS": str(self.markers),
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
        }
        self.markers.mkdir(parents=True)
        (state / "engine-face.secret").write_text(SECRET)
        save_authority(authority, state / "authority.json", approved, seconds=3.0)
        self.keys = {site: self._key(site) for site in SITES}
        self.engine = FlowerEngine(self.superlink, certificate=state / "engine" / "superlink.crt")

    def _key(self, site: str) -> str:
        home = self.state / "nodes" / site
        home.mkdir(parents=True)
        key = ec.generate_private_key(ec.SECP384R1())
        form = serialization.PrivateFormat.OpenSSH
        (home / "engine.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        self.face.nodes.append(
            NodeEnrolment(
                site=site, name=site, country="EU", signing_key="0" * 64, engine_key=public.decode()
            )
        )
        return public.decode()

    # ------------------------------------------------------------------------------------- processes

    def start(self) -> None:
        """Start everything and wait until the three sites are connected."""
        server = uvicorn.Server(
            uvicorn.Config(
                self.face.app(), uds=str(self.socket), log_level="warning", lifespan="off", ws="none"
            )
        )
        self._server, self._serving = server, threading.Thread(target=server.run, daemon=True)
        self._serving.start()
        self.start_engine()
        self.start_coordinator()
        for site in SITES:
            self.start_site(site)
        self.wait_online(*SITES)

    def start_engine(self) -> None:
        """Start the SuperLink."""
        launch = run_superlink(self.state / "engine", port=int(self.superlink.split(":")[1]))
        self._spawn("superlink", list(launch.command), launch.environment)

    def start_coordinator(self) -> None:
        """Start the coordinator."""
        gateway = f"unix://{self.socket}"
        script = str(HERE / "hub_process.py")
        command = [sys.executable, script, str(self.state), self.superlink, gateway]
        self._spawn("coordinator", command, self.environment)

    def start_site(self, site: str) -> None:
        """Start one site's process."""
        self._spawn(
            site,
            [sys.executable, str(HERE / "site_process.py"), site, str(self.state), self.superlink],
            self.environment,
        )

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with (self.state / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.state
            )

    def kill(self, name: str) -> None:
        """SIGKILL one process, as a power cut would."""
        self.processes[name].kill()
        self.processes[name].wait(10)

    def stop(self) -> None:
        """Stop every process this started."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self._server.should_exit = True
        self._serving.join(10)

    # -------------------------------------------------------------------------------------- what tests ask

    def peers(self) -> set[bytes]:
        """The keys of the sites that are connected now."""
        certificate = self.state / "engine" / "superlink.crt"
        try:
            with adapter.Control(self.superlink, certificate.read_bytes()) as control:
                return control.connected()
        except (FileNotFoundError, adapter.EngineGone):
            return set()

    def wait_online(self, *sites: str) -> None:
        """Wait until these sites, and no others, are connected."""
        wanted = {adapter.engine_key(self.keys[site]) for site in sites}
        wait_for(lambda: self.peers() == wanted, why=f"{sites} connected")

    def submit(self, order: JobOrder, bundle: bytes) -> None:
        """Start a job as the gateway does."""
        self.face.orders[order.job] = order
        self.engine.start(order, bundle)

    def last(self, job: str) -> JobUpdate:
        """The last thing that was said of a job."""
        return self.face.updates[job][-1]

    def ended(self, job: str) -> bool:
        """Whether a job has come to an end."""
        said = self.face.updates[job]
        return bool(said and said[-1].state and said[-1].state.final)

    def finish(self, job: str, *, seconds: float = 75.0) -> JobUpdate:
        """Wait for a job's end and return what was said last."""
        wait_for(lambda: self.ended(job), seconds=seconds, why=f"{job} to end")
        return self.last(job)

    def traces(self, kind: str = "imported") -> int:
        """How many times the app's code ran anywhere."""
        return len(markers(self.markers, kind))
