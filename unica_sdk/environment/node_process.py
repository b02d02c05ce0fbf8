"""One node: the agent that talks to the gateway and the runner that talks to the engine, in one process."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import httpx

from unica_sdk.environment.workers import run_until_stopped
from unica_sdk.federation.site.fleet import run_node
from unica_sdk.node.agent import Agent
from unica_sdk.node.home import NodeHome
from unica_sdk.node.site import LocalSite

GREETED = "greeted"
"""A file in the node's home, touched whenever the gateway answered a hello."""


def run_node_process(folder: Path, *, gateway: str, engine: str, certificate: Path) -> int:
    """Run a node until it is told to stop, and return the process's exit code.

    Args:
        folder: the node's home.
        gateway: the address of the gateway's face for nodes.
        engine: host and port of the engine.
        certificate: the engine's certificate, a PEM file.

    Raises:
        ConfigurationError: there is no node in this folder.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    home = NodeHome.open(folder)

    def note(response: httpx.Response) -> None:
        if response.is_success and response.request.url.path.endswith("/hello"):
            (folder / GREETED).touch(mode=0o600)

    def talk(stop: threading.Event) -> None:
        hooks = {"response": [note]}
        with httpx.Client(base_url=gateway, timeout=60, trust_env=False, event_hooks=hooks) as client:
            Agent(home, client).run(stop)

    def work(stop: threading.Event) -> None:
        run_node(
            LocalSite(home),
            superlink=engine,
            certificate=certificate,
            engine_key=home.engine_key_file,
            home=folder / "engine",
            stop=stop,
        )

    return run_until_stopped({"agent": talk, "runner": work})
