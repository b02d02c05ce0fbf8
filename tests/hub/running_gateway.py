"""Starts the real gateway beside the real hub, and speaks as a site to it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jwt
from browser import free_ports, wait_until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from running_hub import RunningHub

from unica_sdk.gateway.identity import AUDIENCE
from unica_sdk.gateway.keys import write_public_key
from unica_sdk.schemas.audit import GENESIS
from unica_sdk.schemas.catalogue import DatasetRecord, NodeEnrolment
from unica_sdk.schemas.exchange import Hello

NAMES = {"gr": ("Greece", "GR"), "pt": ("Portugal", "PT")}


@dataclass
class RunningGateway:
    """The gateway of one hub, with the sites `gr` and `pt`."""

    hub: RunningHub
    records: tuple[DatasetRecord, ...]
    node_port: int = field(default_factory=lambda: free_ports(1)[0])
    keys: dict[str, Ed25519PrivateKey] = field(
        default_factory=lambda: {site: Ed25519PrivateKey.generate() for site in NAMES}
    )
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its socket is there."""
        plan = self.hub.state / "gateway-plan.json"
        plan.write_text(json.dumps(self._plan()))
        plan.chmod(0o600)
        script = Path(__file__).with_name("gateway_process.py")
        with (self.hub.state / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), str(plan)], stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self._ready, what="the gateway answers")

    def _plan(self) -> dict[str, object]:
        folder = self.hub.state / "gateway"
        folder.mkdir()
        self.hub.settings.gateway_socket.parent.mkdir(exist_ok=True)
        write_public_key(folder / "steward.pub", Ed25519PrivateKey.generate().public_key())
        return {
            "settings": {
                "database": f"sqlite:///{folder / 'gateway.sqlite'}",
                "audit": str(folder / "audit.jsonl"),
                "ticket_key": str(folder / "ticket.key"),
                "steward_public_key": str(folder / "steward.pub"),
                "researcher_socket": str(self.hub.settings.gateway_socket),
                "engine_socket": str(self.hub.state / "run" / "engine.sock"),
                "engine_secret": secrets.token_hex(16),
                "node_port": self.node_port,
                "service_port": self.hub.settings.service_port,
                "hub_api": self.hub.settings.hub_api,
                "hub_token": self.hub.tokens.gateway,
            },
            "enrolments": [self._enrolment(site).model_dump(mode="json") for site in NAMES],
            "records": [record.model_dump(mode="json") for record in self.records],
        }

    def _enrolment(self, site: str) -> NodeEnrolment:
        name, country = NAMES[site]
        public = self.keys[site].public_key().public_bytes_raw().hex()
        return NodeEnrolment(site=site, name=name, country=country, signing_key=public, engine_key="none")

    def _ready(self) -> bool:
        assert self.process is not None
        log = (self.hub.state / "gateway.log").read_text(errors="replace")
        assert self.process.poll() is None, log
        return self.hub.settings.gateway_socket.exists()

    def hear_from(self, site: str) -> None:
        """Say hello as the site's node would: for the next 25 seconds it is online."""
        now = int(time.time())
        claims = {"sub": site, "aud": AUDIENCE, "iat": now, "exp": now + 60}
        token = jwt.encode(claims, self.keys[site], algorithm="EdDSA")
        own = tuple(record for record in self.records if record.site == site)
        reply = httpx.post(
            f"http://127.0.0.1:{self.node_port}/node/v1/hello",
            content=Hello(datasets=own, audit_head=GENESIS, audit_length=0).canonical(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=30,
        )
        assert reply.status_code == 200, reply.text

    def stop(self) -> None:
        """End it as the supervisor would."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)
