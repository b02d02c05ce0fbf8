"""The processes of the embedded environment that are ours: `python -m unica_sdk.environment.part_main NAME`.

Everything they need to know stands in the state folder, which `UNICA_STATE` names.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

from pydantic import SecretStr

from unica_sdk.environment.layout import Layout
from unica_sdk.environment.ports import Ports
from unica_sdk.errors import ConfigurationError, UnicaError


def gateway(layout: Layout, ports: Ports) -> int:
    """Serve all faces of the gateway."""
    from hub_config import secrets
    from unica_sdk.environment.operator import database_url
    from unica_sdk.federation.hub.engine import FlowerEngine
    from unica_sdk.federation.hub.superlink import CERTIFICATE
    from unica_sdk.gateway.serve import GatewaySettings, serve

    settings = GatewaySettings(
        database=database_url(layout),
        audit=layout.gateway / "audit.jsonl",
        ticket_key=layout.gateway / "ticket.key",
        steward_public_key=layout.gateway / "steward.pub",
        researcher_socket=layout.gateway_socket,
        engine_socket=layout.engine_socket,
        engine_secret=SecretStr(layout.engine_secret.read_text().strip()),
        node_port=ports.node,
        service_port=ports.service,
        hub_api=ports.hub_api_url,
        hub_token=SecretStr(secrets.ensure(layout.state).gateway),
        explorer=layout.explorer,
    )
    serve(settings, FlowerEngine(ports.engine_address, certificate=layout.engine / CERTIFICATE))
    return 0


def engine(layout: Layout, ports: Ports) -> int:
    """Run the server side of jobs."""
    from unica_sdk.environment.workers import run_until_stopped
    from unica_sdk.federation.hub.coordinator import run_coordinator

    def coordinate(stop: threading.Event) -> None:
        run_coordinator(
            superlink=ports.engine_address,
            engine=layout.engine,
            gateway=f"unix://{layout.engine_socket}",
            gateway_secret=layout.engine_secret,
            stop=stop,
        )

    return run_until_stopped({"coordinator": coordinate})


def main() -> int:
    """Run one part and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    parts = {"gateway": gateway, "engine": engine}
    try:
        state, name = os.environ["UNICA_STATE"], sys.argv[1]
        layout = Layout(Path(state))
        return parts[name](layout, Ports.read(layout))
    except (KeyError, IndexError) as err:
        raise ConfigurationError(
            "The environment's parts are started by `unica up`.", hint="Run `unica up`."
        ) from err


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UnicaError as error:
        logging.getLogger(__name__).critical("%s", error)
        sys.exit(1)
