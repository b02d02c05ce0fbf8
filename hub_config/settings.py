"""Where the hub keeps its state and which ports it uses, read once from the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unica_sdk.errors import ConfigurationError

ISOLATION = "Not isolated: demonstration environment"
"""What every page says until user code runs in sandboxes of its own."""

CAUTION = "Synthetic data only. Code run here is not kept apart from the rest of this machine."

MARKER = "UNICA_ENVIRONMENT"
"""The variable by which a supervisor finds every process of its environment, leftovers included."""

PART = "UNICA_PART"
"""The variable that says which part of the environment a process ends with."""

_PORTS = {
    "hub_port": "UNICA_HUB_PORT",
    "hub_api_port": "UNICA_HUB_API_PORT",
    "proxy_api_port": "UNICA_PROXY_API_PORT",
    "dashboards_port": "UNICA_DASHBOARDS_PORT",
    "service_port": "UNICA_SERVICE_PORT",
}


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """Folders, loopback ports and the proxy's command line of one environment.

    `marker` is the value of `UNICA_ENVIRONMENT` that every child process inherits; empty means unmarked.
    `part` is that of `UNICA_PART`, which the hub's services inherit besides: a supervisor ends what a killed
    hub left, workspaces excepted, because the next hub takes those up again.
    """

    state: Path
    hub_port: int
    hub_api_port: int
    proxy_api_port: int
    dashboards_port: int
    service_port: int
    proxy_command: tuple[str, ...]
    marker: str = ""
    part: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> HubSettings:
        """Read the settings that the supervisor passes on.

        Raises:
            ConfigurationError: a variable is missing or is not what it must be; the message names it.

        Example:
            >>> HubSettings.from_environment({})  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            ...
            unica_sdk.errors.ConfigurationError: UNICA-100 The hub's settings lack UNICA_STATE, ...
        """
        needed = ("UNICA_STATE", *_PORTS.values(), "UNICA_PROXY_COMMAND")
        missing = [name for name in needed if not environment.get(name)]
        if missing:
            raise ConfigurationError(
                f"The hub's settings lack {', '.join(missing)}.",
                where="environment",
                hint="Start the hub with `unica up`, which sets them.",
            )
        return cls(
            state=_absolute(environment["UNICA_STATE"]),
            proxy_command=_command(environment["UNICA_PROXY_COMMAND"]),
            marker=environment.get(MARKER, ""),
            part=environment.get(PART, ""),
            **{field: _port(name, environment[name]) for field, name in _PORTS.items()},
        )

    @property
    def hub_folder(self) -> Path:
        """The hub's own part of the state folder."""
        return self.state / "hub"

    @property
    def registry(self) -> Path:
        """The file of people who may sign in."""
        return self.hub_folder / "registry.json"

    @property
    def homes(self) -> Path:
        """The folder of people's home folders."""
        return self.hub_folder / "homes"

    @property
    def dashboards_folder(self) -> Path:
        """The scratch folder of the dashboards' service."""
        return self.hub_folder / "dashboards"

    @property
    def lab_templates(self) -> Path:
        """Where JupyterLab's page with the isolation banner is written at start."""
        return self.hub_folder / "lab"

    @property
    def gateway_socket(self) -> Path:
        """The gateway's face for researchers."""
        return self.state / "run" / "gateway.sock"

    @property
    def hub_api(self) -> str:
        """The hub's own address for services, never through the proxy."""
        return f"http://127.0.0.1:{self.hub_api_port}/hub/api"

    def inherited(self) -> dict[str, str]:
        """Return the variables that every process the hub starts must inherit."""
        return {MARKER: self.marker} if self.marker else {}

    def inherited_by_services(self) -> dict[str, str]:
        """Return the variables that the hub's own services must inherit: those end with the hub."""
        return {**self.inherited(), PART: self.part} if self.part else self.inherited()


def project_folder(name: str) -> Path:
    """Return a folder of the checkout, such as `dashboards` or `notebooks/research`.

    Raises:
        ConfigurationError: UNICA was installed without it.
    """
    folder = Path(__file__).resolve().parents[1] / name
    if not folder.is_dir():
        raise ConfigurationError(
            f"The folder {name} is missing.",
            where=str(folder),
            hint="Run UNICA from a clone, installed with `pip install -e .`.",
        )
    return folder


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ConfigurationError("The state folder must be an absolute path.", where="UNICA_STATE")
    return path


def _port(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ConfigurationError(f"{name} is not a port: {text!r}.", where=name)
    return int(text)


def _command(text: str) -> tuple[str, ...]:
    try:
        command = json.loads(text)
    except ValueError as err:
        raise ConfigurationError(
            "The proxy's command is not JSON.",
            where="UNICA_PROXY_COMMAND",
            hint='Write it as a list, for example ["node", "configurable-http-proxy"].',
        ) from err
    if not (isinstance(command, list) and command and all(isinstance(part, str) for part in command)):
        raise ConfigurationError("The proxy's command must be a list of words.", where="UNICA_PROXY_COMMAND")
    return tuple(command)
