"""One whole environment, as `unica up` makes it, for the tests that need all of it."""

from collections.abc import Iterator

import pytest
from browser import free_ports
from whole_environment import WholeEnvironment


@pytest.fixture(scope="session")
def environment() -> Iterator[WholeEnvironment]:
    """A running environment in a state folder of its own; nothing of it may be left afterwards."""
    environment = WholeEnvironment(port=free_ports(1)[0])
    try:
        environment.up()
        yield environment
    finally:
        environment.remove()
