"""What the federation's tests share: the bundle, the keys, sites in this process."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import APPS, SITES, ArraySite, Authority

from unica_sdk.federation import bundle
from unica_sdk.federation.bundle import Bundle


@pytest.fixture(scope="session")
def app() -> Bundle:
    """The test app as a bundle."""
    return bundle.build(APPS / "threshold")


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the test app leaves its traces."""
    folder = tmp_path / "markers"
    folder.mkdir()
    monkeypatch.setenv("UNICA_TEST_MARKERS", str(folder))
    return folder


@pytest.fixture
def authority() -> Authority:
    """A steward and a gateway."""
    return Authority()


@pytest.fixture
def sites(tmp_path: Path, authority: Authority, app: Bundle) -> Callable[..., dict[str, ArraySite]]:
    """Makes the three sites in this process; `approving` names those that approved the app."""

    def make(approving: tuple[str, ...] = SITES, cases: int = 120) -> dict[str, ArraySite]:
        return {
            name: ArraySite(
                name,
                home=tmp_path / "nodes",
                gateway=authority.gateway.public_key(),
                steward=authority.steward.public_key(),
                approved=frozenset([app.id] if name in approving else []),
                seconds=1.0,
                cases=cases,
            )
            for name in SITES
        }

    return make
