"""One real hub for all tests of this folder, with people in every group, and the real gateway behind it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from a_federation import federation
from browser import Browser, marked_processes, wait_until
from running_gateway import RunningGateway
from running_hub import PASSWORD, PEOPLE, RunningHub, proxy_command


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """The hub, running; when the tests are over, none of its processes may be left."""
    if proxy_command() is None:
        pytest.fail("the hub's proxy is not installed: run `make install`")
    hub = RunningHub(tmp_path_factory.mktemp("hub"))
    for name, group in PEOPLE.items():
        hub.registry.add(name, password=PASSWORD, groups=[group])
    hub.registry.add("leaver", password=PASSWORD, groups=["researchers"])
    hub.registry.add(
        "expired", password=PASSWORD, groups=["researchers"], expires=datetime(2020, 1, 1, tzinfo=UTC)
    )
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()
    wait_until(lambda: not marked_processes(hub.marker), what="the hub leaves no process", seconds=20)


@pytest.fixture(scope="session")
def gateway(hub: RunningHub) -> Iterator[RunningGateway]:
    """The hub's gateway, running."""
    gateway = RunningGateway(hub, records=federation().datasets)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture(scope="session")
def signed_in(hub: RunningHub) -> Iterator[Callable[[str], Browser]]:
    """A browser for each person, signed in once."""
    browsers: dict[str, Browser] = {}

    def browser(name: str) -> Browser:
        if name not in browsers:
            browsers[name] = hub.browser(name)
        return browsers[name]

    yield browser
    for one in browsers.values():
        one.close()
