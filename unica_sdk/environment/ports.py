"""The loopback ports of one environment, chosen when it starts."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields

from unica_sdk.environment.files import read_json, write_json
from unica_sdk.environment.layout import Layout
from unica_sdk.errors import ConfigurationError

RANGE = range(20000, 32000)
"""Below the ports that Linux gives to outgoing connections, so that none of those takes one of ours."""

DEFAULT_PORT = 8000


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The public port, and the internal ones by the part that listens."""

    public: int
    hub_api: int
    proxy_api: int
    dashboards: int
    service: int
    node: int
    superlink: int

    @property
    def address(self) -> str:
        """What people open in a browser."""
        return f"http://127.0.0.1:{self.public}/"

    @property
    def hub_api_url(self) -> str:
        """The hub's API, not through the proxy."""
        return f"http://127.0.0.1:{self.hub_api}/hub/api"

    @property
    def node_address(self) -> str:
        """The gateway's face for nodes."""
        return f"http://127.0.0.1:{self.node}"

    @property
    def engine_address(self) -> str:
        """The engine's host and port."""
        return f"127.0.0.1:{self.superlink}"

    @classmethod
    def choose(cls, public: int) -> Ports:
        """Return the public port with internal ones that are free now."""
        names = [field.name for field in fields(cls) if field.name != "public"]
        return cls(public=public, **dict(zip(names, _free(len(names), but=public), strict=True)))

    def write(self, layout: Layout) -> None:
        """Keep the choice in the state folder."""
        write_json(layout.settings, asdict(self))

    @classmethod
    def read(cls, layout: Layout) -> Ports:
        """Return the choice of the last start.

        Raises:
            ConfigurationError: there was none.
        """
        try:
            return cls(**(read_json(layout.settings) or {}))
        except TypeError as err:
            raise ConfigurationError(
                "The environment was never started.", where=str(layout.settings), hint="Run `unica up`."
            ) from err


def _free(number: int, *, but: int) -> list[int]:
    """Return so many ports that can be bound, held together so that none is given twice."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.sample(RANGE, len(RANGE)):
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port != but:
                found.append(port)
            if len(found) == number:
                return found
    raise ConfigurationError(f"There are no {number} free ports on this machine.", where="127.0.0.1")
