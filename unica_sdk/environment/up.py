"""`unica up`: from a folder, or from nothing, to an environment that answers."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unica_sdk.environment import demonstration, lifecycle, preflight, service_user
from unica_sdk.environment.files import write_json, write_private
from unica_sdk.environment.layout import Layout
from unica_sdk.environment.ports import DEFAULT_PORT, Ports
from unica_sdk.environment.supervisor import PartState

Say = Callable[[str], None]

START_SECONDS = 150.0
"""How long the parts together may take to answer."""

TOKEN_SECONDS = 3 * 24 * 3600
"""The age at which the terminal's token is made anew; the hub lets it live for seven days."""


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """What the person at the terminal needs to go on.

    Attributes:
        address: the sign-in page.
        sign_ins: generated passwords by name.
        already: whether it was running before.
    """

    address: str
    sign_ins: dict[str, str]
    already: bool


def up(layout: Layout, *, port: int | None, patients: int | None = None, say: Say) -> Welcome:
    """Bring the environment up, or find it up, and return how to sign in.

    `patients` is how many synthetic women each demonstration site has. As root this process becomes the
    service user on the way, for good.

    Raises:
        ConfigurationError: something is missing, taken or closed; the message says what to do.
        Unavailable: a part did not answer in time; everything was ended again.
    """
    preflight.check_python()
    if lifecycle.status(layout)["state"] == "running":
        service_user.become_owner(layout)
        return _running(layout)
    service_user.prepare(layout, say=say)
    service_user.become_owner(layout)
    layout.create()
    with lifecycle.alone(layout):
        if lifecycle.status(layout)["state"] != "stopped":
            say("It is starting already; waiting for it …")
            lifecycle.wait_until_running(layout, seconds=START_SECONDS, progress=_Progress(say))
            return _running(layout)
        if lifecycle.leftovers(layout):
            say("Ending what an earlier environment left behind …")
            lifecycle.down(layout)
        chosen = port or DEFAULT_PORT
        preflight.require(layout, port=chosen)
        demonstration.set_up(layout, patients=patients, say=say)
        ports = Ports.choose(chosen)
        ports.write(layout)
        _prepare_engine(layout, ports)
        say("Starting the parts …")
        try:
            lifecycle.start(layout, variables=part_variables(layout))
            lifecycle.wait_until_running(layout, seconds=START_SECONDS, progress=_Progress(say))
            _terminal_token(layout, ports)
        except BaseException:
            lifecycle.down(layout)
            raise
    return Welcome(address=ports.address, sign_ins=demonstration.sign_ins(layout), already=False)


def part_variables(layout: Layout) -> dict[str, str]:
    """Return what every part's process environment starts from: nothing of whoever typed the command."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(layout.home),
        "LANG": "C.UTF-8",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "UNICA_STATE": str(layout.state),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }


def _prepare_engine(layout: Layout, ports: Ports) -> None:
    """Make the engine's secrets, and keep its command for the supervisor, which is to stay small."""
    from unica_sdk.federation.hub.superlink import run_superlink

    launch = run_superlink(layout.engine, port=ports.superlink)
    write_json(layout.superlink_command, {"command": launch.command})
    if not layout.engine_secret.exists():
        write_private(layout.engine_secret, secrets.token_hex(32).encode())


def _running(layout: Layout) -> Welcome:
    ports = Ports.read(layout)
    if not layout.token.exists() or time.time() - layout.token.stat().st_mtime > TOKEN_SECONDS:
        _terminal_token(layout, ports)
    return Welcome(address=ports.address, sign_ins=demonstration.sign_ins(layout), already=True)


def _terminal_token(layout: Layout, ports: Ports) -> None:
    """Have the hub make the token with which `unica demo` and a terminal's Python work as the researcher."""
    from hub_config import secrets as hub_secrets
    from hub_config import terminal

    operator = hub_secrets.ensure(layout.state).operator
    token = terminal.issue_token(
        hub_api=ports.hub_api_url, operator_token=operator, person=demonstration.RESEARCHER
    )
    write_private(layout.token, token.encode())


class _Progress:
    """Says once that a part answers."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said: set[str] = set()

    def __call__(self, status: dict[str, Any]) -> None:
        for part in status["parts"]:
            if part["state"] == PartState.RUNNING and part["name"] not in self._said:
                self._said.add(part["name"])
                self._say(f"  {part['name']} answers")
