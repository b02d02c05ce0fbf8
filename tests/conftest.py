"""Rules for every test: only loopback, no stopwatch."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from browser import free_ports
from hypothesis import HealthCheck, settings
from whole_environment import WholeEnvironment

# Property tests judge results, never speed: two shared cores make any stopwatch flaky.
settings.register_profile(
    "unica",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unica")


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every connection of this process to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise OSError(f"tests may not connect to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield


@pytest.fixture(scope="session")
def environment() -> Iterator[WholeEnvironment]:
    """A running environment in a state folder of its own, as `unica up` makes it; nothing of it is left."""
    environment = WholeEnvironment(port=free_ports(1)[0])
    try:
        environment.up()
        yield environment
    finally:
        environment.remove()
