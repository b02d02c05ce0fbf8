"""A node that nothing was ingested into."""

from pathlib import Path

import pytest

from unica_sdk.node.home import NodeHome


@pytest.fixture
def empty_home(tmp_path: Path) -> NodeHome:
    return NodeHome.create(tmp_path / "lt", site="lt", name="Baltic Clinic", country="LT")
