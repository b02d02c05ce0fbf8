"""The parts of the embedded environment: commands, variables, order, and when each one answers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from unica_sdk.environment import software
from unica_sdk.environment.demonstration import SITES
from unica_sdk.environment.files import read_json
from unica_sdk.environment.layout import SOFTWARE, Layout
from unica_sdk.environment.ports import Ports
from unica_sdk.environment.probes import SignInPage, answers, listens
from unica_sdk.environment.supervisor import Part
from unica_sdk.errors import ConfigurationError

GREETING_SECONDS = 45.0
"""A node whose last greeting at the gateway is older than this is not connected; it greets every ten."""


def embedded_parts(layout: Layout, ports: Ports) -> list[Part]:
    """Return every part of the embedded environment.

    Raises:
        ConfigurationError: the proxy is not installed, or `unica up` did not prepare the engine.
    """
    return [
        _superlink(layout, ports),
        _gateway(layout, ports),
        _engine(layout, ports),
        _hub(layout, ports),
        *(_node(layout, ports, place.site) for place in SITES),
    ]


def _superlink(layout: Layout, ports: Ports) -> Part:
    command = (read_json(layout.superlink_command) or {}).get("command")
    if not command:
        raise ConfigurationError(
            "The engine was not prepared.", where=str(layout.superlink_command), hint="Run `unica up`."
        )
    return Part(
        name="superlink",
        command=tuple(command),
        environment={"FLWR_HOME": str(layout.engine / "flwr")},
        ready=lambda started: listens(ports.superlink),
        address=ports.engine_address,
    )


def _gateway(layout: Layout, ports: Ports) -> Part:
    return Part(
        name="gateway",
        command=(sys.executable, "-m", "unica_sdk.environment.part_main", "gateway"),
        environment={"FLWR_HOME": str(layout.engine / "flwr-gateway")},
        ready=lambda started: answers("http://gateway/v1/me", status=401, socket=layout.gateway_socket),
        address=f"unix://{layout.gateway_socket}",
    )


def _engine(layout: Layout, ports: Ports) -> Part:
    return Part(
        name="engine",
        command=(sys.executable, "-m", "unica_sdk.environment.part_main", "engine"),
        environment={"FLWR_HOME": str(layout.engine / "flwr-engine"), "OMP_NUM_THREADS": "1"},
        # it serves nobody; the nodes connect only once it has registered their keys
        ready=lambda started: True,
        after=("superlink", "gateway"),
    )


def _hub(layout: Layout, ports: Ports) -> Part:
    page = SignInPage(layout, port=ports.public)
    return Part(
        name="hub",
        command=(sys.executable, "-m", "jupyterhub", "-f", str(SOFTWARE / "hub_config/jupyterhub_config.py")),
        environment={
            "UNICA_HUB_PORT": str(ports.public),
            "UNICA_HUB_API_PORT": str(ports.hub_api),
            "UNICA_PROXY_API_PORT": str(ports.proxy_api),
            "UNICA_DASHBOARDS_PORT": str(ports.dashboards),
            "UNICA_SERVICE_PORT": str(ports.service),
            "UNICA_PROXY_COMMAND": json.dumps(software.proxy_command()),
        },
        ready=lambda started: page(),
        address=ports.address,
    )


def _node(layout: Layout, ports: Ports, site: str) -> Part:
    home = layout.node(site)
    return Part(
        name=f"node-{site}",
        command=(
            *(sys.executable, "-m", "unica_sdk.cli", "node", "run", "--home", str(home)),
            *("--gateway", ports.node_address, "--engine", ports.engine_address),
            *("--certificate", str(layout.engine / "superlink.crt")),
        ),
        environment={"FLWR_HOME": str(home / "flwr"), "OMP_NUM_THREADS": "1"},
        ready=connected(home),
        after=("superlink", "gateway"),
    )


def connected(home: Path) -> Callable[[float], bool]:
    """Return a probe: has the node since its start greeted the gateway, lately, and joined the engine?"""

    def ready(started: float) -> bool:
        greeted, joined = _changed(home / "greeted"), _changed(home / "engine" / "engine-node")
        return min(greeted, joined) >= started and time.time() - greeted < GREETING_SECONDS

    return ready


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
