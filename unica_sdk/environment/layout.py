"""Where everything of one environment lives: the state folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from unica_sdk.client.transport import state_folder
from unica_sdk.errors import ConfigurationError

SOFTWARE = Path(__file__).resolve().parents[2]
"""The clone or folder that the packages were imported from."""

SERVICE_USER = "unica"
"""Who the parts run as when root starts the environment."""

LONGEST_SOCKET = 100
"""A unix socket's path has 107 bytes at most; this leaves room for a temporary name beside it."""


@dataclass(frozen=True)
class Layout:
    """One state folder and the places in it.

    Example:
        >>> Layout(Path("/var/lib/unica")).log("hub").as_posix()
        '/var/lib/unica/logs/hub.log'
    """

    state: Path

    @property
    def id(self) -> str:
        """The name of this environment in the processes it starts; it outlives the folder's content."""
        return "unica-" + hashlib.sha256(os.fsencode(self.state)).hexdigest()[:16]

    @property
    def hub(self) -> Path:
        """The hub's database, secrets and registry."""
        return self.state / "hub"

    @property
    def gateway(self) -> Path:
        """The gateway's store, audit and keys."""
        return self.state / "gateway"

    @property
    def engine(self) -> Path:
        """The engine's database and secret."""
        return self.state / "engine"

    @property
    def explorer(self) -> Path:
        """The clients of the explorer's endpoint; there is no such file until one is added."""
        return self.gateway / "explorer.json"

    @property
    def demonstration(self) -> Path:
        """What only a demonstration has: the steward's key, the sign-ins, the sites' source folders."""
        return self.state / "demonstration"

    @property
    def sign_ins(self) -> Path:
        """The generated passwords, readable by the service user alone."""
        return self.demonstration / "sign-ins.json"

    @property
    def run(self) -> Path:
        """Sockets and the supervisor's files."""
        return self.state / "run"

    @property
    def home(self) -> Path:
        """The home folder of the parts, so that nothing is written into a person's own."""
        return self.state / "home"

    @property
    def token(self) -> Path:
        """The token that a terminal on this machine uses."""
        return self.state / "client" / "token"

    @property
    def gateway_socket(self) -> Path:
        """The researchers' face of the gateway."""
        return self.run / "gateway.sock"

    @property
    def engine_socket(self) -> Path:
        """The engine's face of the gateway."""
        return self.run / "engine.sock"

    @property
    def engine_secret(self) -> Path:
        """The secret with which the engine's server side calls the gateway."""
        return self.engine / "gateway.secret"

    @property
    def superlink_command(self) -> Path:
        """How the engine's own process is started."""
        return self.run / "superlink.json"

    @property
    def settings(self) -> Path:
        """What `unica up` was asked for and which ports it chose."""
        return self.run / "settings.json"

    @property
    def status(self) -> Path:
        """What the supervisor says about each part."""
        return self.run / "status.json"

    def node(self, site: str) -> Path:
        """Return a demonstration node's home."""
        return self.state / "nodes" / site

    def source(self, site: str) -> Path:
        """Return the folder that holds a demonstration site's DICOM files and clinical table."""
        return self.demonstration / "source" / site

    def log(self, part: str) -> Path:
        """Return the log file of a part."""
        return self.state / "logs" / f"{part}.log"

    def create(self) -> None:
        """Make the folders, closed to everybody else.

        Raises:
            ConfigurationError: a folder cannot be made or written, or its path is too long for a socket.
        """
        longest = max(self.gateway_socket, self.engine_socket, key=lambda path: len(os.fsencode(path)))
        if len(os.fsencode(longest)) > LONGEST_SOCKET:
            raise ConfigurationError(
                "The state folder's path is too long for a unix socket.",
                where=str(longest),
                hint="Choose a shorter one with --state.",
            )
        folders = (self.hub, self.gateway, self.engine, self.demonstration, self.run, self.home)
        try:
            self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (*folders, self.state / "nodes", self.state / "logs", self.token.parent):
                folder.mkdir(exist_ok=True, mode=0o700)
            probe = self.run / f"writable.{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as err:
            raise ConfigurationError(
                f"The state folder cannot be written: {err.strerror}.",
                where=str(self.state),
                hint="Give it to the user that runs UNICA, or choose another one with --state.",
            ) from err


def locate(state: Path | None) -> Layout:
    """Return the layout for `--state`, else for the folder that the client looks in too."""
    return Layout((state or state_folder()).expanduser().resolve())
