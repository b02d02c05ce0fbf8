"""The networks that the one suite runs over."""

from collections.abc import Iterator

import pytest

import unica_sdk as unica
from unica_sdk.client.network import Network

PATIENTS = 80


@pytest.fixture(scope="session")
def local_network() -> Iterator[Network]:
    """A small local network: three synthetic sites in this process."""
    with unica.LocalNetwork(nodes=3, patients=PATIENTS) as network:
        yield network
