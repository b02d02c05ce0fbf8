"""The networks that the one suite runs over: in one process, and the real environment by its socket."""

from collections.abc import Iterator

import pytest
from whole_environment import PATIENTS

import unica_sdk as unica
from unica_sdk.client.network import Network


@pytest.fixture(scope="session", params=["in-process", "environment"])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    """A network with three synthetic sites."""
    if request.param == "in-process":
        with unica.LocalNetwork(nodes=3, patients=PATIENTS) as network:
            yield network
        return
    environment = request.getfixturevalue("environment")
    with unica.connect(environment.gateway, token=environment.token()) as network:
        yield network
